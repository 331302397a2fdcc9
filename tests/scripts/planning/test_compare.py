"""`python -m scripts.plan sweep=... compare=true`: a sweep that has run, predicted from a few of its runs."""

import json
from pathlib import Path

import pytest

from della.record import write_record
from scripts.planning.compare import spread, wall_of
from tests.scripts.planning.runs import BOOT, OPENING, PAUSE, ordinary, record, worked


def written(work: Path, runs: list[dict]) -> Path:
    for run in runs:
        write_record(work / "records", run)
    return work


def test_the_first_runs_and_some_of_the_others_are_seen_and_the_rest_is_not():
    runs = worked(42)
    seen, rest = spread(runs, 10)
    assert (len(seen), len(rest)) == (12, 30)
    assert {r["identity"] for r in seen} | {r["identity"] for r in rest} == {r["identity"] for r in runs}
    assert seen[:2] == runs[:2]
    assert spread(runs, 40)[1] == []


def test_the_clock_runs_from_the_start_of_the_first_process_to_the_end_of_the_last_run():
    """Each of two workers: 10 s, an opening run, 20 more with pauses before them."""
    each = BOOT + OPENING + 21 * ordinary(20) + 20 * PAUSE
    assert wall_of(worked(42)) == pytest.approx(each)


def test_runs_that_take_what_their_parts_say_are_predicted_exactly(call, tmp_path):
    work = written(tmp_path / "work", worked(42))
    out = tmp_path / "compared.json"
    command = ("sweep=seeds", "experts=tiny_pico", "compare=true", f"paths.work={work}", f"out={out}")
    ended = call("plan", *command)
    assert (ended.code, ended.err) == (0, "")
    assert "42 runs, workers: 2; predicted from 12 runs of seeds" in ended.out
    facts = json.loads(out.read_text())
    assert facts["rest"]["runs"] == 30
    assert facts["rest"]["measured"] == pytest.approx(30 * ordinary(20))
    assert facts["rest"]["predicted"] == pytest.approx(facts["rest"]["measured"])
    assert facts["wall"]["predicted"] == pytest.approx(facts["wall"]["measured"] + PAUSE)  # after the last run, too
    assert facts["within"]


def test_runs_that_take_longer_than_those_seen_are_told(call, tmp_path):
    """Calibrated on 20 prompts a run, 5.45 s; the other sweep's runs took 4 s more than its parts."""
    fast = worked(12)
    slow = [record(100 + n, 500 + 20 * n, pid=9, first=n == 0, sweep="epsilon", slower=4.0) for n in range(9)]
    work = written(tmp_path / "work", [*fast, *slow])
    command = ("sweep=epsilon", "experts=tiny_pico", "compare=true", "calibrate_on=seeds", f"paths.work={work}")
    ended = call("plan", *command)
    assert ended.code == 0
    assert "predicted from 12 runs of seeds" in ended.out
    assert ended.out.rstrip().endswith("within 25 %: no")


def test_a_sweep_without_such_records_is_one_line(call, tmp_path):
    ended = call("plan", "sweep=seeds", "experts=tiny_pico", "compare=true", f"paths.work={tmp_path}")
    assert ended.code == 2
    assert ended.err.startswith("error: sweep seeds, family tiny_pico: no record in ")
    assert len(ended.err.splitlines()) == 1
    work = written(tmp_path, worked(6))
    ended = call("plan", "sweep=seeds", "experts=tiny_pico", "compare=true", f"paths.work={work}")
    assert (ended.code, ended.err.endswith("too few to predict some from others\n")) == (2, True)
