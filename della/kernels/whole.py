"""MAGPRUNE ranked over a whole tensor (rank_over=tensor), with four bytes per parameter and expert.

The magnitudes of an expert's delta are sorted once. A block sorts its own, each with its index, and walks along both;
of equal magnitudes the lower index takes the smaller rank, so each run of equals counts how many it has handed out.
"""

import numpy as np
from numba import njit

from della.kernels.bits import FLAGS

_MAGNITUDE = np.uint32(0x7FFFFFFF)
_MARK = np.uint32(0x80000000)
_UPPER = np.uint64(32)


@njit(**FLAGS)
def magnitudes(values, n, out):
    """out[:n] = the magnitude bits of float32 values[:n]."""
    raw = values.view(np.uint32)
    for i in range(n):
        out[i] = raw[i] & _MAGNITUDE


@njit(**FLAGS)
def keys_of(values, n, keys):
    """keys[:n] = uint64: the magnitude bits of float32 values[:n], then their indices."""
    raw = values.view(np.uint32)
    for i in range(n):
        keys[i] = np.uint64(raw[i] & _MAGNITUDE) << _UPPER | np.uint64(i)


@njit(**FLAGS)
def prune_ranked(values, keys, ascending, drop_rate, epsilon, scaled, words, pruned):
    """MAGPRUNE of the next block of a tensor.

    Args:
        values: float32.
        keys: uint64 [n], from `keys_of`, sorted.
        ascending: uint32 [all], sorted; the second place of a run of equals counts, marked by the top bit, which
            magnitudes never have.
        drop_rate, epsilon: p and the width of the window, float64.
        scaled: whether to divide by the keep probability.
        words: uint32 [n], random.
        pruned: float32 [n], the result.

    Returns:
        How many are kept.
    """
    size = len(ascending)
    count = handed_out = first = after = 0
    before = np.uint64(0xFFFFFFFF)  # no magnitude
    for place in range(len(keys)):
        bits = keys[place] >> _UPPER
        if bits != before:
            _count_on(ascending, first, after, handed_out)
            before = bits
            first = _find(ascending, after, np.uint32(bits))
            after = _find(ascending, first, np.uint32(bits) + np.uint32(1))
            handed_out = _handed_out(ascending, first, after)
        rank = size - after + handed_out
        handed_out += 1
        i = np.uint32(keys[place])
        drop = (drop_rate - epsilon / 2) + (epsilon * rank) / (size - 1) if size > 1 else drop_rate
        keep = 1 - drop
        kept = np.float64(words[i]) < np.ceil(keep * 4294967296.0)
        value = values[i] / np.float32(keep) if scaled else values[i]
        pruned[i] = value if kept else np.float32(0)
        count += np.int64(kept)
    _count_on(ascending, first, after, handed_out)
    return count


@njit(**FLAGS)
def _handed_out(ascending, first, after):
    """How many of a run of equals have their ranks."""
    if after - first < 2:
        return 0
    held = ascending[first + 1]
    return np.int64(held & ~_MARK) if held & _MARK else 0


@njit(**FLAGS)
def _count_on(ascending, first, after, handed_out):
    if after - first > 1:
        ascending[first + 1] = _MARK | np.uint32(handed_out)


@njit(**FLAGS)
def _find(ascending, low, bits):
    """The first place from `low` on whose magnitude is at least `bits`: in strides that double, then by bisection."""
    stride = 1
    high = low
    while high < len(ascending) and _at(ascending, high) < bits:
        low = high + 1
        high += stride
        stride *= 2
    high = min(high, len(ascending))
    while low < high:
        middle = (low + high) // 2
        if _at(ascending, middle) < bits:
            low = middle + 1
        else:
            high = middle
    return low


@njit(**FLAGS)
def _at(ascending, place):
    """The magnitude there; a marked place has its left neighbour's."""
    there = ascending[place]
    return ascending[place - 1] if there & _MARK else there
