"""What equal mask seeds save, in a table: by hand, in simulation, and where it is not shown."""

import math

import numpy as np
import pytest

from della.outcomes import read_runs
from della.tables.common import common_table, comparable, detectable_saving, saving
from tests.della.synthetic import record, seeds_records
from tests.della.test_statistics_coverage import slack

COUNTS = [300, pytest.param(2000, marks=pytest.mark.full)]
MERGE = ["math", "code"]


def point(method: str, **options) -> tuple:
    return ("code", "math"), method, tuple(sorted(options.items()))


def test_points_that_answer_alike_save_all_and_opposite_ones_double_the_noise():
    """a and a + 1 differ by 1 at every seed: nothing is left of 2 Var a. a and -a: Var 2a = 4 Var a, twice as much."""
    a = np.array([0.0, 1.0, 3.0, 2.0])
    found = saving([(a, a + 1)])
    assert (found.ratio, found.low, found.high, found.paired) == (0.0, 0.0, 0.0, 0.0)
    assert found.independent == pytest.approx(math.sqrt(2 * np.var(a, ddof=1)))
    assert saving([(a, -a)]).ratio == pytest.approx(2.0)
    assert saving([(np.ones(5), np.ones(5))]) is None


def test_the_ratio_by_hand():
    """a = 0, 2, 4, b = 0, 4, 2: variances 4 and 4, a - b = 0, -2, 2: variance 4. 4 / 8 is one half."""
    found = saving([(np.array([0.0, 2.0, 4.0]), np.array([0.0, 4.0, 2.0]))])
    assert found.ratio == pytest.approx(0.5)
    assert (found.paired, found.independent) == pytest.approx((2.0, math.sqrt(8.0)))
    assert found.freedom == 2


def test_the_interval_for_uncorrelated_sum_and_difference_is_that_of_f_by_t():
    """Sum and difference uncorrelated and of one variance: v between 1/(K + sqrt(K^2 - 1)) and its inverse, where
    K = 1 + 2 t^2 / (freedom - 1); with freedom 4, t(3) = 3.182: K = 7.751, so v up to 15.437, ratio up to 1.878."""
    u, v = np.array([1.0, -1.0, 1.0, -1.0, 0.0]), np.array([1.0, 1.0, -1.0, -1.0, 0.0])
    found = saving([((v + u) / 2, (v - u) / 2)])
    assert found.ratio == pytest.approx(1.0)
    assert found.high == pytest.approx(1.878, abs=0.001)
    assert found.low == pytest.approx(2 - found.high)


def test_training_seeds_are_pooled_about_their_own_means():
    """Families far apart: their difference is no mask's."""
    a, b = np.array([0.0, 2.0, 4.0]), np.array([0.0, 4.0, 2.0])
    found = saving([(a, b), (a + 100, b + 50)])
    assert found.ratio == pytest.approx(0.5)
    assert found.freedom == 4


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize(("correlation", "spread"), [(0.0, 1.0), (0.5, 2.0), (0.9, 1.0), (-0.3, 3.0)])
def test_the_interval_holds_the_true_ratio(correlation, spread, count):
    """Mean scores on 300 prompts at 10 seeds: ratio 1 - 2 r s / (1 + s^2) of the masks' effects, sds 1 and s points."""
    random = np.random.default_rng([count, round(10 * spread), round(10 * abs(correlation))])
    root = np.linalg.cholesky([[1.0, correlation * spread], [correlation * spread, spread**2]])
    true = 1 - 2 * correlation * spread / (1 + spread**2)
    held = [
        found.low <= true <= found.high
        for found in (saving([tuple(root @ random.normal(size=(2, 10)))]) for _ in range(count))
    ]
    assert np.mean(held) >= 0.93 - slack(0.93, count)


def test_the_detectable_saving_is_found_four_times_of_five():
    """Sum and difference of 28 seeds, the difference's variance as much smaller: the interval's end stays below 1."""
    random, gap = np.random.default_rng(5), detectable_saving(27)
    ratio = 1 - gap
    v = ratio / (2 - ratio)
    found = []
    for _ in range(1000):
        total, minus = random.normal(size=28), math.sqrt(v) * random.normal(size=28)
        found.append(saving([((total + minus) / 2, (total - minus) / 2)]).high < 1)
    assert np.mean(found) == pytest.approx(0.8, abs=0.05)


def test_points_are_compared_that_differ_in_one_thing():
    dare, della = (
        point("dare_elect", drop_rate=0.5, lambda_=1.0),
        point("della", drop_rate=0.5, epsilon=0.1, lambda_=1.0),
    )
    assert comparable(dare, della)
    assert comparable(dare, point("dare_elect", drop_rate=0.7, lambda_=1.0))
    assert comparable(della, point("della", drop_rate=0.5, epsilon=0.2, lambda_=1.0))
    assert not comparable(dare, point("della", drop_rate=0.7, epsilon=0.1, lambda_=1.0))
    assert not comparable(della, point("della", drop_rate=0.7, epsilon=0.2, lambda_=1.0))
    assert not comparable(dare, dare)
    assert not comparable(dare, (("lm", "math"), *della[1:]))


def test_a_row_for_each_pair_with_what_is_shown_and_what_is_not():
    """Synthetic masks have nothing in common between points: 4 pairs of 3 x 6 runs, 15 degrees of freedom."""
    table = common_table(read_runs(seeds_records()), ["about"])
    assert [row[1] + " - " + row[2] for row in table.rows] == [
        "DARE p=0.5 lambda=1.0 - DARE p=0.9 lambda=1.0",
        "DARE p=0.5 lambda=1.0 - DELLA p=0.5 lambda=1.0",
        "DARE p=0.9 lambda=1.0 - DELLA p=0.9 lambda=1.0",
        "DELLA p=0.5 lambda=1.0 - DELLA p=0.9 lambda=1.0",
    ]
    assert {row[3] for row in table.rows} == {"3x6"}
    shown = sum(row["quantity"] == "variance saved" and row["low"] > 0 for row in table.data)
    assert f"A saving is shown in {shown} of 4 rows" in table.notes[2]
    assert table.notes[0] == "about"
    assert "(at 15 degrees of freedom, the fewest here)" in table.notes[-1]


def test_a_saving_is_written_with_its_interval_and_what_it_is_worth():
    """DELLA right on one prompt in 100 more than DARE at every one of ten seeds: all of the variance is saved."""
    levels = [50, 52, 47, 60, 55, 51, 49, 53, 58, 46]
    records = []
    for seed, level in enumerate(levels):
        for method, more in (("dare_elect", 0), ("della", 1)):
            scores = [1.0] * (level + more) + [0.0] * (100 - level - more)
            records.append(record(MERGE, method, {"gsm8k": scores, "mbpp": scores}, seed=seed, drop_rate=0.5))
    table = common_table(read_runs(records), [])
    sd = math.sqrt(2) * np.std(levels, ddof=1)
    assert table.rows[0][3:7] == ["10", "0.00", f"{sd:.2f}", "100 % [100, 100]"]


def test_with_few_seeds_there_is_no_such_table():
    records = [r for r in seeds_records() if r["config"]["family_seed"] == 0]
    assert common_table(read_runs(records), []) is None
