"""The intervals hold the truth, the tests find nothing where there is nothing, and 80 % power is 80 %.

Comparisons are simulated with a known difference on 100, 500 (MBPP) and 1319 prompts (GSM8K): 300 each by default,
2,000 in the full tests, where 95 % intervals must hold the difference in 93 % at least. With fewer simulations that
bound is three standard errors of a simulated share lower.
"""

import math
from functools import lru_cache

import numpy as np
import pytest
from scipy import stats

from della.crossed import crossed, crossed_difference
from della.paired import bonett_price, bootstrap, holm, mcnemar, sign_flips, with_pseudo_prompts
from della.power import minimum_detectable
from della.statistics import interval, resampled_means

COUNTS = [300, pytest.param(2000, marks=pytest.mark.full)]
SIZES = [100, 500, 1319]
MCNEMAR = lru_cache(maxsize=None)(mcnemar)

# Shares of prompts (both right, one alone, the other alone); the difference is that of the last two. From runs that
# hardly differ to runs that share nothing, as between two merges of the tiny family.
BINARY = [(0.70, 0.012, 0.008), (0.60, 0.045, 0.005), (0.55, 0.08, 0.03), (0.40, 0.25, 0.15), (0.0, 0.6, 0.4)]
# Shares of the differences -1, -1/2, 0, 1/2, 1: win rates with draws.
GRADED = [(0.0, 0.005, 0.97, 0.01, 0.015), (0.01, 0.03, 0.90, 0.04, 0.02), (0.10, 0.10, 0.50, 0.15, 0.15)]


def slack(share: float, count: int) -> float:
    """Three standard errors of a simulated share; nothing at the full count."""
    return 0.0 if count >= 2000 else 3 * math.sqrt(share * (1 - share) / count)


def discordant(n: int, shares: tuple[float, float, float], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of prompts that one run alone got right, and the other: int[count] each."""
    random = np.random.default_rng([n, count, *(round(1000 * share) for share in shares)])
    _, one, other, _ = random.multinomial(n, [*shares, 1 - sum(shares)], size=count).T
    return one, other


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("shares", BINARY)
def test_the_interval_of_right_and_wrong_holds_the_true_difference(n, shares, count):
    one, other = discordant(n, shares, count)
    low, high = bonett_price(one, other, n)
    truth = shares[1] - shares[2]
    assert np.mean((low <= truth) & (truth <= high)) >= 0.93 - slack(0.93, count)


def exact_coverage(n: int, one: float, other: float) -> float:
    """The probability that the interval holds the difference: summed over every possible pair of counts."""
    most = int(stats.binom.ppf(1 - 1e-9, n, one + other))
    b, c = (grid.ravel() for grid in np.meshgrid(np.arange(most + 1), np.arange(most + 1)))
    b, c = b[b + c <= most], c[b + c <= most]
    chance = stats.multinomial.pmf(np.stack([b, c, n - b - c], axis=1), n, [one, other, 1 - one - other])
    low, high = bonett_price(b, c, n)
    return float(np.sum(chance[(low <= one - other) & (one - other <= high)]))


@pytest.mark.parametrize("n", [100, pytest.param(500, marks=pytest.mark.full)])
def test_the_interval_holds_93_5_percent_exactly_however_few_prompts_differ(n):
    """Summed, not simulated. The least of these at n = 100 is 93.8 %; that of other intervals, which is why it is this
    one: Wald 63.2 %, Agresti and Min (1/2 added to each cell) 86.6 %, Tango's score interval 93.2 %."""
    for discordance in (0.01, 0.02, 0.03, 0.05, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3):
        for lean in (0.5, 0.7, 0.85, 0.9, 0.95, 1.0):
            found = exact_coverage(n, discordance * lean, discordance * (1 - lean))
            assert found >= 0.935, (discordance, lean)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("shares", GRADED)
def test_the_bootstrap_interval_of_scores_with_draws_holds_the_true_difference(n, shares, count):
    """All comparisons on one draw of prompts, as `bootstrap` does it: rows of `resampled_means` are independent of
    each other in their scores. The plain bootstrap holds 81 % in the first case at n = 100."""
    values = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
    random = np.random.default_rng([n, count, len(shares)])
    scores = random.choice(values, size=(count, n), p=shares)
    drawn = resampled_means("coverage", np.stack([with_pseudo_prompts(row) for row in scores]), 2000)
    ends = np.quantile(drawn, [0.025, 0.975], axis=0)
    truth = float(np.dot(values, shares))
    assert np.mean((ends[0] <= truth) & (truth <= ends[1])) >= 0.93 - slack(0.93, count)
    assert bootstrap(scores[0], "coverage", 2000) == pytest.approx(interval(drawn[:, 0]))


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("discordance", [0.02, 0.1, 0.4])
def test_the_exact_test_finds_a_difference_where_there_is_none_in_5_percent_at_most(n, discordance, count):
    one, other = discordant(n, (0.5, discordance / 2, discordance / 2), count)
    found = [MCNEMAR(int(b), int(c)) <= 0.05 for b, c in zip(one, other, strict=True)]
    assert np.mean(found) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / count)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("steps", [2, 100])
