"""MAGPRUNE ranked over a whole tensor (rank_over=tensor), with two bytes per parameter and expert.

The magnitudes of an expert's delta are sorted once. Of the sorted ones only the lower 15 bits are kept: the upper 16
are known from where they stand. A block sorts its own magnitudes, each with its index, and walks along both; of equal
magnitudes the lower index takes the smaller rank, so each run of equals counts how many ranks it has handed out.
"""

import numpy as np
from numba import njit

from della.kernels.bits import FLAGS

BUCKETS = 65536  # one for each value of the upper 16 of 31 bits
_MAGNITUDE = np.uint32(0x7FFFFFFF)
_LOWER = np.uint32(15)
_LOWER_MASK = np.uint32(0x7FFF)
_MARK = np.uint16(0x8000)
_UPPER = np.uint64(32)


@njit(**FLAGS)
def magnitudes(values, n, out):
    """out[:n] = the magnitude bits of float32 values[:n]."""
    raw = values.view(np.uint32)
    for i in range(n):
        out[i] = raw[i] & _MAGNITUDE


@njit(**FLAGS)
def keep_lower(ascending, lower, starts):
    """Turns sorted magnitudes into their lower 15 bits, and says where each bucket begins.

    Args:
        ascending: uint32 [n].
        lower: uint16 [n]; may be the first half of the same memory.
        starts: int64 [BUCKETS + 1], written to.
    """
    bucket = 0
    for place in range(len(ascending)):
        bits = ascending[place]
        while bucket <= np.int64(bits >> _LOWER):
            starts[bucket] = place
            bucket += 1
        lower[place] = np.uint16(bits & _LOWER_MASK)
    starts[bucket:] = len(ascending)


@njit(**FLAGS)
def keys_of(values, n, keys):
    """keys[:n] = uint64: the magnitude bits of float32 values[:n], then their indices."""
    raw = values.view(np.uint32)
    for i in range(n):
        keys[i] = np.uint64(raw[i] & _MAGNITUDE) << _UPPER | np.uint64(i)


@njit(**FLAGS)
def prune_ranked(values, keys, lower, starts, drop_rate, epsilon, scaled, words, pruned):
    """MAGPRUNE of the next block of a tensor.

    Args:
        values: float32.
        keys: uint64 [n], from `keys_of`, sorted.
        lower, starts: from `keep_lower`; in `lower`, runs of equals count.
        drop_rate, epsilon: p and the width of the window, float64.
        scaled: whether to divide by the keep probability.
        words: uint32 [n], random.
        pruned: float32 [n], the result.

    Returns:
        How many are kept.
    """
    size = len(lower)
    count = handed_out = first = after = 0
    before = np.uint32(0xFFFFFFFF)  # no magnitude
    for place in range(len(keys)):
        bits = np.uint32(keys[place] >> _UPPER)
        if bits != before:
            _count_on(lower, first, after, handed_out)
            before = bits
            bucket = np.int64(bits >> _LOWER)
            end, low = starts[bucket + 1], np.uint16(bits & _LOWER_MASK)
            first = _find(lower, max(after, starts[bucket]), end, low)
            after = _find(lower, first, end, low + np.uint16(1))
            handed_out = _handed_out(lower, first, after)
        rank = size - after + handed_out
        handed_out += 1
        i = np.uint32(keys[place])
        drop = (drop_rate - epsilon / 2) + (epsilon * rank) / (size - 1) if size > 1 else drop_rate
        keep = 1 - drop
        kept = np.float64(words[i]) < np.ceil(keep * 4294967296.0)
        value = values[i] / np.float32(keep) if scaled else values[i]
        pruned[i] = value if kept else np.float32(0)
        count += np.int64(kept)
    _count_on(lower, first, after, handed_out)
    return count


@njit(**FLAGS)
def _digits(first, after):
    """How many places of a run count, 15 bits each: after its first one, one for up to three, three for more."""
    length = after - first
    return 3 if length > 3 else min(1, max(0, length - 1))


@njit(**FLAGS)
def _handed_out(lower, first, after):
    """How many of a run of equals have their ranks."""
    count = 0
    for digit in range(_digits(first, after)):
        held = np.int64(lower[first + 1 + digit])
        if held & np.int64(_MARK):
            count |= (held & np.int64(_LOWER_MASK)) << (15 * digit)
    return count


@njit(**FLAGS)
def _count_on(lower, first, after, handed_out):
    for digit in range(_digits(first, after)):
        lower[first + 1 + digit] = _MARK | np.uint16((handed_out >> (15 * digit)) & np.int64(_LOWER_MASK))


@njit(**FLAGS)
def _find(lower, low, end, bits):
    """The first place in low .. end - 1 with at least `bits`, or `end`: in strides that double, then by bisection."""
    stride = 1
    high = low
    while high < end and _at(lower, high) < bits:
        low = high + 1
        high += stride
        stride *= 2
    high = min(high, end)
    while low < high:
        middle = (low + high) // 2
        if _at(lower, middle) < bits:
            low = middle + 1
        else:
            high = middle
    return low


@njit(**FLAGS)
def _at(lower, place):
    """The lower bits there; a place that counts has those of the first of its run, to its left."""
    while lower[place] & _MARK:
        place -= 1
    return lower[place]
