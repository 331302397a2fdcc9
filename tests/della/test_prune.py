"""Prune: hand-worked numbers, ties, bounds, expectations."""

import pytest
import torch

from della.delta import l1_norm
from della.prune import (
    bernoulli,
    drop_probabilities,
    find_cut,
    keep_all,
    kept_count,
    magnitude_bits,
    magprune,
    ranks,
    share_cut,
    top_k,
)
from della.random import uniform_words
from tests.della.models import philox_tensor

HALF = 2**31


def test_drop_probabilities_rise_from_p_minus_half_epsilon_to_p_plus_half_epsilon():
    """p = 0.5, epsilon = 0.2, n = 5: 0.4 + 0.2 r / 4 = 0.4, 0.45, 0.5, 0.55, 0.6."""
    expected = torch.tensor([0.4, 0.45, 0.5, 0.55, 0.6], dtype=torch.float64)
    torch.testing.assert_close(drop_probabilities(5, 0.5, 0.2), expected, rtol=0, atol=1e-15)


def test_a_row_of_one_parameter_is_dropped_with_p():
    assert drop_probabilities(1, 0.3, 0.2).tolist() == [0.3]


def test_rank_0_is_the_largest_magnitude_and_the_lower_index_wins_ties():
    """|.| = 1, 3, 2, 3, 0, 0: order 1, 3, 2, 0, 4, 5, so the ranks by place are 3, 0, 2, 1, 4, 5."""
    row = torch.tensor([[1.0, -3.0, 2.0, 3.0, 0.0, -0.0]])
    assert ranks(magnitude_bits(row)).tolist() == [[3, 0, 2, 1, 4, 5]]


