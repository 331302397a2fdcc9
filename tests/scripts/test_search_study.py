"""The study that workers share: who takes which trial, and what a killed worker leaves."""

import json
import os

import pytest
from optuna.trial import TrialState

from scripts.search_settings import Search, Space
from scripts.searching.journal import open_storage
from scripts.searching.space import SearchSpace
from scripts.searching.study import SharedStudy

SPACE = {"lambda_": Space(low=0.5, high=2.0), "drop_rate": Space(low=0.1, high=0.9)}


def opened(path, invocation="one", **search) -> SharedStudy:
    settings = {"method": "dare", "space": SPACE, "trials": 6, **search}
    space = SearchSpace(Search(**settings), ("lm", "math"), 2)
    shared = SharedStudy(path / "study.journal", space, space.search, (100, 5), 1, invocation)
    shared.fill()
    return shared


def step(shared: SharedStudy, value: float | None = None, **known) -> dict | None:
    """One trial taken, its parameters, and how it ended: by their sum where no value is given."""
    with shared.take() as trial:
        if trial is None:
            return None
        params = shared.space.suggest(trial)
        facts = {"whole": True, "prompts": 100, "record": "x", **known}
        shared.tell(trial, sum(params.values()) if value is None else value, **facts)
        return params


def run(shared: SharedStudy) -> list[dict]:
    """Trials until the search is over: their parameters."""
    out = []
    while (params := step(shared)) is not None:
        out.append(params)
    return out


def suggest_some(trial, count: int) -> None:
    """The first parameters alone."""
    for name, space in list(SPACE.items())[:count]:
        trial.suggest_float(name, space.low, space.high)


@pytest.mark.parametrize("written", [0, 1, 2])
@pytest.mark.parametrize("done", [1, 5])
@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "random"])
def test_a_search_that_stops_anywhere_goes_on_with_the_trials_it_would_have_had(
    sampler, done, written, tmp_path, monkeypatch
):
    """Killed after some trials, in one of which no parameter, the first or both had been written."""
    for name in ("whole", "halves"):
        (tmp_path / name).mkdir()
    search = {"sampler": sampler, "trials": 14, "startup": 4}
    undisturbed = run(opened(tmp_path / "whole", **search))
    assert len(undisturbed) == 14
    first = opened(tmp_path / "halves", **search)
    got = [step(first) for _ in range(done)]
    monkeypatch.setattr(first.space, "suggest", lambda trial: suggest_some(trial, written))
    with first.take():  # left running, as by a worker that is gone
        pass
    resumed = opened(tmp_path / "halves", invocation="two", **search)
    assert [t.state for t in resumed.trials][-1] == TrialState.RUNNING
    rest = run(resumed)
    assert [*got, *rest] == undisturbed
    assert run(opened(tmp_path / "halves", invocation="three", **search)) == []


def test_two_workers_never_hold_one_trial_and_a_live_workers_trial_is_left_alone(tmp_path):
    one, other = opened(tmp_path, trials=2), opened(tmp_path, trials=2)
    with one.take() as first, other.take() as second:
        assert {first.number, second.number} == {0, 1}
        for shared, trial in ((one, first), (other, second)):
            shared.space.suggest(trial)
            assert shared.held
            shared.tell(trial, 1.0, whole=True)
    assert run(one) == run(other) == []
    assert len(one.trials) == 2


def test_a_grid_has_every_combination_once_in_an_order_of_the_seed(tmp_path):
    values = {"lambda_": Space(values=[0.5, 1.0, 1.5]), "drop_rate": Space(values=[0.3, 0.7])}
    orders = []
    for seed in (0, 0, 1):
        folder = tmp_path / str(len(orders))
        folder.mkdir()
        orders.append(run(opened(folder, sampler="grid", space=values, seed=seed)))
    combinations = [{"lambda_": a, "drop_rate": b} for a in (0.5, 1.0, 1.5) for b in (0.3, 0.7)]
    assert sorted(orders[0], key=str) == sorted(combinations, key=str)
    assert orders[0] == orders[1] != orders[2]


def test_a_failed_trial_counts_once_and_is_tried_again_by_the_next_invocation(tmp_path):
    first = opened(tmp_path, trials=3, sampler="random")
    with first.take() as trial:
        failed = first.space.suggest(trial)
        first.tell(trial, None)
    assert len(run(first)) == 2
    again = opened(tmp_path, invocation="two", trials=3, sampler="random")
    assert run(again) == [failed]
    assert run(opened(tmp_path, invocation="three", trials=3, sampler="random")) == []


@pytest.mark.parametrize("sampler", ["random", "grid"])
def test_a_point_that_always_fails_is_tried_once_by_each_of_two_commands_that_share_a_search(sampler, tmp_path):
    """Six points, the first of which fails: the other five are done whatever the order, and it is tried twice."""
    values = {"lambda_": Space(values=[0.5, 1.0, 1.5]), "drop_rate": Space(values=[0.3, 0.7])}
    search = {"sampler": sampler, "trials": 6, "space": values if sampler == "grid" else SPACE}
    both = [opened(tmp_path, invocation=name, **search) for name in ("one", "two")]
    bad: list[dict] = []

    def one_more(shared: SharedStudy) -> bool:
        with shared.take() as trial:
            if trial is None:
                return False
            bad[:] = bad or [dict(trial.params)]
            shared.tell(trial, None if trial.params == bad[0] else 1.0, whole=True, prompts=100)
            return True

    going = both
    while going:
        going = [shared for shared in going if one_more(shared)]
    states = [t.state for t in both[0].trials]
    assert states.count(TrialState.COMPLETE) == 5
    assert states.count(TrialState.FAIL) == 2
    assert all(shared.over and len(shared.finished) == 6 for shared in both)
    assert run(opened(tmp_path, invocation="three", **search)) == bad
    assert [t.state for t in both[0].ended.values()].count(TrialState.FAIL) == 0


