"""MAGPRUNE ranked over a whole tensor (rank_over=tensor), with four bytes per parameter and expert.

The magnitudes of an expert's delta are sorted once. A block then finds each of its magnitudes by bisection; of equal
magnitudes the lower index takes the smaller rank, so each run of equals counts how many it has handed out.
"""

import numpy as np
from numba import njit

from della.kernels.bits import FLAGS

BUCKETS = 65536  # of the upper 16 of 31 magnitude bits
_MAGNITUDE = np.uint32(0x7FFFFFFF)
_MARK = np.uint32(0x80000000)
_LOWER = np.uint32(15)


@njit(**FLAGS)
def magnitudes(values, n, out):
    """out[:n] = the magnitude bits of float32 values[:n]."""
    raw = values.view(np.uint32)
    for i in range(n):
        out[i] = raw[i] & _MAGNITUDE


@njit(**FLAGS)
def bucket_starts(ascending, starts):
    """starts[b] = the first place in sorted magnitudes with an upper half of at least b; int64 [BUCKETS + 1]."""
    b = 0
    for place in range(len(ascending)):
        while b <= np.int64(ascending[place] >> _LOWER):
            starts[b] = place
            b += 1
    for rest in range(b, BUCKETS + 1):
        starts[rest] = len(ascending)


@njit(**FLAGS)
def prune_ranked(values, n, ascending, starts, drop_rate, epsilon, scaled, words, pruned):
    """MAGPRUNE of values[:n], the next block of a tensor.

    Args:
        values: float32.
        n: how many.
        ascending: uint32 [all], sorted; the second place of a run of equals counts, marked by the top bit, which
            magnitudes never have.
        starts: from `bucket_starts`.
        drop_rate, epsilon: p and the width of the window, float64.
        scaled: whether to divide by the keep probability.
        words: uint32 [n], random.
        pruned: float32 [n], the result.

    Returns:
        How many are kept.
    """
    raw = values.view(np.uint32)
    size = len(ascending)
    count = 0
    for i in range(n):
        bits = raw[i] & _MAGNITUDE
        low, high = starts[bits >> _LOWER], starts[(bits >> _LOWER) + np.uint32(1)]
        first = _bisect(ascending, low, high, bits)
        after = _bisect(ascending, first, high, bits + np.uint32(1))
        handed_out = 0
        if after - first > 1:
            held = ascending[first + 1]
            handed_out = np.int64(held & ~_MARK) if held & _MARK else 0
            ascending[first + 1] = _MARK | np.uint32(handed_out + 1)
        rank = size - after + handed_out
        drop = (drop_rate - epsilon / 2) + (epsilon * rank) / (size - 1) if size > 1 else drop_rate
        keep = 1 - drop
        kept = np.float64(words[i]) < np.ceil(keep * 4294967296.0)
        value = values[i] / np.float32(keep) if scaled else values[i]
        pruned[i] = value if kept else np.float32(0)
        count += np.int64(kept)
    return count


@njit(**FLAGS)
def _bisect(ascending, low, high, bits):
    """The first place in [low, high) whose magnitude is at least `bits`; a marked place has its left neighbour's."""
    while low < high:
        middle = (low + high) // 2
        there = ascending[middle]
        if there & _MARK:
            there = ascending[middle - 1]
        if there < bits:
            low = middle + 1
        else:
            high = middle
    return low
