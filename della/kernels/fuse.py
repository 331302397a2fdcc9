"""Elect and fuse, a chunk at a time in the first-level cache: della/elect.py and della/fuse.py define the result."""

import numpy as np
from numba import njit

from della.kernels.bits import FLAGS, named
from della.kernels.prune import KEEP_ALL

CHUNK = 2048  # elements

_ONE = np.float32(1)
_NOTHING = np.float32(0)


def _elected_at_once(experts, mean):
    """The sum, or mean, of the elected deltas of so many experts: a constant, so that nothing but it is stored."""

    @named(f"_{'mean' if mean else 'sum'}_of_{experts}")
    def elected(n, weights, deltas, out):
        for i in range(n):
            total = _NOTHING
            for t in range(experts):
                total = total + deltas[t, i] * weights[t]
            up = total >= _NOTHING
            acc = divisor = _NOTHING
            for t in range(experts):
                value = deltas[t, i] * weights[t]
                chosen = value > _NOTHING if up else value < _NOTHING
                acc = acc + (value if chosen else _NOTHING)
                divisor = divisor + (weights[t] if chosen else _NOTHING)
            if mean:
                acc = acc / (divisor if divisor != _NOTHING else _ONE)
            out[i] = acc

    return njit(**FLAGS)(elected)


_mean_of_2, _mean_of_3, _mean_of_4 = (_elected_at_once(experts, True) for experts in (2, 3, 4))
_sum_of_2, _sum_of_3, _sum_of_4 = (_elected_at_once(experts, False) for experts in (2, 3, 4))


@njit(**FLAGS)
def fuse(n, p, prunes, elect, mean, weights, singles):
    """Row 1: the fused delta."""
    experts = prunes.shape[0]
    pruned = 0  # how many are
    for t in range(experts):
        pruned += prunes[t, p] != KEEP_ALL
    if elect and 2 <= experts <= 4 and (pruned == 0 or pruned == experts):
        first = 5 + pruned
        _elect_few(n, mean, weights, singles[first : first + experts], singles[1])
    else:
        _fuse_any(n, p, prunes, elect, mean, weights, singles)


@njit(**FLAGS)
def _elect_few(n, mean, weights, deltas, out):
    experts = deltas.shape[0]
    if experts == 2:
        if mean:
            _mean_of_2(n, weights, deltas, out)
        else:
            _sum_of_2(n, weights, deltas, out)
    elif experts == 3:
        if mean:
            _mean_of_3(n, weights, deltas, out)
        else:
            _sum_of_3(n, weights, deltas, out)
    elif mean:
        _mean_of_4(n, weights, deltas, out)
    else:
        _sum_of_4(n, weights, deltas, out)


@njit(**FLAGS)
def _fuse_any(n, p, prunes, elect, mean, weights, singles):
    """However many experts, a pass over each."""
    experts = prunes.shape[0]
    total_weight = np.float32(0)
    for t in range(experts):
        total_weight += weights[t]
    if abs(total_weight) < 1e-8:
        total_weight = _ONE
    for at in range(0, n, CHUNK):
        size = min(CHUNK, n - at)
        total = singles[1][at : at + size]
        for i in range(size):
            total[i] = _NOTHING
        for t in range(experts):
            source = singles[5 + t] if prunes[t, p] == KEEP_ALL else singles[5 + experts + t]
            _accumulate(size, weights[t], source[at : at + size], total)
        if elect:
            _elected_sum(at, size, p, prunes, mean, weights, singles)
        elif mean:
            for i in range(size):
                total[i] = total[i] / total_weight


@njit(**FLAGS)
def _accumulate(size, weight, delta, total):
    if weight == _ONE:
        for i in range(size):
            total[i] = total[i] + delta[i]
    else:
        for i in range(size):
            total[i] = total[i] + delta[i] * weight


@njit(**FLAGS)
def _elected_sum(at, size, p, prunes, mean, weights, singles):
    """Turns row 1 from the sum whose sign elects into the sum, or mean, of the elected."""
    experts = prunes.shape[0]
    total = singles[1][at : at + size]
    acc, divisor = singles[2][at : at + size], singles[3][at : at + size]
    for i in range(size):
        acc[i] = _NOTHING
        divisor[i] = _NOTHING
    for t in range(experts):
        source = singles[5 + t] if prunes[t, p] == KEEP_ALL else singles[5 + experts + t]
        _elect(size, weights[t], source[at : at + size], total, acc, divisor)
    if mean:
        for i in range(size):
            total[i] = acc[i] / (divisor[i] if divisor[i] != _NOTHING else _ONE)
    else:
        for i in range(size):
            total[i] = acc[i]


@njit(**FLAGS)
def _elect(size, weight, delta, total, acc, divisor):
    for i in range(size):
        value = delta[i] * weight
        chosen = value > _NOTHING if total[i] >= _NOTHING else value < _NOTHING
        acc[i] = acc[i] + (value if chosen else _NOTHING)
        divisor[i] = divisor[i] + (weight if chosen else _NOTHING)


@njit(**FLAGS)
def add_to_base(n, lambda_, absolute, singles):
    """Row 2: base + lambda * fused; lambda * fused where the experts are absolute. Row 1 stays for another lambda."""
    base, fused, merged = singles[0], singles[1], singles[2]
    if absolute:
        for i in range(n):
            merged[i] = _NOTHING + fused[i] * lambda_  # as the reference: -0 becomes +0
    else:
        for i in range(n):
            merged[i] = base[i] + fused[i] * lambda_
