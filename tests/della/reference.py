"""The whole method again, one parameter at a time in plain Python and numpy scalars, written from the equations.

It shares no code with the library. Every float32 operation is a numpy float32 scalar operation, so each one rounds.
"""

import hashlib
import math
from fractions import Fraction

import numpy as np

F = np.float32
LOW = 2**32 - 1


def philox_word(seed: int, expert: str, tensor: str, i: int) -> int:
    digest = hashlib.sha256(f"{seed}\0{expert}\0{tensor}".encode()).digest()
    w = [int.from_bytes(digest[4 * k : 4 * k + 4], "little") for k in range(4)]
    place = (i // 1024) * 256 + i % 256
    c = [place & LOW, place >> 32, w[2], w[3]]
    k0, k1 = w[0], w[1]
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k0, p1 & LOW, (p0 >> 32) ^ c[3] ^ k1, p0 & LOW]
        k0, k1 = (k0 + 0x9E3779B9) & LOW, (k1 + 0xBB67AE85) & LOW
    return c[i % 1024 // 256]


def rows_of(count: int, shape: tuple[int, ...], over: str) -> list[list[int]]:
    """Flat indices of each row."""
    n = shape[-1] if shape and over == "row" else count
    return [list(range(start, start + n)) for start in range(0, count, n)] if n else []


def l1(values: list[np.float32]) -> float:
    total = 0.0
    for start in range(0, len(values), 1024):
        block = [abs(float(v)) for v in values[start : start + 1024]]
        block += [0.0] * (1024 - len(block))
        while len(block) > 1:
            half = len(block) // 2
            block = [block[j] + block[j + half] for j in range(half)]
        total += block[0]
    return total


def prune(name: str, options: dict, delta: list, shape: tuple[int, ...], seed: int, expert: str, tensor: str) -> list:
    n = len(delta)
    p = options.get("drop_rate", 0.0)
    if name == "ties" and n:
        keep = max(1, math.floor(n * (1 - Fraction(str(p)))))
        order = sorted(range(n), key=lambda i: (-abs(delta[i]), i))
        return [delta[i] if i in set(order[:keep]) else F(0) for i in range(n)]
    if name not in ("dare", "dare_ties", "dare_elect", "della") or p == 0:
        return list(delta)
    epsilon = options.get("epsilon", 0.0)
    keep_of = [0.0] * n
    for row in rows_of(n, shape, options.get("rank_over", "row")):
        if options.get("rank_by") == "random":
            order = sorted(row, key=lambda i: (-philox_word(seed, expert, tensor + "\0rank", i), i))
        else:
            order = sorted(row, key=lambda i: (-abs(delta[i]), i))
        for r, i in enumerate(order):
            p_i = p if len(row) == 1 else (p - epsilon / 2) + (epsilon * r) / (len(row) - 1)
            keep_of[i] = 1 - p_i
    kept = [Fraction(philox_word(seed, expert, tensor, i), 2**32) < Fraction(keep_of[i]) for i in range(n)]
    pruned = [delta[i] if kept[i] else F(0) for i in range(n)]
    rescale = options.get("rescale", "per_parameter")
    if rescale == "per_parameter":
        return [F(pruned[i] / F(keep_of[i])) for i in range(n)]
    if rescale == "l1" and l1(pruned) > 0:
        factor = F(l1(delta) / l1(pruned))
        return [F(value * factor) for value in pruned]
    return pruned


def merge(name: str, options: dict, base: np.ndarray, experts: dict[str, np.ndarray], seed: int, tensor: str):
    """The merged tensor, float32. `options` as the method's dataclass has them; `elect` and `fuse` of the method."""
    shape, flat = base.shape, [F(v) for v in base.reshape(-1)]
    deltas = []
    for expert in sorted(experts):
        delta = [F(F(e) - b) for e, b in zip(experts[expert].reshape(-1), flat, strict=True)]
        deltas.append(prune(name, options, delta, shape, seed, expert, tensor))
    merged = []
    for k, theta in enumerate(flat):
        values = [delta[k] for delta in deltas]
        if options["elect"]:
            total = F(0)
            for value in values:
                total = F(total + value)
            sign = 1 if total >= 0 else -1
            values = [value for value in values if np.sign(value) == sign]
        fused = F(0)
        for value in values:
            fused = F(fused + value)
        if options["fuse"] == "mean" and values:
            fused = F(fused / F(len(values)))
        merged.append(F(theta + F(fused * F(options["lambda_"]))))
    return np.array(merged, dtype=np.float32).reshape(shape)
