"""The line under a table that says what it can tell apart, and the table of mask noise and prompt noise."""

import math

import pytest

from della.outcomes import read_runs
from della.power import minimum_detectable
from della.report import build_report
from della.statistics import DETECTABLE, Estimate
from della.study import Study
from della.tables.detectable import HEAD, detectable, detectable_note, pairs_note
from della.tables.noise import noise_table
from tests.della.synthetic import (
    epsilon_records,
    main_table_records,
    pruning_records,
    record,
    seeds_records,
)


def gap(error: float, n: int = 500) -> Estimate:
    return Estimate(0.0, -0.1, 0.1, error, n)


def right(count: int, of: int = 100) -> list[float]:
    return [1.0] * count + [0.0] * (of - count)


def test_a_difference_is_detectable_from_2_80_standard_errors_on():
    """z(0.975) + z(0.8) = 1.960 + 0.842."""
    assert detectable(gap(0.02)) == pytest.approx(2.8016 * 0.02, rel=1e-4)


def test_where_no_prompt_differed_the_least_that_so_many_can_show_is_the_floor():
    assert detectable(gap(0.0)) == minimum_detectable(500, 0.0) > 0.015
    assert detectable(gap(0.0, n=3)) is None


def test_the_note_has_the_median_and_the_range():
    """Errors 0.01, 0.02, 0.04 and 0.05: 2.8, 5.6, 11.2 and 14.0 points, the median between the middle two: 8.4."""
    (note,) = detectable_note("between two", {"GSM8K": [gap(x) for x in (0.04, 0.01, 0.05, 0.02)], "MBPP": [gap(0.01)]})
    assert note == f"{HEAD}, between two, median (range): GSM8K 8.4 (2.8 to 14.0), MBPP 2.8."
    assert detectable_note("between two", {"GSM8K": [gap(0.01)]}) == [f"{HEAD}, between two: GSM8K 2.8."]


def test_without_a_difference_there_is_no_note():
    assert detectable_note("between two", {"GSM8K": [None], "MBPP": []}) == []


def test_pairs_are_paired_on_their_prompts():
    """10 of 100 prompts differ on GSM8K, all one way: error sqrt(0.1 * 0.9 / 100) = 0.03; 40 on MBPP: 0.049; their
    mean's is half of sqrt(0.03^2 + 0.049^2) = 0.0287."""
    records = [
        record(["math", "code"], method, {"gsm8k": right(a), "mbpp": right(b)})
        for method, a, b in (("ties", 50, 80), ("ta_elect", 60, 40))
    ]
    study = Study({run.method: [run] for run in read_runs(records)})
    own = dict.fromkeys(study.cells, ("gsm8k", "mbpp"))
    (note,) = pairs_note(study, [["ties", "ta_elect"]], own, "here")
    found = {name: float(value) for name, value in (part.split(" ") for part in note[:-1].split(": ")[1].split(", "))}
    assert list(found) == ["GSM8K", "MBPP", "Avg"]
    expected = {"GSM8K": 0.03, "MBPP": math.sqrt(0.24 / 100), "Avg": math.sqrt(0.0009 + 0.0024) / 2}
    assert found == pytest.approx({name: 100 * DETECTABLE * error for name, error in expected.items()}, rel=0.04)


def test_every_table_of_a_report_says_what_it_can_tell_apart():
    records = main_table_records() + pruning_records() + epsilon_records() + seeds_records()
    report = build_report(list({r["identity"]: r for r in records}.values()), "make", "1")
    tables = report.tables | report.summaries
    assert len(tables) == 10
    assert [name for name, table in tables.items() if "etectable" not in " ".join(table.notes)] == []
    assert any(note.startswith("detectable: ") for note in tables["gaps"].notes)


def test_masks_and_prompts_are_told_apart_by_hand():
    """Two masks, right on no prompt and on all 100: sd of a mask sqrt(1/2), 70.71 points, nothing else; their mean 50 %
    with an error of 50 points, all of it the masks'. The interval of one degree of freedom is cut at 0 and 100."""
    scores = {seed: {"gsm8k": right(100 * seed), "mbpp": right(50)} for seed in (0, 1)}
    runs = read_runs([record(["math", "code"], "della", found, seed=seed) for seed, found in scores.items()])
    table = noise_table(runs, ["about"])
    assert [row[3] for row in table.rows] == ["GSM8K", "MBPP"]
    assert table.rows[0][:5] == [
        "Math+Code",
        "DELLA",
        "drop_rate=0.5 lambda_=1.0",
        "GSM8K",
        "50.0 [0.0, 100.0] n=100x2",
    ]
    assert table.rows[0][5:] == ["0.00", "70.71", "0.00", "0.00", "50.00", "50.00"]
    error = 100 * math.sqrt(0.25 / 99)
    assert [float(cell) for cell in table.rows[1][5:]] == pytest.approx(
        [100 * math.sqrt(25 / 99), 0, 0, error, 0, error], abs=0.006
    )
    assert table.notes[0] == "about"
    assert {row["quantity"] for row in table.data} == {"score", *table.header[5:]}


def test_without_several_masks_there_is_no_table_of_noise():
    single = record(["math", "code"], "ties", {"gsm8k": right(5), "mbpp": right(5)})
    assert noise_table(read_runs([single]), []) is None


def test_training_seeds_are_averaged_in_the_table_of_noise():
    """Family 0 at 0 and 100 %, family 1 at 100 % twice: mean 75 %, error half of 50 points, n 200."""
    levels = {(0, 1): 0, (0, 2): 100, (1, 1): 100, (1, 2): 100}
    runs = [
        record(["math", "code"], "della", {"gsm8k": right(c), "mbpp": right(c)}, seed=seed, family_seed=family)
        for (family, seed), c in levels.items()
    ]
    row = noise_table(read_runs(runs), []).rows[0]
    assert row[4].startswith("75.0 [")
    assert row[4].endswith("n=200x2")
    assert row[-1] == "25.00"
