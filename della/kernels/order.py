"""Row ranks in linear time: stable counting passes over the bits of the scores, two rows at a time.

`della.prune.ranks` is the definition: rank 0 is the largest score, of equal scores the lower index is first. One pass
sorts by the 12 bits that matter most, two by the upper 22 of 32 (20 in rows up to 4,096, whose counters would cost more
than the rest). What is then still out of order is moved by insertion. That is little after one pass where weights have
16 bits, for their deltas are coarse; where it was much, two passes are taken for a while. A row where it would take
long even then, or with more than 65,536 elements, takes three.

Two rows are counted together, because a pass over one row waits for its own counters: equal digits in sequence (deltas
of 16-bit weights have many) make each count depend on the one before.
"""

import numpy as np
from numba import njit

from della.kernels.bits import FLAGS

DIGIT = 2048  # 11 bits
SMALL = 4096  # rows up to here are sorted by digits of 10 bits
PATIENCE = 4 * DIGIT  # the place of a counter that lasts: pairs of rows for which one pass is not tried
SCRATCH = PATIENCE + 1
SHORT = 65536  # an index fits into 16 bits
TINY = 48  # up to here, clearing the counters would take longer than moving elements
NARROW = 4096  # bins of the single pass that suffices where scores are coarse, as those of 16-bit weights are
_NARROW_SHIFT = np.uint32(15)
_HIGH = np.uint32(21)
_MIDDLE = np.uint32(10)
_MASK = np.uint32(DIGIT - 1)
_HALF = np.uint32(16)
_ONE = np.uint32(1)


@njit(**FLAGS)
def _move(scores, n, order):
    """Insertion sort of a short row."""
    for i in range(n):
        score = scores[i]
        place = i
        while place > 0 and scores[order[place - 1]] < score:
            order[place] = order[place - 1]
            place -= 1
        order[place] = i


@njit(**FLAGS)
def _starts(digit, low_a, low_b, high_a, high_b):
    """Counts into the places where each digit begins, the largest digit first."""
    w = x = y = z = np.uint32(0)
    for d in range(digit - 1, -1, -1):
        c, low_a[d] = low_a[d], w
        w += c
        c, low_b[d] = low_b[d], x
        x += c
        c, high_a[d] = high_a[d], y
        y += c
        c, high_b[d] = high_b[d], z
        z += c


def _two_passes(bits):
    """The two passes by digits of so many bits, which the compiler then knows."""
    digit = 1 << bits
    mask, high, middle = np.uint32(digit - 1), np.uint32(32 - bits), np.uint32(32 - 2 * bits)

    @njit(**FLAGS)
    def two_passes(scores, first, second, n, order, pairs, counters):
        low_a, low_b = counters[0:digit], counters[digit : 2 * digit]
        high_a, high_b = counters[2 * digit : 3 * digit], counters[3 * digit : 4 * digit]
        a, b = scores[first : first + n], scores[second : second + n]
        out_a, out_b = order[first : first + n], order[second : second + n]
        pairs_a, pairs_b = pairs[0:n], pairs[n : 2 * n]
        for d in range(4 * digit):
            counters[d] = np.uint32(0)
        for i in range(n):
            s, t = a[i], b[i]
            low_a[(s >> middle) & mask] += _ONE
            low_b[(t >> middle) & mask] += _ONE
            high_a[s >> high] += _ONE
            high_b[t >> high] += _ONE
        _starts(digit, low_a, low_b, high_a, high_b)
        for i in range(n):
            s, t = a[i], b[i]
            d, e = (s >> middle) & mask, (t >> middle) & mask
            p, q = low_a[d], low_b[e]
            low_a[d] = p + _ONE
            low_b[e] = q + _ONE
            pairs_a[p] = (s >> high) << _HALF | np.uint32(i)
            pairs_b[q] = (t >> high) << _HALF | np.uint32(i)
        for i in range(n):
            s, t = pairs_a[i], pairs_b[i]
            d, e = s >> _HALF, t >> _HALF
            p, q = high_a[d], high_b[e]
            high_a[d] = p + _ONE
            high_b[e] = q + _ONE
            out_a[p] = s & np.uint32(0xFFFF)
            out_b[q] = t & np.uint32(0xFFFF)

    return two_passes


_short_passes, _long_passes = _two_passes(10), _two_passes(11)


@njit(**FLAGS)
def _insert(scores, n, order):
    """Puts in order what the upper bits left. Returns the places moved, or -1 when that would take too long."""
    moves = 0
    before = np.uint32(0xFFFFFFFF)
    for r in range(n):
        index = order[r]
        score = scores[index]
        if score <= before:
            before = score
            continue
        place = r
        while place > 0 and scores[order[place - 1]] < score:
            order[place] = order[place - 1]
            place -= 1
            moves += 1
        order[place] = index
        before = scores[order[r]]
        if moves > 4 * n:
            return -1
    return moves


