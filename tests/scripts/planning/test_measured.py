"""The measured time model on records whose parts were fixed by hand (tests/scripts/planning/runs.py)."""

import math

import pytest

from scripts.planning.counts import Run
from scripts.planning.measured import Line, Pace, first_runs, fit_line
from tests.scripts.planning.runs import BOOT, MERGE, OPENING, OTHER, PAUSE, SWAP, record, worked


def test_a_line_needs_two_numbers_of_prompts_and_has_no_negative_part():
    """(10, 3 s) and (20, 5 s): 0.2 s a prompt and 1 s besides. Of one size alone only the ratio is known."""
    line = fit_line([(10, 3.0), (20, 5.0)])
    assert (line.each, line.fixed) == (pytest.approx(0.2), pytest.approx(1.0))
    assert fit_line([(10, 3.0), (10, 5.0)]) == Line(0.0, 0.4)
    assert fit_line([(10, 1.0), (20, 5.0)]) == Line(0.0, 0.2)  # a line would begin at -3 s
    assert fit_line([(10, 4.0), (20, 2.0)]) == Line(3.0, 0.0)  # more prompts in less time: the mean


def test_parts_and_pauses_are_read_back():
    """Ordinary runs of 20 prompts: 1 s merging, 2 swapping, 2 generating, 0.2 scoring, 0.25 else, then 0.5 pause."""
    pace = Pace(worked(8))
    parts = pace.parts("ties", 2, {"gsm8k": 20})
    expected = {"merge": MERGE, "swap": SWAP, "generate": 2.0, "score": 0.2, "other": OTHER + PAUSE}
    assert parts == pytest.approx(expected)
    assert pace.seconds("ties", 2, {"gsm8k": 100}) == pytest.approx(MERGE + SWAP + OTHER + 11.0)


def test_what_a_first_run_took_beyond_the_others_is_the_start():
    """10 s until the run began, and 6 s more than an ordinary run: 16 s."""
    assert Pace(worked(8)).start == pytest.approx(BOOT + OPENING)


def test_a_further_family_in_the_same_process_is_a_start_without_the_process():
    runs = worked(6, workers=1)
    later = [
        record(6, 100.0, pid=0, family_seed=1, slower=OPENING),
        record(7, 120.0, pid=0, family_seed=1),
    ]
    assert first_runs([*runs, *later]) == {runs[0]["identity"]: True, later[0]["identity"]: False}
    pace = Pace([*runs, *later])
    assert (pace.start, pace.switch) == (pytest.approx(BOOT + OPENING), pytest.approx(OPENING))


def test_a_merge_that_was_not_measured_is_like_the_others_of_its_method():
    runs = worked(4)
    slow = record(9, 50.0, method="della")
    slow["provenance"]["parts"]["merge"] = 3.0
    pace = Pace([*runs, slow])
    assert pace.merge("della", 2) == pace.merge("della", 3) == 3.0
    assert pace.merge("ties", 3) == pytest.approx(MERGE)
    assert pace.merge("dare", 2) == pytest.approx((2 * MERGE + 3.0) / 3)  # two ordinary ties, one della


def test_the_interval_is_students_for_new_runs_and_for_the_mean_they_are_predicted_by():
    """Two runs told, 1 s below and above their parts' mean: deviation sqrt(2), t(0.975, 1) = 12.706. Two more runs:
    12.706 x sqrt(2) x sqrt(2 + 2^2 / 2) = 35.94. Runs that all take what the model says leave no doubt."""
    runs = [record(0, 0.0, first=True), record(1, 20.0, slower=0.0), record(2, 30.0, slower=2.0)]
    assert Pace(runs).half_width(2) == pytest.approx(12.7062 * math.sqrt(2) * 2, rel=1e-4)
    assert Pace(worked(8)).half_width(100) == pytest.approx(0.0, abs=1e-6)


def test_a_benchmark_that_no_run_had_is_missing():
    asked = Run(None, "final", {"gsm8k": 5, "mbpp": 5})
    assert Pace(worked(4)).missing([asked]) == ["mbpp"]
