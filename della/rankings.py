"""What the DELLA paper's ablations rank deltas by, and TIES's trim within rows.

    wanda_scores    |delta_ij| times the norm of input j: WANDA (arXiv 2306.11695, eq. 1) of the delta (DELLA, Table 5)
    proportional    drop probabilities that follow the magnitude itself, not its rank (the released `della_norank`)
    top_k_rows      the largest of each row, as WANDA compares them

These read as the equations; della/kernels/rankings.py repeats them bit for bit.
"""

import torch
from torch import Tensor

from della.counts import kept_count
from della.prune import Pruned, drop, keep_all, magnitude_bits, ranks
from della.random import keep_threshold


def wanda_scores(delta: Tensor, norms: Tensor) -> Tensor:
    """s_ij = |delta_ij| ||X_j||_2   (WANDA, eq. 1, with the delta in the weight's place).

    Args:
        delta: float32 [..., n].
        norms: float32 [n], the norm of each input feature over all tokens, finite and >= 0.

    Returns:
        float32, as delta; one rounding each. A score beyond float32 is infinite and still ranks first.
    """
    return delta.abs() * norms


def proportional(
    delta: Tensor,
    words: Tensor,
    drop_rate: float,
    epsilon: float,
    *,
    rescale: str = "per_parameter",
    rank_over: str = "row",
) -> Pruned:
    """m_i ~ Bernoulli(p_i); delta^_i = (1 - m_i) delta_i / (1 - p_i), with p_i of `proportional_drop`.

    Args:
        delta: float32, any shape; a row is the last dimension, a 1-D tensor is one row.
        words: int64 random words in [0, 2**32), one per parameter in row-major order.
        drop_rate: p, the middle of the window; p - epsilon/2 >= 0 and p + epsilon/2 < 1.
        epsilon: full width of the window.
        rescale: "per_parameter", "l1" or "none", see `della.prune.drop`.
        rank_over: "row", or "tensor": the smallest and the largest magnitude are those of all parameters.
    """
    if drop_rate == 0 or delta.numel() == 0:
        return keep_all(delta)
    rows = delta.reshape(-1, delta.shape[-1]) if rank_over == "row" and delta.ndim else delta.reshape(1, -1)
    keep = (1 - proportional_drop(rows, drop_rate, epsilon)).view(-1)
    kept = words < keep_threshold(keep)
    return drop(delta, kept.view(delta.shape), keep.to(torch.float32).view(delta.shape), rescale)


def proportional_drop(rows: Tensor, drop_rate: float, epsilon: float) -> Tensor:
    """p_i = p - epsilon/2 + epsilon (max - |delta_i|) / (max - min), max and min of the magnitudes of the row.

    The largest magnitude is dropped with p - epsilon/2, the smallest with p + epsilon/2. The mean is not p: deltas have
    many small magnitudes and few large ones, so that most p_i lie near p + epsilon/2. Where all magnitudes are equal,
    p_i = p + epsilon/2, as in the released code (there a norm of 0 by the 1e-7 added to max - min, which is left out
    here: it would make p_i depend on the scale of the deltas).

    Args:
        rows: float32 [rows, n], n >= 1.

    Returns:
        float64 [rows, n].
    """
    magnitude = rows.abs().to(torch.float64)
    largest, smallest = magnitude.amax(-1, keepdim=True), magnitude.amin(-1, keepdim=True)
    spread = largest - smallest
    share = (largest - magnitude) / spread.masked_fill(spread == 0, 1)
    share = share.masked_fill(spread == 0, 1)
    return (drop_rate - epsilon / 2) + epsilon * share


def top_k_rows(delta: Tensor, drop_rate: float, scores: Tensor | None = None) -> Pruned:
    """Keep the largest max(1, floor(n (1 - p))) magnitudes of each row, unscaled; of equal ones the lower index.

    Args:
        delta: float32, any shape; a row is the last dimension, a 1-D tensor is one row.
        drop_rate: p in [0, 1), the part that is dropped.
        scores: float32, as delta: whose magnitudes are compared instead.
    """
    if delta.numel() == 0:
        return keep_all(delta)
    rows = (delta if scores is None else scores).reshape(-1, delta.shape[-1] if delta.ndim else 1)
    chosen = ranks(magnitude_bits(rows)) < kept_count(rows.shape[-1], drop_rate)
    return Pruned(delta * chosen.view(delta.shape).to(torch.float32), int(chosen.count_nonzero()))
