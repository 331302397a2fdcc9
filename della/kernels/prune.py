"""Deltas, random words, row orders and pruned deltas of a group of elements, for all experts.

della/delta.py and della/prune.py define what is computed. Rows of the scratch arrays, with T experts:
singles: 0 the base, 1 to 3 for fusing, 4 keep probabilities, 5 + t deltas, 5 + T + t pruned deltas;
words: 0 to 3 buffers, 4 + t random words, 4 + T + t row orders.
"""

import numpy as np
from numba import njit

from della.kernels import philox
from della.kernels.bits import DELTA, FLAGS, load, subtract
from della.kernels.order import order_rows
from della.kernels.passes import count_equal
from della.kernels.rankings import drop_proportional, keep_first, top_k_scores, weigh

KEEP_ALL, BERNOULLI, MAGPRUNE, TOP_K, PROPORTIONAL, TOP_ROWS = range(6)

_ONE = np.float32(1)
_NOTHING = np.float32(0)
_TWO = np.float32(2)
_TWO_24 = np.float32(2**24)
_MAGNITUDE = np.uint32(0x7FFFFFFF)


@njit(**FLAGS)
def read_deltas(at, n, base, experts, singles):
    """Row 0: the base. Row 5 + t: the delta of expert t, or its values where experts are absolute."""
    load(base[0], base[1], at, n, singles[0])
    for t in range(experts.shape[0]):
        row = singles[5 + t]
        load(experts[t, 0], experts[t, 1], at, n, row)
        if experts[t, 0] < DELTA and not base[2]:
            if not subtract(singles[0], row, n):
                return t + 1
            continue
        if experts[t, 0] >= DELTA and base[2]:
            _add(singles[0], row, n)
        if not _finite(row, n):
            return t + 1
    return 0


@njit(**FLAGS)
def _add(base, values, n):
    for i in range(n):
        values[i] = base[i] + values[i]


@njit(**FLAGS)
def _finite(row, n):
    raw = row.view(np.uint32)
    top = np.uint32(0)
    for i in range(n):
        top = max(top, raw[i] & np.uint32(0x7F800000))
    return top != np.uint32(0x7F800000)


