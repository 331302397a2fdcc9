"""Variances of sums of scores from mask seeds and training seeds, by hand and against `della.crossed`."""

import math

import numpy as np
import pytest

from della.crossed import crossed, crossed_difference
from della.mask_noise import Part, noise


def part(scores, weight: float = 1.0, *, seeds=None, family=0, prompts="p") -> Part:
    scores = np.array(scores, dtype=float)
    return Part(family, prompts, weight, tuple(seeds or range(len(scores))), scores, np.nanmean(scores, axis=1))


def right(random, seeds: int, n: int) -> np.ndarray:
    return (random.normal(size=(seeds, n)) + random.normal(size=(seeds, 1)) + random.normal(size=n) > 0).astype(float)


def test_one_mask_seed_and_one_training_seed_have_no_noise():
    found = noise([part([[1.0, 0.0, 1.0]])])
    assert (found.masks, found.mixed, found.between, found.families) == (0, 0, 0.0, 1)
    assert math.isinf(found.freedom)
    assert found.total(0.02) == (0.02, math.inf)


def test_masks_by_hand():
    """Masks right on all and on none of 4 prompts: s^2 = 1/2 over 2 masks, 1/4; no interaction; 1 degree of freedom."""
    found = noise([part([[1.0] * 4, [0.0] * 4])])
    assert (found.masks, found.mixed, found.freedom) == pytest.approx((0.25, 0.0, 1.0))
    assert found.total(0.0) == (pytest.approx(0.25), math.inf)


def test_of_one_cell_it_is_the_crossed_analysis_of_variance():
    """The total is crossed()'s squared error: masks' mean square over seeds n, less the interaction's."""
    scores = right(np.random.default_rng(0), 5, 60)
    found, expected = noise([part(scores)]), crossed(scores)
    assert found.total(expected.prompt_error**2)[0] == pytest.approx(expected.error**2)
    assert found.beyond == pytest.approx(expected.seed_error**2)
    assert found.freedom == pytest.approx(4)


def test_cells_with_seeds_of_their_own_add_up():
    random = np.random.default_rng(1)
    one, other = right(random, 4, 50), right(random, 6, 50)
    expected = crossed_difference(one, other)
    found = noise([part(one), part(other, -1.0, seeds=range(10, 16))])
    assert found.total(expected.prompt_error**2)[0] == pytest.approx(expected.error**2)
    squares = [noise([part(one)]).masks, noise([part(other)]).masks]
    assert found.freedom == pytest.approx(sum(squares) ** 2 / (squares[0] ** 2 / 3 + squares[1] ** 2 / 5))


def test_cells_with_equal_seeds_are_paired():
    """The same as the crossed analysis of the differences at equal seeds; a cell less itself has no noise at all."""
    random = np.random.default_rng(2)
    one, other = right(random, 5, 40), right(random, 5, 40)
    expected = crossed(one - other)
    found = noise([part(one), part(other, -1.0)])
    assert found.beyond == pytest.approx(expected.seed_error**2)
    assert found.freedom == pytest.approx(4)
    assert noise([part(one), part(one, -1.0)]).masks == 0.0


def test_seeds_are_paired_whatever_their_order():
    scores = right(np.random.default_rng(3), 4, 30)
    assert noise([part(scores), part(scores[::-1], -1.0, seeds=(3, 2, 1, 0))]).masks == 0.0


def test_one_mask_has_one_effect_on_all_benchmarks():
    """Two benchmarks, weight 1/2 each, on which the masks do the same: the mean is as noisy as one of them."""
    scores = [[1.0] * 4, [0.0] * 4]
    both = noise([part(scores, 0.5, prompts="a"), part(scores, 0.5, prompts="b")])
    assert both.masks == pytest.approx(noise([part(scores)]).masks)


def test_cells_that_share_some_seeds_are_taken_together():
    """Means 0, 1 over seeds 1, 2 less 0, 1, 1 over 1, 2, 3. Parts of a seed in a mean, its variance unbiased:
    deviations -1/2, 1/2 times 1/sqrt(2), and -2/3, 1/3, 1/3 times 1/sqrt(6). Differences squared and summed."""
    first, second = 1 / math.sqrt(2), 1 / math.sqrt(6)
    expected = (-first / 2 + 2 * second / 3) ** 2 + (first / 2 - second / 3) ** 2 + (second / 3) ** 2
    one = part([[0.0] * 2, [1.0] * 2], seeds=(1, 2))
    other = part([[0.0] * 2, [1.0] * 2, [1.0] * 2], -1.0, seeds=(1, 2, 3))
    found = noise([one, other])
    assert found.masks == pytest.approx(expected)
    assert found.freedom == pytest.approx(1)


def test_training_seeds_by_hand():
    """Families at 1/4 and 3/4, weight 1/2 each: s^2 = 1/8, over two 1/16. Its own prompts' part of a total, 0.01, is
    within that, that of prompts they share is not."""
    scores = {0: [[1.0, 0.0, 0.0, 0.0]], 1: [[1.0, 1.0, 1.0, 0.0]]}
    own = noise([part(x, 0.5, family=f, prompts=f"p{f}") for f, x in scores.items()])
    assert (own.between, own.families, own.apart) == (0.0625, 2, True)
    assert own.total(0.01) == pytest.approx((0.0625, 1.0))
    shared = noise([part(x, 0.5, family=f) for f, x in scores.items()])
    assert shared.total(0.01)[0] == pytest.approx(0.0725)


def test_training_seeds_that_happen_to_agree_take_nothing_away():
    scores = [[1.0, 0.0], [0.0, 1.0]]
    found = noise([part(scores[:1], 0.5, family=f, prompts=f"p{f}") for f in (0, 1)])
    assert found.between == 0.0
    assert found.total(0.03) == (0.03, math.inf)


def test_a_prompt_without_a_verdict_does_no_harm():
    scores = np.array([[1.0, 0.0, math.nan, 1.0], [1.0, 0.0, 1.0, 0.0]])
    found = noise([part(scores)])
    assert math.isfinite(found.masks)
    assert math.isfinite(found.mixed)
