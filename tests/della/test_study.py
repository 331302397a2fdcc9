import math

import numpy as np
import pytest

from della.errors import InputError
from della.outcomes import read_runs
from della.study import Study, averaged, difference
from tests.della.synthetic import record

HALF = [0.0, 1.0] * 50
MOST = [1.0, 1.0, 1.0, 0.0] * 25


def study(*records: dict) -> Study:
    cells: dict = {}
    for run in read_runs(records):
        cells.setdefault((run.merge, run.method), []).append(run)
    return Study(cells)


MATH = (("code", "math"), "della")
TIES = (("code", "math"), "ties")


def test_a_score_is_the_mean_over_seeds_with_its_prompts_and_seeds_counted():
    """Seeds 1 and 2 score 50 % and 75 % on the same 100 prompts: 62.5 %."""
    found = study(
        record(["math", "code"], "della", {"gsm8k": HALF}, seed=1),
        record(["math", "code"], "della", {"gsm8k": MOST}, seed=2),
    ).score(MATH, "gsm8k")
    assert found is not None
    assert found.value == 0.625
    assert (found.n, found.seeds, found.families) == (100, (2, 2), 1)
    assert found.low < 0.5 + 0.05
    assert found.high > 0.75 - 0.05


def test_an_average_is_the_mean_of_benchmarks_of_unequal_length():
    """GSM8K 50 % on 100 prompts and MBPP 100 % on 10: Avg 75 %, not the 54.5 % over all prompts; n = 110."""
    both = {"gsm8k": HALF, "mbpp": [1.0] * 10}
    found = study(record(["math", "code"], "ties", both)).average(TIES, ["gsm8k", "mbpp"])
    assert found is not None
    assert found.value == pytest.approx(0.75)
    assert found.n == 110


def test_a_difference_is_paired_on_the_prompts():
    """The other method fails on 10 of 100 prompts more and agrees elsewhere: the difference d is 1 on 10 prompts and 0
    on 90, so its standard error is sqrt(0.1 * 0.9 / 100) = 0.03. Unpaired it would be sqrt(0.25 + 0.24) / 10 = 0.07."""
    worse = [0.0] * 20 + HALF[20:]
    found = study(
        record(["math", "code"], "della", {"gsm8k": HALF}, seed=1), record(["math", "code"], "ties", {"gsm8k": worse})
    ).estimate({(MATH, "gsm8k"): 1.0, (TIES, "gsm8k"): -1.0})
    assert found is not None
    assert found.value == pytest.approx(0.10)
    assert found.error == pytest.approx(0.03, rel=0.03)
    assert found.low == pytest.approx(0.05, abs=0.011)
    assert found.high == pytest.approx(0.16, abs=0.011)


def test_a_method_minus_itself_is_zero_without_a_width():
    found = study(record(["math", "code"], "ties", {"gsm8k": HALF}))
    terms = averaged(TIES, ["gsm8k"])
    gap = found.estimate(difference(terms, terms))
    assert gap is not None
    assert (gap.value, gap.low, gap.high) == (0.0, 0.0, 0.0)


def test_families_are_the_outermost_level():
    """Families 0 and 1 score 0 % and 100 %: mean 50 %; one of two is drawn, so the interval is all of 0 to 100 %."""
    found = study(
        record(["math", "code"], "ties", {"gsm8k": [0.0] * 30}, family_seed=0),
        record(["math", "code"], "ties", {"gsm8k": [1.0] * 30}, family_seed=1),
    ).score(TIES, "gsm8k")
    assert found is not None
    assert (found.value, found.low, found.high) == (0.5, 0.0, 1.0)
    assert (found.n, found.families) == (60, 2)


def test_a_difference_is_over_the_families_that_both_have():
    """DELLA ran on families 0 and 1, TIES on 1 alone: the difference is that of family 1, 100 - 50 = 50 points."""
    found = study(
        record(["math", "code"], "della", {"gsm8k": [0.0] * 30}, seed=1, family_seed=0),
        record(["math", "code"], "della", {"gsm8k": [1.0] * 30}, seed=1, family_seed=1),
        record(["math", "code"], "ties", {"gsm8k": [0.0, 1.0] * 15}, family_seed=1),
    ).estimate({(MATH, "gsm8k"): 1.0, (TIES, "gsm8k"): -1.0})
    assert found is not None
    assert found.value == 0.5
    assert found.families == 1


def test_a_missing_score_is_none():
    found = study(record(["math", "code"], "ties", {"gsm8k": HALF}))
    assert found.score(TIES, "mbpp") is None
    assert found.average(TIES, ["gsm8k", "mbpp"]) is None
    assert found.score(MATH, "gsm8k") is None


def test_a_cell_at_zero_has_wilsons_interval():
    """0 of 100: z^2 / (100 + z^2) = 3.70 %."""
    found = study(record(["math", "code"], "ties", {"gsm8k": [0.0] * 100})).score(TIES, "gsm8k")
    assert found is not None
    assert (found.value, found.low) == (0.0, 0.0)
    assert found.high == pytest.approx(0.03699, abs=1e-5)


def test_an_average_at_one_hundred_has_wilsons_interval_too():
    """All of 60 + 40 prompts right: 100 / (100 + z^2) = 96.30 %."""
    both = {"gsm8k": [1.0] * 60, "mbpp": [1.0] * 40}
    found = study(record(["math", "code"], "ties", both)).average(TIES, ["gsm8k", "mbpp"])
    assert found is not None
    assert (found.low, found.high) == pytest.approx((0.96301, 1.0), abs=1e-5)


def test_null_verdicts_are_left_out_and_counted():
    """1, null, 0, 1: two of three."""
    found = study(record(["lm", "code"], "ties", {"alpaca_eval": [1.0, None, 0.0, 1.0]}))
    score = found.score((("code", "lm"), "ties"), "alpaca_eval")
    assert score is not None
    assert score.value == pytest.approx(2 / 3)
    assert score.nulls == 1


def test_the_error_of_several_seeds_has_a_part_from_seeds():
    """Every prompt of a seed scores the same: seeds at 0, 0, 1, 1, 1. No prompt noise at all; s^2 / 5 = 0.3 / 5."""
    runs = [record(["math", "code"], "della", {"gsm8k": [x] * 40}, seed=i) for i, x in enumerate((0.0, 0, 1, 1, 1))]
    found = study(*runs).score(MATH, "gsm8k")
    assert found is not None
    assert found.value == pytest.approx(0.6)
    assert found.error == pytest.approx(math.sqrt(0.06), rel=0.03)


def test_runs_of_one_cell_on_different_prompts_are_an_error():
    short = record(["math", "code"], "della", {"gsm8k": HALF[:20]}, seed=2)
    with pytest.raises(InputError, match="different sets of gsm8k prompts"):
        study(record(["math", "code"], "della", {"gsm8k": HALF}, seed=1), short)


def test_replicates_do_not_depend_on_which_other_cells_there_are():
    one = study(record(["math", "code"], "ties", {"gsm8k": HALF}))
    two = study(
        record(["math", "code"], "ties", {"gsm8k": HALF}),
        record(["math", "code"], "della", {"gsm8k": MOST}, seed=1),
    )
    assert one.score(TIES, "gsm8k") == two.score(TIES, "gsm8k")
    assert np.isfinite(two.score(MATH, "gsm8k").error)