@njit(**FLAGS)
def draw(at, n, columns, prunes, draws, norms, singles, words, counters):
    """Words of expert t in row 4 + t, from place 0; its order in row 4 + T + t."""
    streams, rank_streams, by_random = draws
    experts = prunes.shape[0]
    for t in range(experts):
        draw = rank = False
        for p in range(prunes.shape[1]):
            draw |= prunes[t, p] == BERNOULLI or prunes[t, p] == MAGPRUNE or prunes[t, p] == PROPORTIONAL
            rank |= prunes[t, p] == MAGPRUNE or prunes[t, p] == TOP_ROWS
        if draw:
            _words(streams[t], at, n, words[4 + t], words[0])
        if not rank:
            continue
        scores = words[1]
        if by_random[t]:
            _words(rank_streams[t], at, n, scores, words[0])
        elif norms.shape[1]:
            weigh(singles[5 + t], at, n, norms[t], singles[4])
            _magnitudes(n, singles[4].view(np.uint32), scores)
        else:
            _magnitudes(n, singles[5 + t].view(np.uint32), scores)
        order_rows(scores, columns, n // columns, words[4 + experts + t], words[2], counters, words[3])


@njit(**FLAGS)
def _words(stream, at, n, out, buffer):
    """out[:n] = the words of elements at .. at + n - 1."""
    if at % philox.BLOCK == 0:
        philox.words(stream, at, n, out)
        return
    skipped = philox.words(stream, at, n, buffer)
    for i in range(n):
        out[i] = buffer[skipped + i]


@njit(**FLAGS)
def _magnitudes(n, raw, scores):
    for i in range(n):
        scores[i] = raw[i] << np.uint32(1)  # the sign falls out


@njit(**FLAGS)
def prune(t, p, n, columns, points, tables, singles, words):
    """Row 5 + T + t: the pruned delta of expert t at point p. Returns how many are kept."""
    prunes, cuts, ties = points[0], points[5], points[6]
    thresholds, keeps, scaled, table, factors, windows, bounds, norms = tables
    experts = prunes.shape[0]
    delta, pruned = singles[5 + t], singles[5 + experts + t]
    count = 0
    if prunes[t, p] == KEEP_ALL:
        return n
    row = table[t, p]
    if prunes[t, p] == BERNOULLI:
        keep = keeps[row, 0] if scaled[row] else _ONE
        count = _drop_alike(n, thresholds[row, 0], keep, delta, words[4 + t], pruned)
    elif prunes[t, p] == MAGPRUNE:
        order, drawn, keep_of = words[4 + experts + t], words[4 + t], singles[4]
        _by_rank(n, columns, keeps[row], order, keep_of)
        count = _drop(n, keep_of, scaled[row], delta, drawn, pruned)
        if count < 0:  # a word too close to its threshold for float32: take the thresholds themselves
            _by_rank(n, columns, thresholds[row], order, words[1])
            count = _drop_exactly(n, words[1], keep_of, scaled[row], delta, drawn, pruned)
    elif prunes[t, p] == PROPORTIONAL:
        count = drop_proportional(n, columns, windows[row], bounds[t, p], scaled[row], delta, words[4 + t], pruned)
    elif prunes[t, p] == TOP_ROWS:
        count = keep_first(n, columns, np.int64(cuts[t, p]), words[4 + experts + t], delta, pruned)
    elif norms.shape[1]:
        weigh(delta, 0, n, norms[t], singles[4])
        count = top_k_scores(n, cuts[t, p], ties, t, p, singles[4], delta, pruned)
    else:
        count = _top_k(n, cuts[t, p], ties, t, p, delta, pruned)
    if factors[t, p] != _ONE:
        _scale(n, factors[t, p], pruned)
    return count


@njit(**FLAGS)
def _scale(n, factor, values):
    for i in range(n):
        values[i] = values[i] * factor


@njit(**FLAGS)
def _by_rank(n, columns, values, order, out):
    """out[i] = the value for the rank of element i in its row."""
    for at in range(0, n, columns):
        _place(columns, values, order[at : at + columns], out[at : at + columns])


@njit(**FLAGS)
def _place(columns, values, order, out):
    for r in range(columns):
        out[np.uint64(order[r])] = values[r]


@njit(**FLAGS)
def _drop(n, keeps, scaled, delta, drawn, pruned):
    """pruned = delta / keep where the word is low enough, else 0. Returns how many are kept, or -1 for "in doubt".

    A word w is kept where w < ceil(keep 2**32). Its upper 24 bits, x, and k = float32(keep) 2**24 are exact in float32,
    and k is off by at most 1: w is kept where x <= k - 2, dropped where x >= k + 1. Between (two in ten million) only
    the threshold itself tells.
    """
    count = doubts = np.uint32(0)
    for i in range(n):
        x = np.float32(drawn[i] >> np.uint32(8))
        k = keeps[i] * _TWO_24
        chosen = x <= k - _TWO
        doubts += np.uint32((not chosen) and x < k + _ONE)
        value = delta[i] / (keeps[i] if scaled else _ONE)  # outside the choice, so that nothing branches
        pruned[i] = value if chosen else _NOTHING
        count += np.uint32(chosen)
    return np.int64(-1) if doubts else np.int64(count)


@njit(**FLAGS)
def _drop_exactly(n, thresholds, keeps, scaled, delta, drawn, pruned):
    """The same by thresholds minus one."""
    count = 0
    for i in range(n):
        chosen = drawn[i] <= thresholds[i]
        value = delta[i] / (keeps[i] if scaled else _ONE)
        pruned[i] = value if chosen else _NOTHING
        count += np.int64(chosen)
    return count


@njit(**FLAGS)
def _drop_alike(n, threshold, keep, delta, drawn, pruned):
    count = np.uint32(0)
    for i in range(n):
        chosen = drawn[i] <= threshold
        value = delta[i] / keep
        pruned[i] = value if chosen else _NOTHING
        count += np.uint32(chosen)
    return np.int64(count)


@njit(**FLAGS)
def _top_k(n, cut, ties, t, p, delta, pruned):
    """What exceeds the cut, and the first of what equals it, as long as `ties` lasts."""
    if ties[t, p] == 0:
        return _above(n, cut, delta, pruned)
    raw = delta.view(np.uint32)
    equal = count_equal(delta, n, cut)
    if equal <= ties[t, p] and cut > 0:
        ties[t, p] -= equal
        return _above(n, cut - np.uint32(1), delta, pruned)
    left, count = ties[t, p], 0
    for i in range(n):
        bits = raw[i] & _MAGNITUDE
        tied = bits == cut and left > 0
        left -= np.int64(tied)
        chosen = bits > cut or tied
        pruned[i] = delta[i] if chosen else _NOTHING
        count += np.int64(chosen)
    ties[t, p] = left
    return count


@njit(**FLAGS)
def _above(n, cut, delta, pruned):
    raw = delta.view(np.uint32)
    count = np.uint32(0)
    for i in range(n):
        chosen = (raw[i] & _MAGNITUDE) > cut
        pruned[i] = delta[i] if chosen else _NOTHING
        count += np.uint32(chosen)
    return np.int64(count)
