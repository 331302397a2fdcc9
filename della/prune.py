"""Prune: which delta parameters an expert keeps, and how the kept ones are rescaled.

    keep_all    every delta
    top_k       the largest magnitudes: TIES "trim" (arXiv 2306.01708, section 3)
    bernoulli   each with the same probability: DARE (arXiv 2311.03099, eq. 1)
    magprune    with a probability that falls with the rank of the magnitude: DELLA (arXiv 2406.11617, section 2.2)
    breadcrumbs neither the smallest nor the outliers: Model Breadcrumbs (arXiv 2312.06795, section 3)

What else the DELLA paper's ablations rank by is in della/rankings.py.

Every function takes a float32 delta and returns a `Pruned`. Random words come from `della.random`, one per parameter.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from della.counts import kept_count
from della.delta import l1_norm
from della.errors import InputError
from della.random import keep_threshold

MAX_ROW = 2**31
_INDEX_BITS = 31
_INDEX_MASK = MAX_ROW - 1
_MAX_SCORE = 2**32 - 1


class Pruned(NamedTuple):
    """A pruned delta (float32, zero where dropped) and how many of its parameters were kept."""

    delta: Tensor
    kept: int


def keep_all(delta: Tensor) -> Pruned:
    """delta^ = delta."""
    return Pruned(delta, delta.numel())


def bernoulli(delta: Tensor, words: Tensor, drop_rate: float, rescale: str = "per_parameter") -> Pruned:
    """m ~ Bernoulli(p); delta^ = (1 - m) delta / (1 - p)   (DARE, eq. 1).

    Args:
        delta: float32, any shape.
        words: int64 random words in [0, 2**32), one per parameter in row-major order.
        drop_rate: p in [0, 1).
        rescale: "per_parameter", "l1" or "none", see `drop`.
    """
    if drop_rate == 0:
        return keep_all(delta)
    keep = 1 - torch.tensor(drop_rate, dtype=torch.float64, device=delta.device)
    return drop(delta, words.view(delta.shape) < keep_threshold(keep), keep.to(torch.float32), rescale)


def magprune(
    delta: Tensor,
    words: Tensor,
    drop_rate: float,
    epsilon: float,
    *,
    rescale: str = "per_parameter",
    rank_over: str = "row",
    rank_words: Tensor | None = None,
    scores: Tensor | None = None,
) -> Pruned:
    """m_i ~ Bernoulli(p_i); delta^_i = (1 - m_i) delta_i / (1 - p_i), with p_i of `drop_probabilities`   (MAGPRUNE).

    Args:
        delta: float32, any shape; a row is the last dimension, a 1-D tensor is one row.
        words: int64 random words in [0, 2**32), one per parameter in row-major order.
        drop_rate: p, the mean drop probability; p - epsilon/2 >= 0 and p + epsilon/2 < 1.
        epsilon: full width of the window of drop probabilities.
        rescale: "per_parameter", "l1" or "none", see `drop`.
        rank_over: "row" (the paper) or "tensor" (one row of all parameters).
        rank_words: random words, one per parameter, to rank by instead of the magnitude; from a stream other than
            that of `words`.
        scores: float32, as delta: whose magnitudes are ranked instead of the delta's.
    """
    if drop_rate == 0 or delta.numel() == 0:
        return keep_all(delta)
    rows = delta.reshape(-1, delta.shape[-1]) if rank_over == "row" and delta.ndim else delta.reshape(1, -1)
    ranked = rows if scores is None else scores.reshape(rows.shape)
    rank = ranks(magnitude_bits(ranked) if rank_words is None else rank_words.view(rows.shape)).view(-1)
    keep = 1 - drop_probabilities(rows.shape[-1], drop_rate, epsilon).to(delta.device)  # one per rank
    kept = words < keep_threshold(keep).index_select(0, rank)
    keep_of_each = keep.to(torch.float32).index_select(0, rank)
    return drop(delta, kept.view(delta.shape), keep_of_each.view(delta.shape), rescale)


def breadcrumbs(delta: Tensor, drop_rate: float, gamma: float) -> Pruned:
    """Drop the part gamma with the largest magnitudes and the smallest, so that the part drop_rate is dropped in all.

    The kept ones are unscaled. Where gamma exceeds drop_rate, fewer outliers are dropped, as in mergekit.

    Args:
        delta: float32, any shape; ranked over the whole tensor, of equal magnitudes the lower index first.
        drop_rate: p in [0, 1), the part that is dropped.
        gamma: in [0, 1).
    """
    n = delta.numel()
    kept = kept_count(n, drop_rate)
    first = min(int(n * Decimal(str(gamma))), n - kept)
    rank = ranks(magnitude_bits(delta).view(1, -1)).view(delta.shape)
    chosen = (rank >= first) & (rank < first + kept)
    return Pruned(delta * chosen.to(torch.float32), kept)


def drop_probabilities(n: int, drop_rate: float, epsilon: float) -> Tensor:
    """p_i = p - epsilon/2 + epsilon r_i / (n - 1) for the ranks r = 0 .. n - 1; p when n = 1.

    The paper prints epsilon/n as the step (section 2.2); its released code divides by n - 1, as here, so that both
    ends of the window are reached and the mean is p.

    Args:
        n: parameters in a row, >= 1.
        drop_rate: p.
        epsilon: full width of the window.

    Returns:
        float64 [n], rising: the largest magnitude (r = 0) is dropped least.
    """
    if n == 1:
        return torch.tensor([drop_rate], dtype=torch.float64)
    rank = torch.arange(n, dtype=torch.float64)
    return (drop_rate - epsilon / 2) + (epsilon * rank) / (n - 1)


def magnitude_bits(values: Tensor) -> Tensor:
    """The bits of |values| as integers, which order as the magnitudes do.

    Args:
        values: float32, no NaN.

    Returns:
        int64, same shape, in [0, 2**31).
    """
    return (values.contiguous().view(torch.int32) & 0x7FFFFFFF).to(torch.int64)


def ranks(scores: Tensor) -> Tensor:
    """r in {0, .., n - 1} within each row: 0 for the largest score; of equal scores the lower index gets the smaller r.

    Args:
        scores: int64 [rows, n] in [0, 2**32), n < 2**31.

    Returns:
        int64 [rows, n].

    Raises:
        InputError: a row is longer than 2**31 - 1.
    """
    n = scores.shape[-1]
    if n >= MAX_ROW:
        raise InputError(f"a row of {n} parameters is too long to rank, the limit is {MAX_ROW - 1}; exclude its tensor")
    index = torch.arange(n, device=scores.device)
    # Score (falling) and index (rising) in one integer: no two are equal, so any sort gives the one stable order.
    order = _sorted_rows(((_MAX_SCORE - scores) << _INDEX_BITS) | index) & _INDEX_MASK
    return torch.empty_like(order).scatter_(-1, order, index.expand_as(order))


def _sorted_rows(keys: Tensor) -> Tensor:
    if keys.is_cpu:
        return torch.from_numpy(np.sort(keys.numpy(), axis=-1))  # ten times as fast as torch.sort here
    return torch.sort(keys, dim=-1).values


def drop(delta: Tensor, kept: Tensor, keep: Tensor, rescale: str) -> Pruned:
    """Zero what is not kept and rescale the rest.

    per_parameter: delta_i / (1 - p_i), which leaves the expectation unchanged (arXiv 2406.11617, section 2.3);
    l1: the whole tensor by one factor, so that its L1 norm is that of the delta (mergekit since v0.1.0); none: as is.
    """
    # Products with 0 and 1 instead of torch.where, which takes five times as long.
    delta_hat = delta * kept.to(torch.float32)
    if rescale == "per_parameter":
        delta_hat = delta_hat / keep
    if rescale == "l1":
        remaining = l1_norm(delta_hat)
        if remaining > 0:
            delta_hat = delta_hat * torch.tensor(l1_norm(delta) / remaining, dtype=torch.float32)
    return Pruned(delta_hat, int(kept.count_nonzero()))


@dataclass(frozen=True)
class Cut:
    """What top_k keeps of a tensor: magnitudes whose bits exceed `bits`, and the first `ties` that equal it."""

    bits: int
    ties: int


def find_cut(deltas: Callable[[], Iterable[Tensor]], drop_rate: float) -> Cut:
    """The cut that keeps exactly `kept_count` of all parameters of some tensors, found in two passes of counting.

    The first pass counts the upper 16 bits of the magnitudes and finds the bin the cut lies in, the second the lower
    15 bits inside that bin: no sort, and only one tensor at a time in memory.

    Args:
        deltas: gives the float32 deltas, the same at every call.
        drop_rate: p in [0, 1), the part that is dropped.
    """
    upper = sum(
        (_count(magnitude_bits(delta) >> 15, 2**16) for delta in deltas()), torch.zeros(2**16, dtype=torch.int64)
    )
    upper_bin, wanted = _descend(upper, kept_count(int(upper.sum()), drop_rate))
    lower = torch.zeros(2**15, dtype=torch.int64)
    for delta in deltas():
        bits = magnitude_bits(delta)
        lower += _count((bits & 0x7FFF)[bits >> 15 == upper_bin], 2**15)
    lower_bin, ties = _descend(lower, wanted)
    return Cut(upper_bin << 15 | lower_bin, ties)


def share_cut(deltas: Iterable[Tensor], cut: Cut) -> Iterator[Cut]:
    """The cut of each tensor, of a cut found over all of them: earlier tensors take their ties first."""
    left = cut.ties
    for delta in deltas:
        ties = min(left, int((magnitude_bits(delta) == cut.bits).sum()))
        left -= ties
        yield Cut(cut.bits, ties)


def _count(bins: Tensor, size: int) -> Tensor:
    return torch.bincount(bins.reshape(-1), minlength=size).cpu()


def _descend(histogram: Tensor, wanted: int) -> tuple[int, int]:
    """The bin in which the `wanted`-th entry from the top lies, and how many entries of that bin are wanted."""
    from_top = histogram.flip(0).cumsum(0)
    place = int(torch.searchsorted(from_top, wanted))
    above = int(from_top[place - 1]) if place else 0
    return len(histogram) - 1 - place, wanted - above


def top_k(delta: Tensor, cut: Cut, scores: Tensor | None = None) -> Pruned:
    """Keep the largest magnitudes, unscaled (TIES); of equal magnitudes the lower index, exactly as many as asked.

    Args:
        delta: float32, any shape.
        cut: of this tensor, from `find_cut` over it alone or from `share_cut`.
        scores: float32, as delta: whose magnitudes are compared instead, those that the cut was found for.
    """
    bits = magnitude_bits(delta if scores is None else scores).view(-1)
    tied = bits == cut.bits
    kept = (bits > cut.bits) | (tied & (tied.cumsum(0) <= cut.ties))
    return Pruned(delta * kept.view(delta.shape).to(torch.float32), int(kept.count_nonzero()))
