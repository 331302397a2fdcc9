"""Searches run whole, on a pico family: trials, records, reuse, kills, the report."""

import json
import os
import shutil
import signal

import pytest

from della.record import comparable, load_records
from scripts.points import Point, options_of
from scripts.session import Session
from tests.scripts.test_configs import composed
from tests.scripts.test_sweep import command_line, descendants, kill_at, wait_for

PICO = ("experts=tiny_pico", "experts.max_new_tokens=8", "engine=hf", "tracking=none")
SMALL = ("sweep.merges=[[lm,math]]", "sweep.dev_limit=4", "sweep.test_limit=2", "sweep.seeds=[1,2]")
# 4 trials, then the winner on the whole dev split and on test with two mask seeds.
TPE = (*PICO, "sweep=search_della", *SMALL, "sweep.search.trials=4", "sweep.search.startup=2", "sweep.search.looks=4")
GRID = (
    *(*PICO, "sweep=search_grid", *SMALL, "sweep.search.space.drop_rate.values=[0.5]"),
    "sweep.search.space.lambda_.values=[0.5,1.0]",
)


def outcomes(work) -> dict[str, str]:
    return {record["identity"]: comparable(record) for record in load_records(work / "records")}


def trials(work) -> list[dict]:
    """What the journals of a folder say of finished trials."""
    out = []
    for path in sorted((work / "search").glob("*.journal")):
        for line in map(json.loads, path.read_text().splitlines()):
            out += [{"values": line["values"], "state": line["state"]}] if line.get("values") else []
    return out


@pytest.fixture(scope="module")
def undisturbed(call, pico, tmp_path_factory):
    """A search that nothing happened to."""
    work = tmp_path_factory.mktemp("undisturbed")
    (work / "experts").symlink_to(pico.folder.parent)
    ended = call("run", *TPE, f"paths.work={work}")
    assert ended.code == 0, ended.err
    assert "4 trials" in ended.out
    assert "3 runs, 3 executed, 0 done before, 0 failed" in ended.out
    return work


def test_the_winner_is_run_on_the_whole_dev_split_and_on_test_with_every_mask_seed(undisturbed):
    found = sorted((r["config"]["split"], str(r["config"]["limit"]), r["config"]["seed"]) for r in finals(undisturbed))
    assert found == [("dev", "None", 0), ("test", "2", 1), ("test", "2", 2)]
    assert len({json.dumps(r["config"]["method"]) for r in finals(undisturbed)}) == 1


def finals(work) -> list[dict]:
    """The records that are not of trials."""
    return [r for r in load_records(work / "records") if (r["config"]["split"], r["config"]["limit"]) != ("dev", 4)]


def test_the_same_command_again_does_nothing_and_more_trials_go_on_where_it_was(undisturbed, call, tmp_path):
    before, tried = outcomes(undisturbed), trials(undisturbed)
    again = call("run", *TPE, f"paths.work={undisturbed}")
    assert again.code == 0
    assert "3 runs, 0 executed, 3 done before, 0 failed" in again.out
    assert (outcomes(undisturbed), trials(undisturbed)) == (before, tried)

    work = tmp_path / "more"
    shutil.copytree(undisturbed, work, symlinks=True)
    assert call("run", *TPE, "sweep.search.trials=5", f"paths.work={work}").code == 0
    assert trials(work)[:4] == tried
    assert len(trials(work)) == 5


def test_a_trial_that_was_asked_in_parts_is_the_record_of_the_same_point_asked_at_once(undisturbed, work):
    """To the byte, provenance apart: prompts asked in another order, in four pieces, score the same."""
    session = Session(composed("run", *PICO, f"paths.work={work}"))
    found = [r for r in load_records(undisturbed / "records") if r["config"]["limit"] == 4]
    assert found
    try:
        for record in found:
            method = {name: value for name, value in record["config"]["method"].items() if name != "name"}
            point = Point(0, ("lm", "math"), "della", options_of("della", method), 0, "dev", 4, "merge")
            at_once, _ = session.run(point, {})
            assert comparable(at_once) == comparable(record)
            assert record["provenance"]["asked_in"] == 4
    finally:
        session.close()


def test_a_point_that_a_sweep_has_recorded_is_not_evaluated_again(call, work):
    """The main table's two points of DELLA are the grid's two."""
    table = ("sweep=main_table", *SMALL, "sweep.drop_rates=[0.5]", "sweep.lambdas=[0.5,1.0]")
    assert call("run", *PICO, *table, f"paths.work={work}").code == 0
    ended = call("run", *GRID, f"paths.work={work}")
    assert ended.code == 0
    assert "2 trials, 0 stopped early, 0 prompts" in ended.out
    assert "3 runs, 1 executed, 2 done before" in ended.out  # the winner's test runs are the table's too


