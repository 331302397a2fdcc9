"""One block of a merge: delta, prune, elect and fuse while it is in cache, for every point of a sweep.

A block is a run of consecutive elements, whole rows where deltas are ranked. It is worked on in groups of a few
thousand elements: deltas, random words and row orders of all experts are made once per group and serve every point.
The order of every float32 operation is that of `della.reference`.
"""

import numpy as np
from numba import njit

from della.kernels.bits import FLAGS, store
from della.kernels.fuse import add_to_base, fuse
from della.kernels.prune import (
    BERNOULLI,
    KEEP_ALL,
    MAGPRUNE,
    PROPORTIONAL,
    TOP_K,
    TOP_ROWS,
    draw,
    prune,
    read_deltas,
)
from della.kernels.rankings import fuse_adaptive

__all__ = [
    "ADAPTIVE",
    "BERNOULLI",
    "KEEP_ALL",
    "MAGPRUNE",
    "PROPORTIONAL",
    "TOP_K",
    "TOP_ROWS",
    "group_size",
    "merge_block",
    "prune_block",
]

ADAPTIVE = 2  # in place of a 1 for "elect"
GROUP = 8192  # elements; rows longer than half of it are taken two at a time


@njit(**FLAGS)
def group_size(columns, by_rows):
    """Elements that are worked on together: whole rows, an even number of them where rows may be ranked."""
    if not by_rows:
        return GROUP
    rows = max(2, GROUP // columns)
    return (rows + rows % 2) * columns


@njit(**FLAGS)
def merge_block(start, count, columns, base, experts, draws, tables, points, out, scratch, kept):
    """Merges the elements start .. start + count - 1 of a tensor.

    Args:
        start, count: flat element indices; multiples of `columns` where rows count together.
        columns: row length.
        base: int64 [3]: dtype code, address, 1 if experts are absolute: what is fused are their values.
        experts: int64 [T, 2]: dtype code and address; DELTA is a delta in float32, ABSENT one of zero.
        draws: (uint64 [T, 4] streams of the mask, uint64 [T, 4] of the ranks, bool [T]: rank by these).
        tables: (uint32 [K, n] thresholds - 1, float32 [K, n] keep probabilities, bool [K] whether to divide by these,
            int64 [T, P] which row of the tables, float32 [T, P] factors after pruning, float64 [K, 2] p and epsilon,
            float32 [T, P, 2] bounds of the magnitudes for PROPORTIONAL, float32 [T, columns] norms of the input
            activations or [T, 0]); a row is indexed by rank, by 0 for BERNOULLI.
        points: (int64 [T, P] prune codes, int64 [P] elect, 1 or ADAPTIVE, int64 [P] mean, float32 [P] lambda,
            float32 [P, T] weights, uint32 [T, P] cut bits of TOP_K, how many of a row for TOP_ROWS, and int64 [T, P]
            ties left for TOP_K).
        out: (dtype code, int64 [P] addresses, index of the element that stands at the address).
        scratch: (float32 [2 T + 5, group], uint32 [2 T + 4, group + 2 BLOCK], uint32 [SCRATCH]).
        kept: int64 [T, P], added to.

    Returns:
        0; t + 1 if the delta of expert t is not finite; -(p + 1) if the result of point p is not.
    """
    singles, words, counters = scratch
    prunes, elects, means, lambdas, weights, _, _ = points
    group = singles.shape[1]
    again = _repeats(points, tables)
    for at in range(start, start + count, group):
        n = min(group, start + count - at)
        failed = read_deltas(at, n, base, experts, singles)
        if failed:
            return failed
        draw(at, n, columns, prunes, draws, tables[7], singles, words, counters)
        for p in range(prunes.shape[1]):
            if not again[p]:
                for t in range(prunes.shape[0]):
                    kept[t, p] += prune(t, p, n, columns, points, tables, singles, words)
                if elects[p] == ADAPTIVE:
                    fuse_adaptive(n, columns, p, KEEP_ALL, prunes, means[p], weights[p], singles)
                else:
                    fuse(n, p, prunes, elects[p], means[p], weights[p], singles)
            add_to_base(n, lambdas[p], base[2], singles)
            if not store(out[0], singles[2], out[1][p], at - out[2], n):
                return -(p + 1)
    for p in range(prunes.shape[1]):
        if again[p]:
            kept[:, p] += kept[:, p - 1]
    return 0


@njit(**FLAGS)
def _repeats(points, tables):
    """Which points differ from the one before them in nothing but lambda."""
    prunes, elects, means, _, weights, cuts, ties = points
    table, factors, bounds = tables[3], tables[4], tables[6]
    again = np.zeros(prunes.shape[1], np.bool_)
    for p in range(1, prunes.shape[1]):
        same = elects[p] == elects[p - 1] and means[p] == means[p - 1]
        for t in range(prunes.shape[0]):
            same = same and prunes[t, p] == prunes[t, p - 1] and weights[p, t] == weights[p - 1, t]
            same = same and table[t, p] == table[t, p - 1] and factors[t, p] == factors[t, p - 1]
            same = same and cuts[t, p] == cuts[t, p - 1] and ties[t, p] == ties[t, p - 1]
            same = same and bounds[t, p, 0] == bounds[t, p - 1, 0]
        again[p] = same
    return again


@njit(**FLAGS)
def prune_block(start, count, columns, base, expert, draws, tables, points, scratch, delta, pruned):
    """Delta and pruned delta of one expert over a block, for what has to be summed before anything is merged.

    Args:
        start .. scratch: as for `merge_block`, of one expert and one point.
        delta, pruned: float32 [count], written to.

    Returns:
        0, or 1 if the delta is not finite.
    """
    singles, words, counters = scratch
    prunes = points[0]
    group = singles.shape[1]
    for at in range(start, start + count, group):
        n = min(group, start + count - at)
        if read_deltas(at, n, base, expert, singles):
            return 1
        draw(at, n, columns, prunes, draws, tables[7], singles, words, counters)
        prune(0, 0, n, columns, points, tables, singles, words)
        place = at - start
        delta[place : place + n] = singles[5][:n]
        pruned[place : place + n] = singles[6][:n]
    return 0
