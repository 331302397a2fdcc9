"""Row ranks in linear time: stable counting passes over the bits of the scores, two rows at a time.

`della.prune.ranks` is the definition: rank 0 is the largest score, of equal scores the lower index is first. One pass
sorts by the 12 bits that matter most, two by the upper 22 of 32 (20 in rows up to 4,096, whose counters would cost more
than the rest). What is then still out of order is moved by insertion. Where that was much after one pass, two are taken
for a while. A row where it would take long even then, or with more than 65,535 elements, takes three.

Two rows are counted together: a pass over one row waits for its own counters, since equal digits in sequence (deltas
of 16-bit weights have many) make each count depend on the one before; and one pass shares its counters between both.
"""

import numpy as np
from numba import njit

from della.kernels.bits import FLAGS, named

DIGIT = 2048  # 11 bits
SMALL = 4096  # rows up to here are sorted by digits of 10 bits
PATIENCE = 4 * DIGIT  # the place of a counter that lasts: pairs of rows for which one pass is not tried
SCRATCH = PATIENCE + 1
SHORT = 65535  # an index, and how many there are, fit into 16 bits
TINY = 48  # up to here, clearing the counters would take longer than moving elements
NARROW = 4096  # bins of the single pass that suffices where scores are coarse, as those of 16-bit weights are
_NARROW_SHIFT = np.uint32(15)
_HIGH, _MIDDLE = np.uint32(21), np.uint32(10)
_MASK = np.uint32(DIGIT - 1)
_HALF = np.uint32(16)
_ONE, _ONE_ABOVE = np.uint32(1), np.uint32(1 << 16)
_INDEX = np.uint32(0xFFFF)
_SCORE = np.uint64(16)
CHUNK = 64  # entries that are looked at together


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

    @named(f"_two_passes_of_{bits}")
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

    return njit(**FLAGS)(two_passes)


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
def _one_pass(scores, first, second, n, order, counters, entries_a, entries_b):
    """Both rows by the 12 bits of their scores that matter most: eight octaves below the largest, 512 bins each.

    An entry is a score, then 65,535 - index: the one order of all of a row's entries, falling, is that of the ranks.
    Returns the entries moved by insertion, or -1 when that would take too long.
    """
    a, b = order[first : first + n], order[second : second + n]  # until the entries are in order
    _narrow(n, scores[first : first + n], a)
    _narrow(n, scores[second : second + n], b)
    _into_bins(
        n, scores[first : first + n], scores[second : second + n], a, b, counters[0:NARROW], entries_a, entries_b
    )
    moves = 0
    for entries, out in ((entries_a, a), (entries_b, b)):
        _exchange(n, entries)
        _exchange(n - 1, entries[1:])
        moved = _insert_entries(n, entries)
        if moved < 0:
            return -1
        moves += moved
        for r in range(n):
            out[r] = _INDEX - np.uint32(entries[r] & np.uint64(_INDEX))
    return moves


@njit(**FLAGS)
def _into_bins(n, scores_a, scores_b, keys_a, keys_b, bins, entries_a, entries_b):
    """Entries in the order of their bins, the largest first; the lower half of a counter is row a's, the upper b's."""
    for d in range(NARROW):
        bins[d] = np.uint32(0)
    for i in range(n):
        bins[keys_a[i]] += _ONE
        bins[keys_b[i]] += _ONE_ABOVE
    total = np.uint32(0)
    for d in range(NARROW - 1, -1, -1):
        c, bins[d] = bins[d], total
        total += c
    for i in range(n):
        low = np.uint64(_INDEX - np.uint32(i))
        d, e = keys_a[i], keys_b[i]
        p = bins[d]
        bins[d] = p + _ONE
        entries_a[p & _INDEX] = np.uint64(scores_a[i]) << _SCORE | low
        q = bins[e]
        bins[e] = q + _ONE_ABOVE
        entries_b[q >> _HALF] = np.uint64(scores_b[i]) << _SCORE | low


@njit(**FLAGS)
def _exchange(n, entries):
    """Every second entry and the one after it: the larger first. Without a branch, since no one could guess it."""
    for j in range(n // 2):
        x, y = entries[2 * j], entries[2 * j + 1]
        entries[2 * j] = max(x, y)
        entries[2 * j + 1] = min(x, y)


@njit(**FLAGS)
def _insert_entries(n, entries):
    """Insertion where entries still rise. Returns the places moved, or -1 when that would take too long."""
    moves = 0
    for at in range(0, n - 1, CHUNK):
        size = min(CHUNK, n - 1 - at)
        if not _rises(size, entries[at : at + size + 1]):
            continue
        for r in range(at, at + size + 1):
            entry = entries[r]
            place = r
            while place > 0 and entries[place - 1] < entry:
                entries[place] = entries[place - 1]
                place -= 1
                moves += 1
            entries[place] = entry
            if moves > 4 * n:
                return -1
    return moves


@njit(**FLAGS)
def _rises(n, entries):
    count = np.uint64(0)
    for j in range(n):
        count += np.uint64(entries[j + 1] > entries[j])
    return count != np.uint64(0)


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
            spare: uint32 [at least 2 n].
    """
    if n <= TINY:
        for row in range(count):
            _move(scores[row * n : (row + 1) * n], n, order[row * n : (row + 1) * n])
        return
    for row in range(0, count, 2):
        first = row * n
        second = min(row + 1, count - 1) * n  # an odd last row is sorted twice, into the same place
        if n > SHORT or not _two_rows(scores, first, second, n, order, pairs, counters, spare):
            _third_pass(scores[first : first + n], n, order[first : first + n], pairs, counters, spare)
            _third_pass(scores[second : second + n], n, order[second : second + n], pairs, counters, spare)


@njit(**FLAGS)
def _two_rows(scores, first, second, n, order, pairs, counters, spare):
    """By one pass, or by two for a while after one has left much to be inserted. Whether it could be done so."""
    if counters[PATIENCE] == 0:
        entries_a, entries_b = pairs[: 2 * n].view(np.uint64), spare[: 2 * n].view(np.uint64)
        moves = _one_pass(scores, first, second, n, order, counters, entries_a, entries_b)
        if moves < 0 or moves > 2 * n:
            counters[PATIENCE] = np.uint32(64)
        return moves >= 0
    counters[PATIENCE] -= _ONE
    if n <= SMALL:
        _short_passes(scores, first, second, n, order, pairs, counters)
    else:
        _long_passes(scores, first, second, n, order, pairs, counters)
    moves = _insert(scores[first : first + n], n, order[first : first + n])
    return moves >= 0 and _insert(scores[second : second + n], n, order[second : second + n]) >= 0