def test_magprune_worked_by_hand():
    """Row 1: |.| = 4, 1, 2 -> r = 0, 2, 1; p = 0.5, epsilon = 0.5 -> p_i = 0.25, 0.75, 0.5, keep = 0.75, 0.25, 0.5.

    u = 0.5, 0.5, 0.25 -> kept, dropped, kept; 4 / 0.75 (in float32) and 2 / 0.5 = 4.
    Row 2: |.| = 1, 1, 8 -> r = 1, 2, 0; keep = 0.5, 0.25, 0.75; u = 0.5, 0.125, 0.75: dropped (u < keep is strict),
    kept, dropped; 1 / 0.25 = 4.
    """
    delta = torch.tensor([[-4.0, 1.0, 2.0], [1.0, -1.0, 8.0]])
    words = torch.tensor([HALF, HALF, HALF // 2, HALF, HALF // 4, HALF + HALF // 2])
    pruned = magprune(delta, words, 0.5, 0.5)
    assert torch.equal(
        pruned.delta, torch.tensor([[-4.0, 0.0, 2.0], [0.0, -1.0, 0.0]]) / torch.tensor([0.75, 0.25, 0.5])
    )
    assert pruned.kept == 3


def test_ranking_over_the_tensor_ranks_all_rows_together():
    """|.| = 1, 2, 3, 4 -> r = 3, 2, 1, 0; p = 0.5, epsilon = 0.6 -> keep = 0.2, 0.4, 0.6, 0.8. u = 0.5 keeps 3 and 4.

    By rows, r = 1, 0 in both: keep = 0.2, 0.8 keeps 2 and 4.
    """
    delta = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    words = torch.full((4,), HALF)
    over_tensor = magprune(delta, words, 0.5, 0.6, rescale="none", rank_over="tensor").delta
    over_row = magprune(delta, words, 0.5, 0.6, rescale="none").delta
    assert over_tensor.tolist() == [[0, 0], [3, 4]]
    assert over_row.tolist() == [[0, 2], [0, 4]]


def test_random_ranks_ignore_the_magnitude():
    """rank_words 9, 5, 7 -> r = 0, 2, 1; p = 0.5, epsilon = 0.5, u = 0.5: of keep = 0.75, 0.25, 0.5 only the first."""
    pruned = magprune(
        torch.tensor([1.0, 2.0, 3.0]),
        torch.full((3,), HALF),
        0.5,
        0.5,
        rescale="none",
        rank_words=torch.tensor([9, 5, 7]),
    )
    assert pruned.delta.tolist() == [1, 0, 0]


def test_magprune_without_a_window_drops_what_bernoulli_drops():
    delta = philox_tensor("d", (50, 33))
    words = uniform_words(1, "lm", "d", 0, delta.numel())
    for rescale in ("per_parameter", "l1", "none"):
        ours, dare = magprune(delta, words, 0.3, 0.0, rescale=rescale), bernoulli(delta, words, 0.3, rescale)
        assert torch.equal(ours.delta, dare.delta)
        assert ours.kept == dare.kept


def test_l1_rescaling_keeps_the_norm_and_none_keeps_the_values():
    """|.| = 1, 2, 3, 4, sum 10; u = 0.75, 0, 0, 0.75 and p = 0.5 keep 2 and 3, sum 5: the factor is 10 / 5 = 2."""
    delta = torch.tensor([1.0, -2.0, 3.0, 4.0])
    words = torch.tensor([HALF + HALF // 2, 0, 0, HALF + HALF // 2])
    assert bernoulli(delta, words, 0.5, "l1").delta.tolist() == [0, -4, 6, 0]
    assert bernoulli(delta, words, 0.5, "none").delta.tolist() == [0, -2, 3, 0]
    assert bernoulli(delta, words, 0.5).delta.tolist() == [0, -4, 6, 0]


def test_l1_rescaling_of_a_tensor_that_is_dropped_whole_gives_zeros():
    assert bernoulli(torch.ones(2), torch.full((2,), 2**32 - 1), 0.5, "l1").delta.tolist() == [0, 0]


def test_the_l1_norm_adds_halves_of_blocks_in_float64():
    """2**53 and 1 at places 0 and 1, 1 at place 1024: the block halves as 2**53 + 1 = 2**53, then + 1 = 2**53 again.

    (Added exactly, it would be 2**53 + 2.)
    """
    values = torch.zeros(1025)
    values[0], values[1], values[1024] = 2.0**53, 1.0, -1.0
    assert l1_norm(values) == 2.0**53
    assert l1_norm(torch.empty(0)) == 0.0


def test_top_k_counts_with_the_decimal_as_written():
    """20 (1 - 0.9) = 2 and 100 (1 - 0.9) = 10; floats give 1.9999999999999996 and 9.999999999999998."""
    assert [kept_count(20, 0.9), kept_count(100, 0.9), kept_count(7, 0.5), kept_count(3, 0.99)] == [2, 10, 3, 1]
    assert kept_count(0, 0.5) == 0


def test_top_k_keeps_the_largest_and_of_equal_ones_the_first():
    """10 parameters at p = 0.6 keep 4: |.| = 5, then of the five 3s the first three by index."""
    delta = torch.tensor([[3.0, 1.0, -3.0, 0.0, 5.0], [-3.0, 3.0, 2.0, 3.0, 0.0]])
    pruned = top_k(delta, find_cut(lambda: [delta], 0.6))
    assert pruned.delta.tolist() == [[3, 0, -3, 0, 5], [-3, 0, 0, 0, 0]]
    assert pruned.kept == 4


def test_a_cut_over_many_tensors_is_that_over_their_concatenation():
    parts = [philox_tensor("p1", (30, 7)), torch.empty(0, 4), philox_tensor("p2", (11,)), philox_tensor("p3", (5, 9))]
    whole = torch.cat([part.flatten() for part in parts])
    cut = find_cut(lambda: parts, 0.7)
    pruned = [top_k(part, own).delta.flatten() for part, own in zip(parts, share_cut(parts, cut), strict=True)]
    assert torch.equal(torch.cat(pruned), top_k(whole, find_cut(lambda: [whole], 0.7)).delta)
    assert int(torch.cat(pruned).count_nonzero()) == kept_count(len(whole), 0.7)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (0, 3), (1,), (4, 1), (1, 1, 1)])
def test_every_pruning_takes_every_shape(shape):
    delta = torch.ones(shape)
    words = uniform_words(1, "lm", "d", 0, delta.numel())
    for pruned in (
        keep_all(delta),
        bernoulli(delta, words, 0.5),
        magprune(delta, words, 0.5, 0.2),
        magprune(delta, words, 0.5, 0.2, rank_over="tensor", rescale="l1"),
        top_k(delta, find_cut(lambda: [delta], 0.5)),
    ):
        assert pruned.delta.shape == delta.shape
        assert 0 <= pruned.kept <= delta.numel()


@pytest.mark.parametrize("epsilon", [0.0, 0.4])
def test_per_parameter_rescaling_leaves_the_expectation_unchanged(epsilon):
    """Mean over 4,000 masks of delta^_i, standard deviation at most |delta_i| sqrt(p_i / (1 - p_i) / 4000).

    p_i <= 0.7: 0.0242 |delta_i|; five of them are 0.121 |delta_i|. The realised rate of 40 * 4,000 draws has standard
    error at most 0.5 / 400 = 0.00125, five are 0.00625.
    """
    row = torch.arange(1, 41, dtype=torch.float32)
    delta = row.expand(4000, 40).contiguous()
    pruned = magprune(delta, uniform_words(11, "lm", "d", 0, delta.numel()), 0.5, epsilon)
    assert bool(((pruned.delta.mean(0) - row).abs() < 0.121 * row).all())
    assert abs(pruned.kept / delta.numel() - 0.5) < 0.00625


def test_larger_magnitudes_are_kept_more_often():
    """40 ranks, p = 0.5, epsilon = 0.4: keep rises from 0.3 to 0.7; 4,000 masks: five standard errors are 0.04."""
    delta = torch.arange(1, 41, dtype=torch.float32).expand(4000, 40).contiguous()
    kept = magprune(delta, uniform_words(12, "lm", "d", 0, delta.numel()), 0.5, 0.4, rescale="none").delta.ne(0)
    expected = 0.3 + 0.4 * torch.arange(40) / 39
    assert bool(((kept.float().mean(0) - expected).abs() < 0.04).all())


def test_masks_are_nested_across_drop_rates():
    delta = philox_tensor("nest", (40, 50)) + 1.0
    words = uniform_words(5, "lm", "d", 0, delta.numel())
    wider = magprune(delta, words, 0.2, 0.2).delta.ne(0)
    for drop_rate in (0.3, 0.5, 0.7, 0.85):
        kept = magprune(delta, words, drop_rate, 0.2).delta.ne(0)
        assert bool((wider | ~kept).all())
        assert int(kept.sum()) < int(wider.sum())
        wider = kept
