"""What has to be known of a whole delta before its first block can be merged: passes of counting and adding.

count_range   how many magnitudes lie above a range, and a histogram of those inside it: TIES's cut
collect_range the same, with those inside themselves
count_equal   how many equal the cut
add_norms     L1 norms before and after pruning, in the one order that `della.delta.l1_norm` defines
low_rank      the delta of an adapter, left @ right, in the one order that `della.lora` defines
"""

import numpy as np
from numba import njit

from della.kernels.bits import FLAGS

SUM_BLOCK = 1024
_MAGNITUDE = np.uint32(0x7FFFFFFF)


@njit(**FLAGS)
def count_range(delta, n, low, shift, histogram):
    """Adds the magnitudes of delta[:n] to a histogram.

    Args:
        delta: float32.
        n: how many.
        low: uint32, lower end of the range of magnitude bits.
        shift: uint32; a bin is 2**shift wide.
        histogram: int64 [bins], added to.

    Returns:
        How many magnitudes lie above the range.
    """
    raw = delta.view(np.uint32)
    bins = np.uint32(len(histogram))
    width = np.int64(len(histogram)) << np.int64(shift)
    end = np.uint32(min(np.int64(low) + width, np.int64(2**31)))
    above = _count_above(n, raw, end)
    for i in range(n):
        bits = raw[i] & _MAGNITUDE
        place = (bits - low) >> shift  # wraps far above the bins where bits < low
        if bits >= low and place < bins:
            histogram[place] += 1
    return above


@njit(**FLAGS)
def _count_above(n, raw, end):
    count = np.uint32(0)
    for i in range(n):
        count += np.uint32((raw[i] & _MAGNITUDE) >= end)
    return np.int64(count)


@njit(**FLAGS)
def collect_range(delta, n, low, high, out):
    """The magnitude bits of delta[:n] that lie in [low, high), put together.

    Args:
        delta: float32.
        n: how many.
        low, high: uint32.
        out: uint32 [n]; the places after those found are overwritten too.

    Returns:
        How many lie above the range, and how many inside it.
    """
    raw = delta.view(np.uint32)
    found = np.uint64(0)
    width = high - low
    for i in range(n):
        bits = raw[i] & _MAGNITUDE
        out[found] = bits  # always, so that nothing branches: the next one found takes its place
        found += np.uint64((bits - low) < width)  # wraps far above the range where bits < low
    return _count_above(n, raw, high), np.int64(found)


@njit(**FLAGS)
def count_equal(delta, n, bits):
    """How many magnitudes of delta[:n] have exactly these bits."""
    raw = delta.view(np.uint32)
    count = np.uint32(0)
    for i in range(n):
        count += np.uint32((raw[i] & _MAGNITUDE) == bits)
    return np.int64(count)


@njit(**FLAGS)
def add_norms(values, n, held, state):
    """Adds |values[:n]| to a running sum in blocks of 1,024 elements of the tensor, whatever the blocks of the calls.

    Args:
        values: float32.
        n: how many.
        held: float64 [1024], the elements of the block that is not full yet.
        state: float64 [2]: the sum of the full blocks, and how many elements are held.
    """
    at = 0
    filled = np.int64(state[1])
    while at < n:
        take = min(SUM_BLOCK - filled, n - at)
        for i in range(take):
            held[filled + i] = abs(np.float64(values[at + i]))
        filled += take
        at += take
        if filled == SUM_BLOCK:
            state[0] += _halved(held)
            filled = 0
    state[1] = filled


@njit(**FLAGS)
def finish_norm(held, state):
    """The norm: what is held, filled up with zeros, is the last block."""
    filled = np.int64(state[1])
    if filled:
        held[filled:] = 0.0
        state[0] += _halved(held)
        state[1] = 0.0
    return state[0]


@njit(**FLAGS)
def _halved(held):
    """Sum of 1,024 values: the upper half is added to the lower one, ten times. Destroys them."""
    width = SUM_BLOCK
    while width > 1:
        width //= 2
        for i in range(width):
            held[i] = held[i] + held[width + i]
    return held[0]


@njit(**FLAGS)
def low_rank(left, right, scaling, first_row, rows, out):
    """out[:rows * columns] = scaling * (left @ right) of some rows; sums over the rank in its order.

    Args:
        left: float32 [all rows, r].
        right: float32 [r, columns].
        scaling: float32.
        first_row, rows: which.
        out: float32.
    """
    columns = right.shape[1]
    for i in range(rows):
        row = out[i * columns : (i + 1) * columns]
        row[:] = np.float32(0)
        for k in range(right.shape[0]):
            _add_product(columns, left[first_row + i, k], right[k], row)
        for j in range(columns):
            row[j] = row[j] * scaling


@njit(**FLAGS)
def _add_product(columns, factor, values, row):
    for j in range(columns):
        row[j] = row[j] + factor * values[j]