def test_killed_in_a_trial_and_started_again_a_search_ends_in_the_same_records(undisturbed, call, start, work):
    kill_at(1, start("run", *TPE, f"paths.work={work}"), work, workers=1)
    ended = call("run", *TPE, f"paths.work={work}")
    assert ended.code == 0
    assert outcomes(work) == outcomes(undisturbed)
    assert trials(work) == trials(undisturbed)
    whole = call("run", *TPE, f"paths.work={undisturbed}")
    assert ended.out.splitlines()[:2] == whole.out.splitlines()[:2]  # the prompts asked, the best


def test_a_point_without_a_verdict_is_a_failed_trial_and_keeps_its_record(call, work, monkeypatch):
    """Not a score: AlpacaEval's judge says nothing of one of the two points."""
    ask = Session.ask

    def silent(session, point, only=None):
        found = ask(session, point, only)
        if point.options.lambda_ == 0.5 and "alpaca_eval" in found:
            found["alpaca_eval"].metrics["win_rate"][:] = [None] * len(found["alpaca_eval"].ids)
        return found

    monkeypatch.setattr(Session, "ask", silent)
    ended = call("run", *GRID, f"paths.work={work}")
    assert ended.code == 1
    assert (
        "1 trials, tried again by the next invocation: InputError: no verdict on any prompt of alpaca_eval" in ended.err
    )
    kept = [r for r in load_records(work / "records") if r["config"]["method"]["lambda_"] == 0.5]
    assert {r["status"] for r in kept} == {"done"}
    reported = call("report", *GRID, f"paths.work={work}")
    assert reported.code == 0, reported.err
    assert "2: 1 whole, 0 stopped, 1 failed" in reported.out


@pytest.mark.parametrize("folders", [["search"], ["records"], ["search", "records"]])
def test_a_worker_whose_trial_was_taken_over_while_it_was_suspended_tells_nothing(
    undisturbed, call, work, monkeypatch, folders
):
    """Suspended in its first trial, whose claims, the trial's or its point's, are another's when it wakes up."""
    ask, taken = Session.ask, []

    def suspended(session, point, only=None):
        if not taken:
            for folder in folders:
                (path,) = (work / folder / "claims").glob("*.claim")
                path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "start": 1, "token": "another"}))
                os.utime(path, (0, 0))  # stale when it comes to this again, as if the other worker had died
                taken.append(path)
        return ask(session, point, only)

    monkeypatch.setattr(Session, "ask", suspended)
    ended = call("run", *TPE, f"paths.work={work}")
    assert ended.code == 0, ended.err
    assert ended.out.count("not told: trial 0") == ("search" in folders)
    assert outcomes(work) == outcomes(undisturbed)
    assert trials(work) == trials(undisturbed)


def test_what_is_left_of_a_search_is_counted(undisturbed, work, tmp_path):
    """(failed, left): a search not begun; one that is over; one trial more to go; a winner's run without a record."""
    from scripts.searching.progress import show_search

    assert show_search(composed("run", *TPE, f"paths.work={work}")) == (0, 1)
    assert show_search(composed("run", *TPE, f"paths.work={undisturbed}")) == (0, 0)
    assert show_search(composed("run", *TPE, "sweep.search.trials=5", f"paths.work={undisturbed}")) == (0, 1)
    shutil.copytree(undisturbed, tmp_path / "short", symlinks=True)
    (lost,) = [r["identity"] for r in finals(undisturbed) if r["config"]["split"] == "dev"]
    (tmp_path / "short" / "records" / f"{lost}.json").unlink()
    assert show_search(composed("run", *TPE, f"paths.work={tmp_path / 'short'}")) == (0, 1)


def test_chosen_on_test_a_winner_is_not_run_on_the_development_prompts(call, work):
    ended = call("run", *TPE, "select=test", f"paths.work={work}")
    assert ended.code == 0, ended.err
    assert {record["config"]["split"] for record in load_records(work / "records")} == {"test"}


def test_a_grid_is_screened_and_what_its_points_were_asked_then_is_not_asked_again(call, work, monkeypatch):
    """2 points x 8 prompts, 2 looks: each prompt is asked once, the first half of all points before the rest of any."""
    asked = []
    ask = Session.ask

    def noting(session, point, only=None):
        if only is not None:
            asked.append((point.options.lambda_, sum(map(len, only.values()))))
        return ask(session, point, only)

    monkeypatch.setattr(Session, "ask", noting)
    ended = call("run", *GRID, "sweep.search.looks=2", "sweep.search.prune=certain", f"paths.work={work}")
    assert ended.code == 0
    assert {lambda_ for lambda_, _ in asked[:2]} == {0.5, 1.0}
    assert len(asked) == len(set(asked[:2])) + len(asked[2:])
    assert all(count == 4 for _, count in asked)
    told = sum(count for _, count in asked)
    assert f"{told} prompts" in ended.out
    assert 12 <= told <= 16
    whole = [r for r in load_records(work / "records") if r["config"]["limit"] == 4]
    assert all(block["n"] == 4 for record in whole for block in record["scores"].values())