def test_the_order_of_a_screened_grid_outlives_a_worker_that_was_killed_while_it_wrote_it(tmp_path):
    values = {"lambda_": Space(values=[0.5, 1.0, 1.5, 2.0])}
    settings = {"method": "dare", "space": values, "sampler": "grid"}
    space = SearchSpace(Search(**settings), ("lm", "math"), 2)
    order = [{"lambda_": value} for value in (2.0, 0.5, 1.5, 1.0)]
    first = SharedStudy(tmp_path / "study.journal", space, space.search, (100, 5), 1, "one")
    first.fill(order[:2])  # and no more
    second = SharedStudy(tmp_path / "study.journal", space, space.search, (100, 5), 1, "two")
    assert not second.filled
    second.fill(order)
    assert second.filled
    assert run(second) == order


def test_a_trial_that_ends_while_another_worker_looks_is_counted(tmp_path, monkeypatch):
    """Two of two trials run; one ends just after the third worker has looked at them: there is no third trial."""
    one, other, third = (opened(tmp_path, trials=2) for _ in range(3))
    looked = []
    monkeypatch.setattr(third, "_finished", lambda trials: looked.append(one.tell(first, 1.0, whole=True)) or [])
    with one.take() as first, other.take() as second:
        assert third._next() == (-1, None)
        assert looked
        other.tell(second, 1.0, whole=True)
    assert len(one.trials) == 2


def test_a_failure_is_not_tried_again_when_the_budget_is_used_up(tmp_path):
    shared = opened(tmp_path, budget=2)
    with shared.take() as trial:
        shared.tell(trial, None, error="no room", prompts=100)
    assert [t.user_attrs["error"] for t in shared.failed] == ["no room"]
    step(shared)
    assert shared.over_budget
    assert shared.failed == []
    assert run(opened(tmp_path, invocation="two", budget=2)) == []


def test_parameters_are_drawn_while_no_other_worker_draws(tmp_path, monkeypatch):
    """TPE and CMA-ES draw when the first parameter is asked for: inside of `take`, under its claim."""
    shared = opened(tmp_path, sampler="tpe", startup=1)
    suggest = shared.space.suggest

    def watched(trial):
        assert (tmp_path / "claims" / "study-take.claim").exists()
        return suggest(trial)

    step(shared)
    monkeypatch.setattr(shared.space, "suggest", watched)
    with shared.take() as trial:
        assert trial.params.keys() == SPACE.keys()


def test_prompts_of_screening_count_until_the_trials_of_their_points_count_them(tmp_path):
    """Four points screened on 5 prompts each; one trial of 60 prompts, its first 5 among them; one that failed after
    20; one read from a record, whose screening was asked all the same: 60 + 20 + 2 x 5."""
    shared = opened(tmp_path)
    shared.screened.mkdir()
    for name in "abcd":
        (shared.screened / f"{name}.json").write_text("{}")
    assert shared.spent == 20
    step(shared, prompts=60, whole=False)
    with shared.take() as trial:
        shared.tell(trial, None, error="no room", prompts=20)
    step(shared, prompts=0, reused=True)
    assert shared.spent == 60 + 20 + 2 * 5


def test_the_best_trial_is_a_whole_one_and_of_equals_the_earliest(tmp_path):
    shared = opened(tmp_path)
    assert shared.best is None
    for value, whole in ((0.5, True), (0.9, False), (0.7, True), (0.7, True)):
        step(shared, value, whole=whole)
    assert shared.best.number == 2


def test_no_trial_begins_once_the_budget_is_used_up_and_a_reused_point_counts_in_full(tmp_path):
    """A whole trial is 100 prompts, the budget 2.5 of them: 100 + 60 go on, a reused one more ends it."""
    shared = opened(tmp_path, budget=2.5)
    for prompts, reused in ((100, False), (60, False), (0, True)):
        assert not shared.over_budget
        step(shared, prompts=prompts, reused=reused)
    assert shared.over_budget
    assert step(shared) is None
    assert shared.spent == 160
    assert step(opened(tmp_path, budget=9, invocation="two")) is not None


def test_a_line_cut_off_by_a_power_cut_is_taken_away(tmp_path):
    step(opened(tmp_path))
    path = tmp_path / "study.journal"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code":5,"worker')
    assert len(opened(tmp_path, invocation="two").trials) == 1
    assert path.read_bytes().startswith(whole)
    assert all(json.loads(line) for line in path.read_text().splitlines())


@pytest.mark.parametrize("lock", ["symlink", "open"])
def test_both_locks_work_also_from_a_relative_path(lock, tmp_path, monkeypatch):
    """A relative symlink would point nowhere, and the lock of a killed worker would never be found old."""
    monkeypatch.chdir(tmp_path)
    os.makedirs("folder")
    storage = open_storage((tmp_path / "folder" / "a.journal").relative_to(tmp_path), lock)
    assert os.path.isabs(storage._backend._file_path)
    assert storage.get_all_studies() == []
    assert sorted(os.listdir("folder")) == ["a.journal"]
