import math

import numpy as np
import pytest
from scipy import stats

from della.statistics import (
    generator,
    interval,
    pooled_spread,
    prompt_counts,
    resampled_means,
    wilson,
)


def test_the_same_name_gives_the_same_draw_and_another_name_another():
    one = prompt_counts("prompts gsm8k", 20, 50)
    prompt_counts.cache_clear()
    assert np.array_equal(one, prompt_counts("prompts gsm8k", 20, 50))
    assert not np.array_equal(one, prompt_counts("prompts mbpp", 20, 50))


def test_a_draw_of_prompts_has_as_many_prompts_as_there_are():
    assert (prompt_counts("any", 33, 1200).sum(axis=1) == 33).all()


def test_the_spread_of_resampled_means_is_the_binomial_standard_error():
    """n = 400 prompts, half of them right: sqrt(0.25 / 400) = 0.025. 10,000 replicates know it to about 0.7 %."""
    scores = np.tile([0.0, 1.0], 200)[None, :]
    assert np.std(resampled_means("binomial", scores)) == pytest.approx(0.025, rel=0.03)


def test_every_row_is_scored_on_the_same_draw():
    """A row that is 1 - another has the mean 1 - the other's in every replicate, so their sum never varies."""
    row = generator("row").integers(2, size=90).astype(float)
    means = resampled_means("shared", np.stack([row, 1 - row]), 200)
    assert np.allclose(means.sum(axis=1), 1.0, atol=1e-12)


def test_prompts_without_a_verdict_are_left_out_of_the_mean():
    """Scores 1, nan, 1, nan: whatever is drawn, the mean over verdicts is 1."""
    scores = np.array([[1.0, math.nan] * 100])
    assert (resampled_means("nulls", scores, 300) == 1.0).all()


def test_the_interval_is_the_central_95_percent():
    """Of 0, 1, ..., 1000 the 2.5 and 97.5 percentiles are 25 and 975."""
    assert interval(np.arange(1001.0)) == pytest.approx((25.0, 975.0))


def test_wilson_of_none_of_n_has_a_width():
    """Wilson's upper end for 0 of n is z^2 / (n + z^2): 3.8415 / 503.8415 = 0.7624 % for n = 500."""
    low, high = wilson(0, 500)
    z = stats.norm.ppf(0.975)
    assert low == 0.0
    assert high == pytest.approx(z**2 / (500 + z**2))
    assert high == pytest.approx(0.007624, abs=1e-6)


def test_spreads_by_hand():
    """Groups (1, 3) and (0, 0, 3): sums of squares 2 and 6, freedoms 1 and 2: sqrt(8 / 3). No group of two: none."""
    assert pooled_spread([[1.0, 3.0], [0.0, 0.0, 3.0]]) == pytest.approx(math.sqrt(8 / 3))
    assert pooled_spread([[1.0], [2.0]]) is None


@pytest.mark.parametrize("n", [100, 500])
def test_intervals_of_paired_differences_cover_the_truth(n):
    """Two methods right on 60 % and 55 % of prompts, four prompts of five equally hard for both: the true difference is
    0.05. Of 400 simulated comparisons at least 93 % less 2.3 standard errors (2.9 points) hold it."""
    random, draws = np.random.default_rng(n), prompt_counts("cover", n, 1000).astype(float)
    covered = 0
    for _ in range(400):
        shared, own, coin = random.random(n), random.random((2, n)), random.random(n) < 0.8
        one = np.where(coin, shared, own[0]) < 0.60
        other = np.where(coin, shared, own[1]) < 0.55
        low, high = interval(draws @ (one.astype(float) - other) / n)
        covered += low <= 0.05 <= high
    assert covered / 400 >= 0.93 - 2.3 * math.sqrt(0.93 * 0.07 / 400)