@pytest.mark.full
def test_two_workers_share_a_search_and_what_a_killed_one_held_is_taken_up_by_the_next(start, work):
    """8 trials in all, each told once; makers of records are more than one process."""
    arguments = ("-m", *TPE, "sweep.search.trials=8", "sweep.search.prune=none", f"paths.work={work}", "workers=2")
    command = start("run", *arguments)
    wait_for(2, command, work)
    workers = [pid for pid in descendants(command.pid) if "loky.backend.popen" in command_line(pid)]
    assert len(workers) == 2
    os.kill(workers[1], signal.SIGKILL)
    command.communicate(timeout=120)
    assert command.returncode == 1

    command = start("run", *arguments)
    said, complained = command.communicate(timeout=500)
    assert command.returncode == 0, complained
    assert "8 trials, 0 stopped early" in said
    assert len(trials(work)) == 8
    records = load_records(work / "records")
    assert {record["status"] for record in records} == {"done"}
    assert len({record["provenance"]["pid"] for record in records}) > 1


def test_a_trial_that_fails_is_a_failed_record_and_is_tried_again_by_the_next_invocation(call, work, monkeypatch):
    swap = Session.swap_in

    def stubborn(session, point, *parts):
        if point.options.lambda_ == 0.5 and point.split == "dev":
            raise RuntimeError("no room")
        return swap(session, point, *parts)

    monkeypatch.setattr(Session, "swap_in", stubborn)
    first = call("run", *GRID, f"paths.work={work}")
    assert first.code == 1
    assert "1 trials, tried again by the next invocation: RuntimeError: no room" in first.err
    assert [r["error"] for r in load_records(work / "records") if r["status"] == "failed"] == ["RuntimeError: no room"]
    monkeypatch.setattr(Session, "swap_in", swap)
    second = call("run", *GRID, f"paths.work={work}")
    assert second.code == 0
    assert "2 trials" in second.out
    assert {r["status"] for r in load_records(work / "records")} == {"done"}


def test_searches_are_compared_arm_by_arm_and_reported(call, work):
    arms = ("sweep=search_compare", *SMALL, "sweep.searches.task_arithmetic_grid.space.lambda_.step=1.0")
    arms += ("sweep.searches.della_grid.space.drop_rate.values=[0.5]",)
    for name in ("evolution_per_expert", "evolution_per_expert_and_layer"):
        arms += (f"sweep.searches.{name}.trials=2", f"sweep.searches.{name}.seeds=[0,1]")
    ended = call("run", *PICO, *arms, f"paths.work={work}")
    assert ended.code == 0, ended.err
    reported = call("report", *PICO, *arms, f"paths.work={work}", f"paths.results={work / 'results'}")
    assert reported.code == 0, reported.err
    rows = [line for line in reported.out.splitlines() if line.startswith("| LM+Math")]
    assert sum("| mean " in row for row in rows) == 2
    assert sum("evolution per expert and layer" in row for row in rows) == 2 + 1 + 2
    written = {path.name for path in (work / "reports" / "tiny_pico" / "search_compare").iterdir()}
    assert {"arms.md", "search.csv", "history.png"} <= written
    layered = [r for r in load_records(work / "records") if len(r["config"].get("overrides", [])) == 4]
    assert layered, "two experts, two layers"


def test_a_search_that_ranks_by_activations_is_another_one_where_these_differ(work):
    """Its values are of these norms: a journal of others is not gone on with. Without the ranking they don't matter."""
    from scripts.searching.run import tasks

    found = {}
    for rank_by in ("magnitude", "wanda"):
        for samples in (2, 3):
            how = (f"+sweep.search.options.rank_by={rank_by}", f"activations.samples={samples}")
            session = Session(composed("run", *PICO, "sweep=search_della", *SMALL, *how, f"paths.work={work}"))
            (task,) = tasks(session.config, session)
            found[rank_by, samples] = task.identity
    assert found["magnitude", 2] == found["magnitude", 3]
    assert found["wanda", 2] != found["wanda", 3]


def test_every_search_sweep_expands_to_a_space_that_fits_the_tiny_family(work):
    from scripts.searching.run import tasks

    expected = {"search_della": (3, 4), "search_grid": (2, 4), "search_evolve": (6, 1), "search_evolve_tiny": (6, 1)}
    for name, (parameters, searches) in expected.items():
        session = Session(composed("run", "experts=tiny_pico", f"sweep={name}", f"paths.work={work}"))
        found = tasks(session.config, session)
        assert [len(task.space.parameters) for task in found] == [parameters] * searches
        assert len({task.identity for task in found}) == searches
    session = Session(composed("run", "experts=tiny_pico", "sweep=search_compare", f"paths.work={work}"))
    sizes = [len(task.space.parameters) for task in tasks(session.config, session)]
    assert sizes == [2, 1, 6, 6, 6, 12, 12, 12]  # three experts, two layers