def test_sign_flips_find_a_difference_where_there_is_none_in_5_percent(steps, count):
    """Differences of both signs alike on 30 of 100 prompts. In steps of 1/100, of a judge that weighs, just that often;
    in half points sums are tied and the test errs to the safe side, as the exact test does."""
    random = np.random.default_rng([count, steps])
    sizes = random.integers(-steps, steps + 1, size=(count, 100)) / steps
    scores = np.where(random.random((count, 100)) < 0.3, sizes, 0.0)
    found = np.mean([sign_flips(row, f"calibration {i}", 999) <= 0.05 for i, row in enumerate(scores)])
    error = 3 * math.sqrt(0.05 * 0.95 / count)
    assert found <= 0.05 + error
    assert found >= (0.05 if steps == 100 else 0.03) - error


@pytest.mark.parametrize("count", COUNTS)
def test_holm_keeps_a_table_of_twelve_equal_pairs_free_of_findings_95_times_of_100(count):
    """Without correction 1 - 0.96^12 or so of such tables, four in ten, would show something."""
    one, other = discordant(500, (0.5, 0.1, 0.1), 12 * count)
    p = [MCNEMAR(int(b), int(c)) for b, c in zip(one, other, strict=True)]
    tables = [p[i : i + 12] for i in range(0, len(p), 12)]
    assert np.mean([min(table) <= 0.05 for table in tables]) > 0.25
    assert np.mean([min(holm(table)) <= 0.05 for table in tables]) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / count)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("discordance", [0.0, 0.1, 0.4])
def test_the_smallest_detectable_difference_is_found_four_times_out_of_five(n, discordance, count):
    gap = minimum_detectable(n, discordance)
    differ = max(discordance, gap)
    one, other = discordant(n, (0.0, (differ + gap) / 2, (differ - gap) / 2), count)
    found = [MCNEMAR(int(b), int(c)) <= 0.05 for b, c in zip(one, other, strict=True)]
    assert np.mean(found) == pytest.approx(0.8, abs=3 * math.sqrt(0.8 * 0.2 / count))


def answered(random, seeds: int, prompts: np.ndarray, level: float, sd_seed: float, sd_both: float) -> np.ndarray:
    """0/1 scores float64[seeds, n]: right where level + seed + prompt + both > 0."""
    masks = random.normal(0, sd_seed, (seeds, 1))
    return (level + masks + prompts + random.normal(0, sd_both, (seeds, prompts.size)) > 0).astype(float)


def truth(level: float, sd_seed: float, sd_both: float) -> float:
    """The share of right answers over all seeds and prompts, the prompts' sd being 1."""
    return float(stats.norm.cdf(level / math.sqrt(1 + sd_seed**2 + sd_both**2)))


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("sd_seed", [0.05, 0.3])
def test_intervals_over_masks_and_prompts_hold_the_true_score_and_the_true_difference(n, sd_seed, count):
    """Five mask seeds, as in the sweeps: masks that hardly matter, and masks that matter more than the prompts."""
    random = np.random.default_rng([n, count, round(100 * sd_seed)])
    means, gaps = [], []
    mean = truth(0.4, sd_seed, 0.5)
    gap = mean - truth(0.2, sd_seed, 0.5)
    for _ in range(count):
        prompts = random.normal(0, 1, (1, n))
        one = answered(random, 5, prompts, 0.4, sd_seed, 0.5)
        other = answered(random, 5, prompts, 0.2, sd_seed, 0.5)
        score, difference = crossed(one), crossed_difference(one, other)
        means.append(score.low <= mean <= score.high)
        gaps.append(difference.low <= gap <= difference.high)
    assert np.mean(means) >= 0.93 - slack(0.93, count)
    assert np.mean(gaps) >= 0.93 - slack(0.93, count)
