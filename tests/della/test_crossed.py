"""Mask noise and prompt noise, apart: by hand, and recovered from scores simulated with known variances."""

import math

import numpy as np
import pytest
from scipy import stats

from della.crossed import crossed, crossed_difference, mean_squares, pooled


def simulated(random, seeds: int, n: int, sd_seed: float, sd_prompt: float, sd_both: float) -> np.ndarray:
    effects = random.normal(0, sd_seed, (seeds, 1)) + random.normal(0, sd_prompt, (1, n))
    return 0.5 + effects + random.normal(0, sd_both, (seeds, n))


def test_mean_squares_by_hand():
    """[[1, 0], [1, 1]]: mean 3/4, seeds 1/2 and 1, prompts 1 and 1/2. Seeds: 2 (1/16 + 1/16) / 1 = 1/4, prompts the
    same; left are four quarters with changing signs: 4/16."""
    assert mean_squares(np.array([[1.0, 0.0], [1.0, 1.0]])) == pytest.approx((0.25, 0.25, 0.25))


def test_seeds_that_differ_on_every_prompt_alike_are_seed_noise_alone():
    """Seeds at 0 and 1: sd of a seed sqrt(1/2), of their mean 1/2 with one degree of freedom, t 12.706."""
    found = crossed(np.array([[0.0, 0.0], [1.0, 1.0]]))
    assert (found.mean, found.seeds, found.n) == (0.5, 2, 2)
    assert (found.sd_seeds, found.sd_prompts, found.sd_both) == pytest.approx((math.sqrt(0.5), 0.0, 0.0))
    assert (found.error, found.seed_error, found.prompt_error) == pytest.approx((0.5, 0.5, 0.0))
    assert found.freedom == pytest.approx(1.0)
    assert found.high == pytest.approx(0.5 + 0.5 * stats.t.ppf(0.975, 1))


def test_seeds_that_agree_on_every_prompt_are_prompt_noise_alone():
    """Scores 0, 1, 1, 1 whatever the seed: s^2 = 1/4 over 4 prompts, error 1/4 with 3 degrees of freedom."""
    found = crossed(np.array([[0.0, 1.0, 1.0, 1.0]] * 3))
    assert (found.sd_seeds, found.sd_prompts, found.sd_both) == pytest.approx((0.0, 0.5, 0.0), abs=1e-12)
    assert found.error == found.prompt_error == pytest.approx(0.25)
    assert found.freedom == 3


def test_equal_scores_have_no_error():
    found = crossed(np.ones((3, 5)))
    assert (found.error, found.low, found.high) == (0.0, 1.0, 1.0)


def test_a_prompt_without_a_verdict_is_left_out_of_every_seed():
    scores = np.array([[1.0, 0.0, 1.0, math.nan], [1.0, 1.0, 0.0, 1.0]])
    found, without = crossed(scores), crossed(scores[:, :3])
    assert (found.n, found.nulls) == (3, 1)
    assert found.error == without.error


@pytest.mark.parametrize("shape", [(1, 10), (3, 1)])
def test_one_seed_or_one_prompt_is_refused(shape):
    with pytest.raises(ValueError, match="two seeds and two prompts"):
        crossed(np.zeros(shape))


def test_the_parts_are_recovered_from_simulated_scores():
    """300 simulations of 5 seeds and 200 prompts, sds 0.05, 0.3 and 0.2: mean squares average to the variances, and
    the error to sqrt(0.05^2 / 5 + 0.3^2 / 200 + 0.2^2 / 1000) = 0.0314."""
    random = np.random.default_rng(1)
    parts = [crossed(simulated(random, 5, 200, 0.05, 0.3, 0.2)) for _ in range(300)]

    def mean_square(name):
        return float(np.mean([getattr(part, name) ** 2 for part in parts]))

    assert mean_square("sd_seeds") == pytest.approx(0.05**2, rel=0.15)
    assert mean_square("sd_prompts") == pytest.approx(0.3**2, rel=0.02)
    assert mean_square("sd_both") == pytest.approx(0.2**2, rel=0.02)
    assert mean_square("error") == pytest.approx(0.05**2 / 5 + 0.3**2 / 200 + 0.2**2 / 1000, rel=0.10)
    assert np.std([part.mean for part in parts]) == pytest.approx(0.0314, rel=0.12)


def test_more_seeds_shrink_the_masks_part_alone():
    random = np.random.default_rng(2)
    few, many = (crossed(simulated(random, seeds, 400, 0.1, 0.4, 0.1)) for seeds in (4, 100))
    assert many.seed_error < few.seed_error / 2.5
    assert many.prompt_error == pytest.approx(few.prompt_error, rel=0.15)


def test_a_difference_shares_its_prompts_and_not_its_masks():
    """Prompts weigh the same on both methods and cancel: left are the masks, sd 0.04 and 0.08 over 4 and 8 seeds, and
    the interactions: sqrt(0.04^2 / 4 + 0.08^2 / 8 + 0.1^2 / 200 (1/4 + 1/8)) = 0.0349."""
    random = np.random.default_rng(3)
    errors, gaps = [], []
    for _ in range(300):
        prompts = random.normal(0, 0.4, (1, 200))
        one = simulated(random, 4, 200, 0.04, 0.0, 0.1) + prompts
        other = simulated(random, 8, 200, 0.08, 0.0, 0.1) + prompts
        found = crossed_difference(one, other)
        errors.append(found.error**2)
        gaps.append(found.mean)
    expected = 0.04**2 / 4 + 0.08**2 / 8 + 0.1**2 / 200 * (1 / 4 + 1 / 8)
    assert np.mean(errors) == pytest.approx(expected, rel=0.10)
    assert np.std(gaps) == pytest.approx(math.sqrt(expected), rel=0.12)


def test_a_difference_of_a_method_and_itself_moved_is_the_move():
    scores = simulated(np.random.default_rng(4), 3, 50, 0.0, 0.3, 0.0)
    found = crossed_difference(scores + 0.1, scores)
    assert found.mean == pytest.approx(0.1)
    assert found.prompt_error == pytest.approx(0.0, abs=1e-9)


def test_other_prompts_are_refused():
    with pytest.raises(ValueError, match="5 prompts cannot be paired with 6"):
        crossed_difference(np.zeros((2, 5)), np.zeros((2, 6)))


def test_families_are_averaged():
    """Two with errors 0.5 (one degree of freedom) and 0: the mean's error is 0.25, still with one degree of freedom."""
    one = crossed(np.array([[0.0, 0.0], [1.0, 1.0]]))
    other = crossed(np.ones((2, 2)))
    found = pooled([one, other])
    assert (found.mean, found.n, found.error) == (0.75, 4, 0.25)
    assert found.freedom == pytest.approx(1.0)
    assert found.sd_seeds == pytest.approx(0.5)
    assert list(vars(pooled([one])).values()) == pytest.approx(list(vars(one).values()))
