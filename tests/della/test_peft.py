"""PEFT's merging pieces as an outside check, where they and ours mean the same."""

import pytest
import torch
from peft.utils import merge_utils

from della.elect import elect
from della.fuse import fuse
from della.prune import find_cut, top_k
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
