"""What the paper's ablations rank by, worked by hand."""

import pytest
import torch

from della.elect import elect
from della.fuse import adapt, fuse
from della.prune import find_cut, magprune, top_k
from della.random import uniform_words
from della.rankings import proportional, proportional_drop, top_k_rows, wanda_scores

HALF = 2**31


# Proportional to the magnitude


def test_proportional_drop_probabilities_follow_the_magnitude():
    """|.| = 4, 1, 2; p = 0.5, epsilon = 0.6: 0.2 + 0.6 (4 - |.|) / 3 = 0.2, 0.8, 0.6 (by rank it is 0.2, 0.8, 0.5)."""
    drop = proportional_drop(torch.tensor([[-4.0, 1.0, 2.0]]), 0.5, 0.6)
    torch.testing.assert_close(drop, torch.tensor([[0.2, 0.8, 0.6]], dtype=torch.float64), rtol=0, atol=1e-15)


def test_equal_magnitudes_are_all_dropped_as_the_smallest():
    """max = min: p + epsilon/2 = 0.8, as in the released code, for a row of one parameter too."""
    drop = proportional_drop(torch.tensor([[3.0, -3.0, 3.0]]), 0.5, 0.6)
    torch.testing.assert_close(drop, torch.full((1, 3), 0.8, dtype=torch.float64), rtol=0, atol=1e-15)
    assert proportional_drop(torch.tensor([[7.0]]), 0.5, 0.5).item() == 0.75


def test_their_mean_is_not_the_drop_rate():
    """|.| = 1, 1, 1, 5; p = 0.5, epsilon = 0.6: 0.8 three times and 0.2, so 0.65. Ranks give 0.5 for any row."""
    drop = proportional_drop(torch.tensor([[1.0, -1.0, 1.0, 5.0]]), 0.5, 0.6)
    assert drop.mean().item() == pytest.approx(0.65)


def test_proportional_worked_by_hand():
    """|.| = 4, 1, 2: keep = 0.8, 0.2, 0.4. u = 0.5, 0.5, 0.25: kept, dropped, kept, as 4 / 0.8 and 2 / 0.4.

    Row 2, |.| = 1, 1, 8: keep = 0.2, 0.2, 0.8; u = 0.5, 0.125, 0.75: dropped, kept as 1 / 0.2, kept as 8 / 0.8.
    """
    delta = torch.tensor([[-4.0, 1.0, 2.0], [1.0, -1.0, 8.0]])
    words = torch.tensor([HALF, HALF, HALF // 2, HALF, HALF // 4, HALF + HALF // 2])
    pruned = proportional(delta, words, 0.5, 0.6)
    keep = torch.tensor([[0.8, 0.2, 0.4], [0.2, 0.2, 0.8]])
    assert torch.equal(pruned.delta, torch.tensor([[-4.0, 0.0, 2.0], [0.0, -1.0, 8.0]]) / keep)
    assert pruned.kept == 4


def test_over_the_tensor_the_largest_and_the_smallest_are_those_of_all_rows():
    """|.| = 1, 2, 3, 5: keep = 0.2 + 0.6 (|.| - 1) / 4 = 0.2, 0.35, 0.5, 0.8; u = 0.5 - 2**-32 keeps 3 and 5.

    By rows, keep = 0.2, 0.8 in both: 2 and 5 are kept.
    """
    delta = torch.tensor([[1.0, 2.0], [3.0, 5.0]])
    words = torch.full((4,), HALF - 1)
    kept = {
        over: proportional(delta, words, 0.5, 0.6, rescale="none", rank_over=over).delta.tolist()
        for over in ("tensor", "row")
    }
    assert kept == {"tensor": [[0, 0], [3, 5]], "row": [[0, 2], [0, 5]]}


def test_proportional_dropping_leaves_the_expectation_unchanged_and_realises_its_own_mean_rate():
    """|.| = (i / 40)**2: the mean share is 1 - mean(|.|) to within the ends; 4,000 masks, five standard errors.

    p_i <= 0.7: 5 sqrt(0.7 / 0.3 / 4000) = 0.121 |delta_i|; the rate of 160,000 draws: 5 * 0.5 / 400 = 0.00625.
    """
    row = (torch.arange(1, 41, dtype=torch.float32) / 40) ** 2
    expected = proportional_drop(row.view(1, -1), 0.5, 0.4).mean().item()
    assert expected > 0.55
    delta = row.expand(4000, 40).contiguous()
    pruned = proportional(delta, uniform_words(13, "lm", "d", 0, delta.numel()), 0.5, 0.4)
    assert bool(((pruned.delta.mean(0) - row).abs() < 0.121 * row).all())
    assert abs(1 - pruned.kept / delta.numel() - expected) < 0.00625


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (0, 3), (1,), (4, 1), (1, 1, 1)])
def test_every_ranking_takes_every_shape(shape):
    delta = torch.ones(shape)
    words = uniform_words(1, "lm", "d", 0, delta.numel())
    for pruned in (
        proportional(delta, words, 0.5, 0.2),
        proportional(delta, words, 0.5, 0.2, rank_over="tensor", rescale="l1"),
        top_k_rows(delta, 0.5),
    ):
        assert pruned.delta.shape == delta.shape
        assert 0 <= pruned.kept <= delta.numel()


# WANDA


def test_wanda_scores_are_magnitudes_times_the_norms_of_the_inputs():
    scores = wanda_scores(torch.tensor([[1.0, -3.0], [-4.0, 2.0]]), torch.tensor([4.0, 0.5]))
    assert scores.tolist() == [[4.0, 1.5], [16.0, 1.0]]


def test_magprune_ranks_by_scores_and_drops_deltas():
    """Scores 4, 1.5 and 16, 1 rank the first of each row first; p = 0.5, epsilon = 0.6: keep = 0.8, 0.2; u = 0.5.

    By magnitude the second of row 1 would be kept. What is kept are the deltas, not the scores.
    """
    delta, norms = torch.tensor([[1.0, -3.0], [-4.0, 2.0]]), torch.tensor([4.0, 0.5])
    words = torch.full((4,), HALF)
    pruned = magprune(delta, words, 0.5, 0.6, rescale="none", scores=wanda_scores(delta, norms))
    assert pruned.delta.tolist() == [[1, 0], [-4, 0]]
    assert magprune(delta, words, 0.5, 0.6, rescale="none").delta.tolist() == [[0, -3], [-4, 0]]


def test_trims_by_scores_over_a_row_and_over_the_tensor():
    """Scores 4, 1.5 and 16, 1; p = 0.5 keeps one of each row, or two of the tensor: 16 and 4 in both cases.

    Norms of 1 and 3 give 1, 9 and 4, 6: by row the second of each, which are the two of the tensor too; by magnitude
    over the tensor 4 and 3 are kept.
    """
    delta = torch.tensor([[1.0, -3.0], [-4.0, 2.0]])
    for norms, kept in (([4.0, 0.5], [[1, 0], [-4, 0]]), ([1.0, 3.0], [[0, -3], [0, 2]])):
        scores = wanda_scores(delta, torch.tensor(norms))
        assert top_k_rows(delta, 0.5, scores).delta.tolist() == kept
        assert top_k(delta, find_cut(lambda scores=scores: [scores], 0.5), scores).delta.tolist() == kept
    assert top_k(delta, find_cut(lambda: [delta], 0.5)).delta.tolist() == [[0, -3], [-4, 0]]


def test_a_trim_within_rows_keeps_as_many_of_each_and_of_equal_ones_the_first():
    """Rows of 4 at p = 0.5 keep 2: |.| = 5, then the first 3; all of 2, the first two."""
    delta = torch.tensor([[3.0, -3.0, 0.0, 5.0], [2.0, 2.0, -2.0, 2.0]])
    pruned = top_k_rows(delta, 0.5)
    assert pruned.delta.tolist() == [[3, 0, 0, 5], [2, 2, 0, 0]]
    assert pruned.kept == 4


def test_a_trim_within_rows_keeps_at_least_one_of_each():
    assert top_k_rows(torch.tensor([[1.0, 2.0], [-9.0, 8.0]]), 0.9).delta.tolist() == [[0, 2], [-9, 0]]


# Adaptive lambda


def test_adaptive_lambda_worked_by_hand():
    """Sums 2, -1, -2, 3. Expert 1 has 3 kept deltas, elected are the first and the third: lambda = 3/2; 4 of 4: 1.

    Means of the elected: (1.5 + 1) / 2, -2, (-1.5 - 1) / 2, 3. With lambda constant 1: 1, -2, -1, 3.
    """
    deltas = [torch.tensor([[1.0, 1.0, -1.0, 0.0]]), torch.tensor([[1.0, -2.0, -1.0, 3.0]])]
    elected = elect(deltas)
    adapted = adapt(deltas, elected)
    assert adapted[0].tolist() == [[1.5, 1.5, -1.5, 0.0]]
    assert adapted[1].tolist() == deltas[1].tolist()
    assert fuse(adapted, elected, "mean").tolist() == [[1.25, -2.0, -1.25, 3.0]]
    assert fuse(deltas, elected, "mean").tolist() == [[1.0, -2.0, -1.0, 3.0]]


def test_each_row_has_its_own_lambda_and_one_without_an_election_is_left_alone():
    """Row 1: sums 2, -1, lambda 2/1 and 2/2. Row 2: sums -2, -2: expert 1 (1, 1) has none elected, expert 2 all."""
    deltas = [torch.tensor([[1.0, 1.0], [1.0, 1.0]]), torch.tensor([[1.0, -2.0], [-3.0, -3.0]])]
    elected = elect(deltas)
    adapted = adapt(deltas, elected)
    assert adapted[0].tolist() == [[2.0, 2.0], [1.0, 1.0]]
    assert fuse(adapted, elected, "mean").tolist() == [[1.5, -2.0], [-3.0, -3.0]]


def test_a_vector_is_one_row_and_dropped_deltas_do_not_count():
    """Kept 2 of 4, elected 1 of them: lambda = 2."""
    deltas = [torch.tensor([0.0, 2.0, 0.0, -1.0]), torch.tensor([0.0, 0.0, 0.0, 3.0])]
    assert adapt(deltas, elect(deltas))[0].tolist() == [0.0, 4.0, 0.0, -2.0]


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1,), (2, 1, 3)])
def test_adaptive_lambda_takes_every_shape(shape):
    deltas = [torch.ones(shape), -2 * torch.ones(shape)]
    assert [part.shape for part in adapt(deltas, elect(deltas))] == [torch.Size(shape)] * 2
