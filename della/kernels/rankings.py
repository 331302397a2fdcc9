"""What the paper's ablations rank by, TIES's trim within rows, and adaptive lambda.

della/rankings.py and `della.fuse.adapt` define what is computed.
"""

import numpy as np
from numba import njit

from della.kernels.bits import FLAGS

_NOTHING = np.float32(0)
_ONE = np.float32(1)
_MAGNITUDE = np.uint32(0x7FFFFFFF)
_WORDS = 4294967296.0


@njit(**FLAGS)
def weigh(delta, start, n, norms, scores):
    """scores[:n] = delta[:n] times the norms of their columns, the magnitudes of which are WANDA's scores.

    Args:
        delta: float32.
        start: flat index of the first element in its tensor.
        n: how many.
        norms: float32 [columns].
        scores: float32, may be `delta`.
    """
    columns = len(norms)
    at = 0
    while at < n:
        column = (start + at) % columns
        size = min(columns - column, n - at)
        _weigh_row(size, delta[at : at + size], norms[column : column + size], scores[at : at + size])
        at += size


@njit(**FLAGS)
def _weigh_row(n, delta, norms, scores):
    for j in range(n):
        scores[j] = delta[j] * norms[j]


@njit(**FLAGS)
def extremes(values, n):
    """The smallest and the largest magnitude of float32 values[:n]; n >= 1."""
    low = high = abs(values[0])
    for i in range(n):
        magnitude = abs(values[i])
        low = min(low, magnitude)
        high = max(high, magnitude)
    return low, high


@njit(**FLAGS)
def drop_proportional(n, columns, window, bounds, scaled, delta, drawn, pruned):
    """Drop probabilities that follow the magnitude itself. Returns how many are kept.

    Args:
        n, columns: how many elements, in rows of so many.
        window: float64 [2], p and epsilon.
        bounds: float32 [2], the smallest and the largest magnitude; below 0: those of each row.
        scaled: whether to divide by the keep probability.
        delta, drawn, pruned: float32 deltas, uint32 words, float32 results.
    """
    count = 0
    for at in range(0, n, columns):
        low, high = bounds[0], bounds[1]
        row = delta[at : at + columns]
        if low < _NOTHING:
            low, high = extremes(row, columns)
        count += _drop_row(columns, window, low, high, scaled, row, drawn[at : at + columns], pruned[at : at + columns])
    return count


@njit(**FLAGS)
def _drop_row(n, window, low, high, scaled, delta, drawn, pruned):
    drop_rate, epsilon = window[0], window[1]
    largest = np.float64(high)
    spread = largest - np.float64(low)
    count = 0
    for i in range(n):
        share = (largest - np.float64(abs(delta[i]))) / spread if spread > 0 else 1.0
        keep = 1 - ((drop_rate - epsilon / 2) + epsilon * share)
        chosen = np.float64(drawn[i]) < np.ceil(keep * _WORDS)
        value = delta[i] / (np.float32(keep) if scaled else _ONE)
        pruned[i] = value if chosen else _NOTHING
        count += np.int64(chosen)
    return count


@njit(**FLAGS)
def keep_first(n, columns, kept, order, delta, pruned):
    """The first `kept` of each row in its order, unscaled. Returns how many are kept."""
    for i in range(n):
        pruned[i] = _NOTHING
    for at in range(0, n, columns):
        row, ranked, out = delta[at : at + columns], order[at : at + columns], pruned[at : at + columns]
        for r in range(kept):
            out[ranked[r]] = row[ranked[r]]
    return np.int64(kept) * (n // columns)


@njit(**FLAGS)
def top_k_scores(n, cut, ties, t, p, scores, delta, pruned):
    """Deltas whose score exceeds the cut, and the first of those that equal it, as long as `ties` lasts."""
    raw = scores.view(np.uint32)
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
def fuse_adaptive(n, columns, p, unpruned, prunes, mean, weights, singles):
    """Row 1: the sum, or mean, of the elected deltas, those of each expert and row times its adaptive lambda.

    Args:
        unpruned: the code of a delta that is not pruned and lies in row 5 + t, else in row 5 + T + t.
    """
    experts = prunes.shape[0]
    for at in range(0, n, columns):
        total = singles[1][at : at + columns]
        acc, divisor = singles[2][at : at + columns], singles[3][at : at + columns]
        for i in range(columns):
            total[i] = acc[i] = divisor[i] = _NOTHING
        for t in range(experts):
            row = 5 + t if prunes[t, p] == unpruned else 5 + experts + t
            _add(columns, weights[t], singles[row][at : at + columns], total)
        for t in range(experts):
            row = 5 + t if prunes[t, p] == unpruned else 5 + experts + t
            delta = singles[row][at : at + columns]
            _add_elected(
                columns, weights[t], _inverse_share(columns, weights[t], delta, total), delta, total, acc, divisor
            )
        for i in range(columns):
            total[i] = acc[i] / (divisor[i] if divisor[i] != _NOTHING else _ONE) if mean else acc[i]


@njit(**FLAGS)
def _add(n, weight, delta, total):
    for i in range(n):
        total[i] = total[i] + delta[i] * weight


@njit(**FLAGS)
def _inverse_share(n, weight, delta, total):
    """Kept deltas over elected ones; 1 where none is elected."""
    kept = elected = 0
    for i in range(n):
        value = delta[i] * weight
        chosen = value > _NOTHING if total[i] >= _NOTHING else value < _NOTHING
        kept += np.int64(value != _NOTHING)
        elected += np.int64(chosen)
    return np.float32(np.float64(kept) / np.float64(elected)) if elected else _ONE


@njit(**FLAGS)
def _add_elected(n, weight, factor, delta, total, acc, divisor):
    for i in range(n):
        value = delta[i] * weight
        chosen = value > _NOTHING if total[i] >= _NOTHING else value < _NOTHING
        adapted = value * factor
        acc[i] = acc[i] + (adapted if chosen else _NOTHING)
        divisor[i] = divisor[i] + (weight if chosen else _NOTHING)
