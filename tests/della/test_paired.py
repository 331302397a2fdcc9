"""Paired comparisons of two runs: every number by hand or against a definition that is computed otherwise."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from della.paired import (
    as_array,
    bonett_price,
    bootstrap,
    compare,
    holm,
    mcnemar,
    mean_of,
    sign_flips,
    with_pseudo_prompts,
)
from della.power import minimum_detectable
from della.statistics import DETECTABLE

Z = float(stats.norm.ppf(0.975))


def test_a_mean_leaves_out_prompts_without_a_score_and_counts_them():
    """1, 0, 1: mean 2/3, squares 1/9 + 4/9 + 1/9 = 2/3 over 2 freedoms, s^2 = 1/3, s / sqrt(3) = 1/3."""
    found = mean_of([1.0, 0.0, None, 1.0])
    assert (found.value, found.error) == pytest.approx((2 / 3, 1 / 3))
    assert (found.n, found.nulls) == (3, 1)


def test_a_single_score_has_no_error_and_no_score_no_mean():
    assert math.isnan(mean_of([1.0, None]).error)
    assert math.isnan(mean_of([None]).value)
    assert mean_of([None]).n == 0


def test_the_error_of_a_share_is_the_binomial_one_for_a_sample():
    """0.5 / sqrt(399): the variance is divided by n - 1."""
    assert mean_of([0.0, 1.0] * 200).error == pytest.approx(0.5 / math.sqrt(399))


@pytest.mark.skipif("DELLA_DATA_DIR" not in os.environ, reason="DELLA_DATA_DIR is not set")
def test_the_official_leaderboards_win_rate_and_standard_error_follow_from_its_verdicts():
    """alpaca_eval's leaderboard row of wizardlm-13b: 75.31094527363184, 1.5101858292160824, n 804 and one without a
    verdict. Preferences are 1 reference, 2 model, 0 or 1.5 draw."""
    folder = Path(os.environ["DELLA_DATA_DIR"]) / "alpaca_eval"
    rows = json.loads((folder / "wizardlm-13b_alpaca_eval_gpt4_annotations.json").read_text())
    codes = {1: 0.0, 2: 1.0, 0: 0.5, 1.5: 0.5, None: None}
    found = mean_of([codes[row["preference"]] for row in rows])
    assert 100 * found.value == pytest.approx(75.31094527363184, abs=1e-9)
    assert 100 * found.error == pytest.approx(1.5101858292160824, abs=1e-9)
    assert (found.n, found.nulls) == (804, 1)


def test_the_exact_test_by_hand():
    """Of 10 discordant prompts 9 to 1: 2 (1 + 10) / 1024. 5 to 5 and none at all: 1. 6 to 0: 2 / 64, significant."""
    assert mcnemar(9, 1) == mcnemar(1, 9) == pytest.approx(22 / 1024)
    assert mcnemar(5, 5) == mcnemar(0, 0) == 1.0
    assert mcnemar(6, 0) == 1 / 32
    assert mcnemar(5, 0) == 1 / 16


def test_the_interval_by_hand():
    """b = 9, c = 4 of 98: p = 0.10, q = 0.05, variance (0.15 - 0.0025) / 100, so 0.05 -+ 1.96 * 0.0384."""
    low, high = bonett_price(np.array(9), np.array(4), 98)
    assert (float(low), float(high)) == pytest.approx((0.05 - Z * math.sqrt(0.001475), 0.05 + Z * math.sqrt(0.001475)))


def test_the_interval_without_a_discordant_prompt_has_a_width():
    """p = q = 1 / 102: 1.96 * sqrt(2) / 102 = 0.0272."""
    low, high = bonett_price(np.array(0), np.array(0), 100)
    assert (float(low), float(high)) == pytest.approx((-Z * math.sqrt(2) / 102, Z * math.sqrt(2) / 102))


def test_the_interval_turns_with_the_runs_and_stays_within_one():
    b, c = np.array([0, 7, 100, 0, 3]), np.array([0, 3, 0, 100, 0])
    low, high = bonett_price(b, c, 100)
    turned_low, turned_high = bonett_price(c, b, 100)
    assert low == pytest.approx(-turned_high)
    assert high == pytest.approx(-turned_low)
    assert low.min() == -1
    assert high.max() == 1
    assert ((low <= (b - c) / 100) & ((b - c) / 100 <= high)).all()


def test_the_interval_leaves_out_zero_wherever_the_exact_test_finds_a_difference():
    """The other way round not always: the exact test errs to the safe side."""
    b, c = (grid.ravel() for grid in np.meshgrid(np.arange(40), np.arange(40)))
    low, high = bonett_price(b, c, 500)
    significant = np.array([mcnemar(int(x), int(y)) <= 0.05 for x, y in zip(b, c, strict=True)])
    apart = (low > 0) | (high < 0)
    assert not (significant & ~apart).any()
    assert (apart & ~significant).mean() < 0.03


def test_sign_flips_of_whole_differences_are_the_exact_test():
    """9 prompts won and one lost: of 1024 assignments of signs 22 are as far from even."""
    assert sign_flips(np.array([1.0] * 9 + [-1.0] + [0.0] * 50), "ten") == pytest.approx(22 / 1024)


def test_sign_flips_of_half_points_by_hand():
    """0.5, 0.5, 1: of 8 assignments only all plus and all minus reach a sum of 2: 2 / 8. Without differences: 1."""
    assert sign_flips(np.array([0.5, 0.0, 0.5, 1.0]), "halves") == 0.25
    assert sign_flips(np.zeros(5), "none") == 1.0


def test_many_sign_flips_are_drawn_and_the_same_name_gives_the_same_p():
    """m = 400 differences of +-1, 220 to 180: the exact p is 0.0509; 9,999 random assignments know it to 0.0022."""
    differences = np.array([1.0] * 220 + [-1.0] * 180)
    found = sign_flips(differences, "many")
    assert found == sign_flips(differences, "many")
    assert found == pytest.approx(mcnemar(220, 180), abs=4 * 0.0022)
    assert found != sign_flips(differences, "other")


def test_pseudo_prompts_add_one_win_for_each_run():
    """0, 0.5: mean 0.25; with -1 and 1 it is 0.5 / 4."""
    assert with_pseudo_prompts(np.array([0.0, 0.5])).tolist() == [0.0, 0.5, -1.0, 1.0]


def test_a_bootstrap_of_equal_runs_keeps_a_width():
    """n = 100 equal scores: the pseudo-prompts' draws are Poisson(1) each; 2.5 % quantiles of their difference are -3
    and 3, over 102 prompts: between 2 / 102 and 4 / 102."""
    low, high = bootstrap(np.zeros(100), "equal")
    assert -4 / 102 <= low <= -2 / 102
    assert 2 / 102 <= high <= 4 / 102


def test_a_bootstrap_of_many_differences_is_the_normal_interval():
    """n = 1000, differences -0.5 and 1 on a half each: mean 0.25, sd 0.75, 1.96 * 0.75 / sqrt(1000) = 0.0465."""
    low, high = bootstrap(np.array([-0.5, 1.0] * 500), "normal")
    assert (low, high) == pytest.approx((0.25 - 0.0465, 0.25 + 0.0465), abs=0.002)


def test_two_runs_of_zeros_and_ones_are_compared_exactly():
    """One right on 60 prompts, the other on 50 of these and on 5 others of 100: b = 10, c = 5, difference 5 points."""
    one = [1.0] * 60 + [0.0] * 40
    other = [1.0] * 50 + [0.0] * 10 + [1.0] * 5 + [0.0] * 35
    found = compare([*one, None, 1.0], [*other, 1.0, None])
    assert (found.n, found.nulls, found.binary) == (100, 2, True)
    assert (found.one_better, found.other_better) == (10, 5)
    assert found.difference == pytest.approx(0.05)
    assert found.p == mcnemar(10, 5)
    assert (found.low, found.high) == pytest.approx(
        [float(end) for end in bonett_price(np.array(10), np.array(5), 100)]
    )
    assert found.detectable == minimum_detectable(100, 0.15)
    assert (found.one.value, found.other.value) == (0.60, 0.55)


def test_two_runs_with_draws_are_compared_by_resampling():
    """Differences 0.5 on 20 prompts, -0.5 on 10, 0 on 70: mean 0.05; with one +1 and one -1 more the sum of squares is
    7.5 + 2 over 102 prompts, less the squared mean 5 / 102."""
    one, other = [1.0] * 20 + [0.5] * 80, [0.5] * 20 + [1.0] * 10 + [0.5] * 70
    found = compare(one, other, "draws")
    assert (found.binary, found.one_better, found.other_better) == (False, 20, 10)
    assert found.difference == pytest.approx(0.05)
    spread = math.sqrt(9.5 / 102 - (5 / 102) ** 2)
    assert found.detectable == pytest.approx(DETECTABLE * spread / 10)
    assert found.low < 0.05 < found.high
    assert found.high - found.low == pytest.approx(2 * Z * spread / 10, rel=0.06)
    assert found.p == pytest.approx(mcnemar(20, 10), abs=4 * 0.0022)  # halves of equal size: the exact test's p
    assert compare(one, other, "draws") == found


def test_one_and_the_other_change_places_with_the_sign():
    one, other = [1.0, 0.0, 1.0, 1.0] * 20, [0.0, 0.0, 1.0, 0.0] * 20
    found, turned = compare(one, other), compare(other, one)
    assert (found.difference, found.low, found.high) == pytest.approx((-turned.difference, -turned.high, -turned.low))
    assert found.p == turned.p


def test_a_few_prompts_can_show_no_difference():
    """Five prompts, all won by one: p is 1/16 at best."""
    found = compare([1.0] * 5, [0.0] * 5)
    assert found.p == 1 / 16
    assert found.detectable is None


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ([1.0], [1.0, 0.0], "1 scores cannot be paired with 2"),
        ([1.0, 2.0], [0.0, 0.0], "outside"),
        ([0.0, 0.0], [0.0, -0.5], "outside"),
        ([None, 1.0], [1.0, None], "no prompt has a score in both"),
    ],
)
def test_scores_that_cannot_be_compared_are_refused(one, other, told):
    with pytest.raises(ValueError, match=told):
        compare(one, other)


def test_none_becomes_nan():
    assert as_array([1.0, None])[0] == 1.0
    assert math.isnan(as_array([1.0, None])[1])


def test_holms_correction_by_hand():
    """Sorted 0.005, 0.01, 0.03, 0.04: times 4, 3, 2, 1 gives 0.02, 0.03, 0.06, 0.04, and the last may not fall below
    0.06. Of 0.6 and 0.5 the products are 1 and 0.6: 1 is the largest p, and 0.6 may not fall below it."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []
