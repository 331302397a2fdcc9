"""What pruning does on average, over many masks: nothing under per_parameter, a bias under l1.

A tensor of S rows that are all alike has S independent masks of that row: rows are ranked alone and every element has
random words of its own. The base is 0 and there is one expert, so the merge is the pruned delta. Seeds are fixed:
a test either always passes or never does; thresholds are set so that of a million right programs one would fail.
"""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from della.checkpoint import MemoryCheckpoint
from della.merge import merge_tensors
from della.methods import make_method
from della.policy import Policy
from della.prune import drop_probabilities, magnitude_bits, ranks

ALPHA = 1e-6
ROWS, N, SEEDS = 4000, 200, (1, 2, 3, 4)
MASKS = ROWS * len(SEEDS)


def half_normal_row(n: int = N) -> np.ndarray:
    """Quantiles of |N(0, 1)| at (i + 1/2) / n with alternating signs, shuffled: distinct, none is 0."""
    values = stats.halfnorm.ppf((np.arange(n) + 0.5) / n) * (-1.0) ** np.arange(n)
    return np.random.default_rng(0).permutation(values).astype(np.float32)


def keeps_of(row: np.ndarray, drop_rate: float, epsilon: float) -> np.ndarray:
    """1 - p_i of each element, float64."""
    rank = ranks(magnitude_bits(torch.from_numpy(row))[None])[0]
    return 1 - drop_probabilities(len(row), drop_rate, epsilon)[rank].numpy()


def mean_of_masks(row: np.ndarray, name: str, rows: int = ROWS, seeds=SEEDS, **options) -> np.ndarray:
    """Mean of the pruned row over rows * seeds masks, float64."""
    expert = MemoryCheckpoint({"w": torch.from_numpy(row).expand(rows, -1).contiguous()})
    base = MemoryCheckpoint({"w": torch.zeros(rows, len(row))})
    method = make_method(name, **options)
    total = np.zeros(len(row))
    for seed in seeds:
        (merged,) = merge_tensors(base, {"lm": expert}, method, seed)
        total += merged.tensor.numpy().astype(np.float64).sum(0)
    return total / (rows * len(seeds))


def assert_standard_normal(z: np.ndarray) -> None:
    """All of n independent z-scores are within the family-wise bound, and they vary neither too much nor too little.

    Bonferroni: P(max |z_i| > t) <= 2 n Phi(-t) = ALPHA. The sum of z_i^2 is chi-square with n degrees of freedom. Each
    z_i is a binomial count of at least MASKS min(p, 1 - p) >= 800 on either side, scaled: the normal is good to the
    tails that matter, as the third moment over sqrt(MASKS) is below 0.04.
    """
    bound = stats.norm.isf(ALPHA / (2 * z.size))
    assert np.abs(z).max() < bound
    low, high = stats.chi2.ppf([ALPHA / 2, 1 - ALPHA / 2], z.size)
    assert low < float((z**2).sum()) < high


@pytest.mark.parametrize(("drop_rate", "epsilon"), [(0.5, 0.14), (0.3, 0.5), (0.9, 0.1), (0.5, 0.0)])
def test_magprune_leaves_the_expectation_unchanged(drop_rate, epsilon):
    """delta^_i = (1 - m_i) delta_i / k_i with P(m_i = 0) = k_i = 1 - p_i: mean delta_i (arXiv 2406.11617, section 2.3).

    Variance delta_i^2 (1 - k_i) / k_i, over S masks that divided by S.
    """
    row = half_normal_row()
    keep = keeps_of(row, drop_rate, epsilon)
    mean = mean_of_masks(row, "della", drop_rate=drop_rate, epsilon=epsilon)
    deviation = np.abs(row) * np.sqrt((1 - keep) / keep / MASKS)
    assert_standard_normal((mean - row) / deviation)


@pytest.mark.parametrize("drop_rate", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("name", ["dare", "dare_ties", "dare_elect"])
def test_dare_leaves_the_expectation_unchanged(name, drop_rate):
    """As above with k_i = 1 - p; one expert alone is elected wherever it is kept."""
    row = half_normal_row()
    mean = mean_of_masks(row, name, drop_rate=drop_rate)
    assert_standard_normal((mean - row) / (np.abs(row) * math.sqrt(drop_rate / (1 - drop_rate) / MASKS)))


def test_ranks_by_random_words_leave_the_expectation_unchanged():
    """Over the ranks too, E[delta^_i^2] = delta_i^2 mean_r(1 / k_r): variance delta_i^2 (mean_r(1 / k_r) - 1)."""
    row = half_normal_row()
    keep = 1 - drop_probabilities(N, 0.5, 0.8).numpy()
    mean = mean_of_masks(row, "della", drop_rate=0.5, epsilon=0.8, rank_by="random")
    assert_standard_normal((mean - row) / (np.abs(row) * math.sqrt((float((1 / keep).mean()) - 1) / MASKS)))


def test_ranks_over_the_tensor_leave_the_expectation_unchanged():
    """Each of 2,500 tensors of the same 8 rows of 25 has a mask of its own, by its name."""
    row, tensors = half_normal_row(), 2500
    held = {f"w{number}": torch.from_numpy(row).view(8, 25) for number in range(tensors)}
    base = MemoryCheckpoint({name: torch.zeros(8, 25) for name in held})
    method = make_method("della", drop_rate=0.5, epsilon=0.8, rank_over="tensor")
    merged = merge_tensors(base, {"lm": MemoryCheckpoint(held)}, method, 1)
    mean = sum(part.tensor.numpy().astype(np.float64) for part in merged).reshape(-1) / tensors
    keep = keeps_of(row, 0.5, 0.8)
    assert_standard_normal((mean - row) / (np.abs(row) * np.sqrt((1 - keep) / keep / tensors)))


def test_a_sum_of_experts_without_election_is_right_on_average():
    """E[theta_m] = theta + lambda (w_a delta_a + w_b delta_b); independent masks, so that variances add up."""
    row, other = half_normal_row(), half_normal_row()[::-1].copy()
    weights, lambda_ = {"a": 0.7, "b": -0.4}, 1.5
    experts = {
        name: MemoryCheckpoint({"w": torch.from_numpy(values).expand(ROWS, -1) + 2})
        for name, values in (("a", row), ("b", other))
    }
    base = MemoryCheckpoint({"w": torch.full((ROWS, N), 2.0)})
    method = make_method("della", drop_rate=0.5, epsilon=0.6, elect=False, fuse="sum", lambda_=lambda_)
    (merged,) = merge_tensors(base, experts, Policy(method, weights=weights), 1)
    variance = sum(
        (lambda_ * weights[name] * values) ** 2 * (1 / keeps_of(values, 0.5, 0.6) - 1)
        for name, values in (("a", row), ("b", other))
    )
    expected = 2 + lambda_ * (0.7 * row - 0.4 * other).astype(np.float64)
    mean = merged.tensor.numpy().astype(np.float64).mean(0)
    assert_standard_normal((mean - expected) / np.sqrt(variance / ROWS))


# rescale=l1


@pytest.mark.parametrize(("drop_rate", "epsilon"), [(0.5, 0.14), (0.5, 0.8), (0.9, 0.1)])
def test_l1_shrinks_small_deltas_and_enlarges_large_ones(drop_rate, epsilon):
    """The whole tensor is multiplied by C = sum |delta| / sum |kept delta|, which over many rows is close to
    sum_i |delta_i| / sum_i k_i |delta_i| = 1 / K, K the mean of k weighted by magnitude: E[delta^_i] = delta_i k_i / K.

    For magnitudes of a half-normal, k_i = 1 - p + epsilon (F_i - 1/2) with F_i the part that is smaller, and
    E[|z| F] / E|z| = E[max(|z|, |z'|)] / (2 E|z|) = (2 / sqrt(pi)) / (2 sqrt(2 / pi)) = 1 / sqrt(2). So
    K = 1 - p + epsilon (sqrt(2) - 1) / 2: at p = 0.5 and epsilon = 0.14, 0.529; the largest is enlarged to
    0.57 / 0.529, by 7.8 %, the smallest shrunk to 0.43 / 0.529, by 18.7 %.

    The variance over S masks is at most delta_i^2 k_i (1 - k_i) / (K^2 S) and that of C, which is smaller by 1 / N.
    """
    row = half_normal_row()
    keep = keeps_of(row, drop_rate, epsilon)
    magnitude = np.abs(row).astype(np.float64)
    weighted = float((keep * magnitude).sum() / magnitude.sum())
    assert weighted == pytest.approx(1 - drop_rate + epsilon * (math.sqrt(2) - 1) / 2, abs=0.005 * epsilon)
    mean = mean_of_masks(row, "della", drop_rate=drop_rate, epsilon=epsilon, rescale="l1")
    common = float((keep * (1 - keep) * magnitude**2).sum() / (keep * magnitude).sum() ** 2)
    deviation = magnitude / weighted * np.sqrt((keep * (1 - keep) + keep**2 * common) / MASKS)
    bound = stats.norm.isf(ALPHA / (2 * N))
    assert np.abs((mean - row * keep / weighted) / deviation).max() < bound
    bias = mean / row - 1
    smallest, largest = np.argsort(magnitude)[: N // 10], np.argsort(magnitude)[-N // 10 :]
    spread = bound * float((deviation / magnitude).max()) / math.sqrt(N // 10)
    assert bias[smallest].mean() < -spread
    assert bias[largest].mean() > spread


def test_l1_with_one_drop_probability_is_nearly_unbiased_where_no_delta_stands_out():
    """DARE: k_i / K = 1. What is left is of the order of one delta's part of the tensor's norm, 1 / (N ROWS)."""
    row = half_normal_row()
    mean = mean_of_masks(row, "dare", drop_rate=0.5, rescale="l1")
    bound = stats.norm.isf(ALPHA / (2 * N))
    assert np.abs((mean / row - 1) / math.sqrt(1 / MASKS)).max() < bound


def test_l1_passes_a_dropped_outlier_on_to_the_others():
    """One delta of 1,000 and 99 of 1 in a tensor, p = 1/2. With J of the 99 kept, J about 49.5 +- 5:

    outlier kept: C = 1099 / (1000 + J) = 1.047, so its mean is 1000 * 1.047 / 2 = 524, and that of the others 0.52;
    dropped (half of the masks): the others' is C = 1099 / J, together always 1,099, that is 1099 / 99 = 11.1 each.
    Mean of the others: (1.047 / 2 + 11.1) / 2 = 5.81, where 1 is right. per_parameter has 1,000 and 1.

    4,000 tensors: the outlier's mean has the standard deviation 524 / sqrt(4000) = 8.3. The mean over the others is
    0.52 or 11.1 by the outlier's mask: 5.3 / sqrt(4000) = 0.084.
    """
    row = np.ones(100, np.float32)
    row[17] = 1000
    held = {f"w{number}": torch.from_numpy(row) for number in range(4000)}
    base = MemoryCheckpoint({name: torch.zeros(100) for name in held})
    for rescale, outlier, others in (("l1", 523.6, 5.81), ("per_parameter", 1000.0, 1.0)):
        method = make_method("dare", drop_rate=0.5, rescale=rescale)
        mean = sum(m.tensor.double() for m in merge_tensors(base, {"lm": MemoryCheckpoint(held)}, method, 1)) / 4000
        assert abs(float(mean[17]) - outlier) < 5 * outlier / math.sqrt(4000)
        assert abs(float(mean.sum() - mean[17]) / 99 - others) < 5 * 0.084
