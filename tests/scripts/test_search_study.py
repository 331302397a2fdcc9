"""The study that workers share: who takes which trial, and what a killed worker leaves."""

import json
import os

import pytest
from optuna.trial import TrialState

from scripts.search_settings import Search, Space
from scripts.searching.space import SearchSpace
from scripts.searching.study import SharedStudy, open_storage

SPACE = {"lambda_": Space(low=0.5, high=2.0), "drop_rate": Space(low=0.1, high=0.9)}


def opened(path, invocation="one", **search) -> SharedStudy:
    settings = {"method": "dare", "space": SPACE, "trials": 6, **search}
    space = SearchSpace(Search(**settings), ("lm", "math"), 2)
    return SharedStudy(path / "study.journal", space, space.search, 100, 1, invocation)


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


@pytest.mark.parametrize("written", [0, 1, 2])
@pytest.mark.parametrize("done", [1, 5])
@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "random"])
def test_a_search_that_stops_anywhere_goes_on_with_the_trials_it_would_have_had(sampler, done, written, tmp_path):
    """Killed after some trials, in one of which no parameter, the first or both had been written."""
    for name in ("whole", "halves"):
        (tmp_path / name).mkdir()
    search = {"sampler": sampler, "trials": 14, "startup": 4}
    undisturbed = run(opened(tmp_path / "whole", **search))
    assert len(undisturbed) == 14
    first = opened(tmp_path / "halves", **search)
    got = [step(first) for _ in range(done)]
    with first.take() as trial:  # left running, as by a worker that is gone
        for name, space in list(SPACE.items())[:written]:
            trial.suggest_float(name, space.low, space.high)
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
