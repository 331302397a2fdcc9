"""PEFT's merging pieces as an outside check, where they and ours mean the same."""

import pytest
import torch
from peft.utils import merge_utils

from della.checkpoint import MemoryCheckpoint
from della.elect import elect
from della.fuse import fuse
from della.merge import merge_tensors
from della.methods import make_method
from della.policy import Policy
from della.prune import find_cut, top_k
from della.random import keep_threshold, uniform_words
from tests.della.models import philox_tensor


@pytest.fixture
def deltas():
    """Distinct magnitudes, so that top-k has no ties to break."""
    torch.manual_seed(0)
    return [torch.randn(40, 25) for _ in range(3)]


@pytest.mark.parametrize("density", [0.5, 0.2, 0.75])
def test_trimming_keeps_what_peft_keeps(deltas, density):
    """PEFT keeps int(density n) = 500, 200, 750 of 1,000; ours floor(1000 (1 - p)), the same here."""
    for delta in deltas:
        assert torch.equal(
            top_k(delta, find_cut(lambda delta=delta: [delta], 1 - density)).delta,
            merge_utils.magnitude_based_pruning(delta, density),
        )


def test_election_is_pefts_majority_sign_by_total(deltas):
    """PEFT's mask compares signs, so an elected delta is one of the winning sign: the same as ours."""
    deltas[0][3], deltas[1][3], deltas[2][3] = 1.0, -1.0, 0.0  # a zero sum elects + in both
    theirs = merge_utils.calculate_majority_sign_mask(torch.stack(deltas), method="total")
    assert torch.equal(torch.stack(elect(deltas)).bool(), theirs.bool())


def test_the_mean_of_the_elected_is_pefts_disjoint_merge(deltas):
    elected = elect(deltas)
    theirs = merge_utils.disjoint_merge(torch.stack(deltas), torch.stack(elected))
    torch.testing.assert_close(fuse(deltas, elected, "mean"), theirs, rtol=1e-6, atol=1e-7)


def test_ties_with_weights_of_one_is_pefts(deltas):
    trimmed = [top_k(delta, find_cut(lambda delta=delta: [delta], 0.5)).delta for delta in deltas]
    theirs = merge_utils.ties(deltas, torch.ones(3), 0.5, majority_sign_method="total")
    torch.testing.assert_close(fuse(trimmed, elect(trimmed), "mean"), theirs, rtol=1e-6, atol=1e-7)


def test_the_sum_is_pefts_task_arithmetic():
    deltas = [philox_tensor(name, (9, 7)) for name in "abc"]
    assert torch.equal(fuse(deltas, None, "sum"), merge_utils.task_arithmetic(deltas, torch.ones(3)))


# Whole merges. The base is 0, so that the experts are the deltas.

NAMES = ("a", "b", "c")


def merged(deltas, name, weights=(1.0, 1.0, 1.0), **options):
    base = MemoryCheckpoint({"w": torch.zeros_like(deltas[0])})
    experts = {expert: MemoryCheckpoint({"w": delta}) for expert, delta in zip(NAMES, deltas, strict=True)}
    policy = Policy(make_method(name, **options), weights=dict(zip(NAMES, weights, strict=True)))
    (part,) = merge_tensors(base, experts, policy, 1)
    return part.tensor


@pytest.fixture
def same_masks(monkeypatch):
    """PEFT draws each expert's mask from torch.bernoulli, in the order of the list: it gets ours instead."""
    drawn = iter(NAMES)

    def bernoulli(probabilities):
        keep = probabilities.flatten()[0].to(torch.float64)
        keep = torch.tensor(round(float(keep), 6), dtype=torch.float64)  # PEFT's float32 0.3 is above 3/10
        words = uniform_words(1, next(drawn), "w", 0, probabilities.numel()).view(probabilities.shape)
        return (words < keep_threshold(keep)).to(probabilities.dtype)

    monkeypatch.setattr(torch, "bernoulli", bernoulli)


@pytest.mark.parametrize("drop_rate", [0.5, 0.7, 0.1])
@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (0.3, -0.5, 2.0)])
@pytest.mark.usefixtures("same_masks")
def test_dare_is_pefts_dare_linear_given_the_same_masks(deltas, drop_rate, weights):
    theirs = merge_utils.dare_linear(deltas, torch.tensor(weights), 1 - drop_rate)
    assert 0.8 * drop_rate**3 < float((theirs == 0).float().mean()) < 1.2 * drop_rate**3 + 0.005
    torch.testing.assert_close(merged(deltas, "dare", weights, drop_rate=drop_rate), theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("drop_rate", [0.5, 0.7, 0.1])
@pytest.mark.usefixtures("same_masks")
def test_dare_with_election_is_pefts_dare_ties_given_the_same_masks(deltas, drop_rate):
    """PEFT's divides by the number of the elected: our dare_elect, not mergekit's dare_ties, which is a sum."""
    theirs = merge_utils.dare_ties(deltas, torch.ones(3), 1 - drop_rate, majority_sign_method="total")
    torch.testing.assert_close(merged(deltas, "dare_elect", drop_rate=drop_rate), theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("density", [0.5, 0.2])
def test_whole_merges_by_ties_are_pefts(deltas, density):
    theirs = merge_utils.ties(deltas, torch.ones(3), density, majority_sign_method="total")
    torch.testing.assert_close(merged(deltas, "ties", drop_rate=1 - density), theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (0.3, -0.5, 2.0)])
def test_ties_without_election_as_a_sum_is_pefts_magnitude_prune(deltas, weights):
    theirs = merge_utils.magnitude_prune(deltas, torch.tensor(weights), 0.2)
    ours = merged(deltas, "ties", weights, drop_rate=0.8, elect=False, fuse="sum")
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_a_weighted_sum_is_pefts_task_arithmetic(deltas):
    theirs = merge_utils.task_arithmetic(deltas, torch.tensor([0.3, -0.5, 2.0]))
    torch.testing.assert_close(merged(deltas, "task_arithmetic", (0.3, -0.5, 2.0)), theirs, rtol=1e-6, atol=1e-6)
