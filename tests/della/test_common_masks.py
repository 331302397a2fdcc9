"""Common random numbers: equal seeds give methods masks that are the same, nested, or almost the same."""

import itertools

import pytest
import torch

from della.methods import METHODS, Site, make_method
from tests.della.models import philox_tensor

SHAPE = (64, 48)


def kept(method: str, seed: int = 1, expert: str = "lm", **options) -> torch.Tensor:
    """Which parameters of a delta without zeros a method keeps."""
    delta = philox_tensor("masks", SHAPE) + 1.0
    return METHODS[method].prune(delta, make_method(method, **options), Site(seed, expert, "w")).delta.ne(0)


@pytest.mark.parametrize("drop_rate", [0.1, 0.5, 0.9])
def test_della_without_a_window_has_the_masks_of_every_dare(drop_rate):
    mask = kept("della", drop_rate=drop_rate, epsilon=0.0)
    for method in ("dare_elect", "dare", "dare_ties"):
        assert torch.equal(mask, kept(method, drop_rate=drop_rate))
    assert not torch.equal(mask, kept("dare_elect", seed=2, drop_rate=drop_rate))
    assert not torch.equal(mask, kept("dare_elect", expert="math", drop_rate=drop_rate))


@pytest.mark.parametrize(
    ("method", "options"),
    [("dare_elect", {}), ("della", {"epsilon": 0.14}), ("della", {"epsilon": 0.14, "rank_over": "tensor"})],
)
def test_masks_are_nested_across_drop_rates_at_equal_epsilon_and_ranking(method, options):
    masks = [kept(method, drop_rate=p, **options) for p in (0.1, 0.3, 0.5, 0.7, 0.9)]
    for wider, narrower in itertools.pairwise(masks):
        assert bool((wider | ~narrower).all())
        assert int(narrower.sum()) < int(wider.sum())


@pytest.mark.parametrize("epsilon", [0.14, 0.4])
def test_masks_of_della_and_dare_differ_in_a_quarter_of_epsilon(epsilon):
    """u lies between the two keep probabilities: the mean of |p_i - p| over a window of width epsilon is epsilon / 4.
    3,072 parameters: five standard errors of a share of 0.1 are 0.027. Masks of unequal seeds differ in one half."""
    mask = kept("dare_elect", drop_rate=0.5)
    apart = (kept("della", drop_rate=0.5, epsilon=epsilon) != mask).float().mean()
    assert abs(float(apart) - epsilon / 4) < 0.027
    other = (kept("della", seed=2, drop_rate=0.5, epsilon=epsilon) != mask).float().mean()
    assert float(other) == pytest.approx(0.5, abs=0.05)