@njit(**FLAGS)
def _third_pass(scores, n, order, pairs, counters, spare):
    """All 32 bits in three stable passes."""
    for d in range(3 * DIGIT):
        counters[d] = np.uint32(0)
    for i in range(n):
        s = scores[i]
        counters[s & np.uint32(1023)] += _ONE
        counters[DIGIT + ((s >> _MIDDLE) & _MASK)] += _ONE
        counters[2 * DIGIT + (s >> _HIGH)] += _ONE
    for part in range(3):
        total = np.uint32(0)
        for d in range((part + 1) * DIGIT - 1, part * DIGIT - 1, -1):
            c, counters[d] = counters[d], total
            total += c
    for i in range(n):
        d = scores[i] & np.uint32(1023)
        p = counters[d]
        counters[d] = p + _ONE
        pairs[p] = i
    for i in range(n):
        index = pairs[i]
        d = DIGIT + ((scores[index] >> _MIDDLE) & _MASK)
        p = counters[d]
        counters[d] = p + _ONE
        spare[p] = index
    for i in range(n):
        index = spare[i]
        d = 2 * DIGIT + (scores[index] >> _HIGH)
        p = counters[d]
        counters[d] = p + _ONE
        order[p] = index


@njit(**FLAGS)
def _count(scores, first, second, n, order, pairs, counters):
    """Two rows, by one pass or two: by two for a while after one has left much to be inserted."""
    if counters[PATIENCE] == 0:
        _one_pass(scores, first, second, n, order, pairs, counters)
        return
    counters[PATIENCE] -= _ONE
    if n <= SMALL:
        _short_passes(scores, first, second, n, order, pairs, counters)
    else:
        _long_passes(scores, first, second, n, order, pairs, counters)


@njit(**FLAGS)
def _one_pass(scores, first, second, n, order, keys, counters):
    """Both rows by the 12 bits of their scores that matter most: eight octaves below the largest, 512 bins each."""
    a, b = keys[0:n], keys[n : 2 * n]
    _narrow(n, scores[first : first + n], a)
    _narrow(n, scores[second : second + n], b)
    bins_a, bins_b = counters[0:NARROW], counters[NARROW : 2 * NARROW]
    for d in range(2 * NARROW):
        counters[d] = np.uint32(0)
    for i in range(n):
        bins_a[a[i]] += _ONE
        bins_b[b[i]] += _ONE
    x = y = np.uint32(0)
    for d in range(NARROW - 1, -1, -1):
        c, bins_a[d] = bins_a[d], x
        x += c
        c, bins_b[d] = bins_b[d], y
        y += c
    out_a, out_b = order[first : first + n], order[second : second + n]
    for i in range(n):
        d, e = a[i], b[i]
        p, q = bins_a[d], bins_b[e]
        bins_a[d] = p + _ONE
        bins_b[e] = q + _ONE
        out_a[p] = np.uint32(i)
        out_b[q] = np.uint32(i)


@njit(**FLAGS)
def _narrow(n, scores, keys):
    top = np.uint32(0)
    for i in range(n):
        top = max(top, scores[i])
    least = np.int32(top >> _NARROW_SHIFT) - np.int32(NARROW - 1)
    for i in range(n):
        keys[i] = np.uint32(max(np.int32(scores[i] >> _NARROW_SHIFT) - least, np.int32(0)))


@njit(**FLAGS)
def order_rows(scores, n, count, order, pairs, counters, spare):
    """Indices of each row by falling score.

    Args:
        scores: uint32, count rows of n consecutive elements.
        n, count: row length and number of rows.
        order: uint32, same size: order[row, r] is the index within the row of the element with rank r.
        pairs: uint32 [at least 2 n].
        counters: uint32 [SCRATCH]; the last one lasts from call to call and begins at 0. It changes nothing but time.
        spare: uint32 [at least 2 n]; used by long rows alone.
    """
    if n <= TINY:
        for row in range(count):
            _move(scores[row * n : (row + 1) * n], n, order[row * n : (row + 1) * n])
        return
    for row in range(0, count, 2):
        first = row * n
        second = min(row + 1, count - 1) * n  # an odd last row is sorted twice, into the same place
        if n > SHORT:
            _third_pass(scores[first : first + n], n, order[first : first + n], pairs, counters, spare)
            _third_pass(scores[second : second + n], n, order[second : second + n], pairs, counters, spare)
            continue
        _count(scores, first, second, n, order, pairs, counters)
        for start in (first, second):
            moves = _insert(scores[start : start + n], n, order[start : start + n])
            if moves < 0:
                _third_pass(scores[start : start + n], n, order[start : start + n], pairs, counters, spare)
            if counters[PATIENCE] == 0 and (moves < 0 or 4 * moves > n):
                counters[PATIENCE] = np.uint32(64)
