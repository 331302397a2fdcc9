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


def fixed_sum(values: list[float]) -> float:
    """Blocks of 1,024, the upper half added to the lower ten times; then the blocks from left to right."""
    total = 0.0
    for start in range(0, len(values), 1024):
        block = values[start : start + 1024]
        block = block + [0.0] * (1024 - len(block))
        while len(block) > 1:
            half = len(block) // 2
            block = [block[j] + block[j + half] for j in range(half)]
        total += block[0]
    return total


def l1(values: list[np.float32]) -> float:
    return fixed_sum([abs(float(v)) for v in values])


def magnitudes(options: dict, delta: list, norms: np.ndarray | None) -> list[np.float32]:
    """What deltas are ranked by: |delta_ij|, or |delta_ij| times the norm of input j."""
    if options.get("rank_by") != "wanda" or norms is None:
        return [abs(value) for value in delta]
    return [F(abs(value) * norms[i % len(norms)]) for i, value in enumerate(delta)]


def prune(
    name: str,
    options: dict,
    delta: list,
    shape: tuple[int, ...],
    seed: int,
    expert: str,
    tensor: str,
    norms: np.ndarray | None = None,
) -> list:
    n = len(delta)
    p = options.get("drop_rate", 0.0)
    size = magnitudes(options, delta, norms)
    if name in ("ties", "breadcrumbs") and n:
        chosen = set()
        for row in rows_of(n, shape, "row" if options.get("trim_over") == "row" else "tensor"):
            keep = max(1, math.floor(len(row) * (1 - Fraction(str(p)))))
            first = min(math.floor(n * Fraction(str(options.get("gamma", 0)))), n - keep)  # so many outliers go
            chosen |= set(sorted(row, key=lambda i: (-size[i], i))[first : first + keep])
        return [delta[i] if i in chosen else F(0) for i in range(n)]
    if name not in ("dare", "dare_ties", "dare_elect", "della") or p == 0:
        return list(delta)
    epsilon = options.get("epsilon", 0.0)
    keep_of = [0.0] * n
    for row in rows_of(n, shape, options.get("rank_over", "row")):
        if options.get("rank_by") == "random":
            order = sorted(row, key=lambda i: (-philox_word(seed, expert, tensor + "\0rank", i), i))
        else:
            order = sorted(row, key=lambda i: (-size[i], i))
        most, least = (float(end(size[i] for i in row)) for end in (max, min))
        for r, i in enumerate(order):
            p_i = p if len(row) == 1 else (p - epsilon / 2) + (epsilon * r) / (len(row) - 1)
            if options.get("rank_by") == "proportional":
                share = (most - float(size[i])) / (most - least) if most > least else 1.0
                p_i = (p - epsilon / 2) + epsilon * share
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


def stock_factor(deltas: list[list[np.float32]]) -> float:
    """N cos / (1 + (N - 1) cos), cos the mean over all pairs of <a, b> / (|a| |b|), in float64."""
    if len(deltas) == 1:
        return 1.0

    def product(a: list[np.float32], b: list[np.float32]) -> float:
        return fixed_sum([float(x) * float(y) for x, y in zip(a, b, strict=True)])

    norms = [math.sqrt(product(delta, delta)) for delta in deltas]
    pairs = [(a, b) for a in range(len(deltas)) for b in range(a + 1, len(deltas))]
    cosines = [product(deltas[a], deltas[b]) / max(norms[a] * norms[b], 1e-6) for a, b in pairs]
    cosine = sum(min(1.0, max(-1.0, value)) for value in cosines) / len(pairs)
    divisor = 1 + (len(deltas) - 1) * cosine
    return len(deltas) * cosine / divisor if abs(divisor) >= 1e-6 else 0.0


def adapted(deltas: list[list], shape: tuple[int, ...]) -> list[list]:
    """Each expert's deltas times, by row, how many are not 0 over how many have the sign of the sum."""
    n = len(deltas[0])
    totals = [F(0)] * n
    for delta in deltas:
        totals = [F(total + value) for total, value in zip(totals, delta, strict=True)]
    out = [list(delta) for delta in deltas]
    for row in rows_of(n, shape, "row"):
        for delta, scaled in zip(deltas, out, strict=True):
            kept = sum(delta[i] != 0 for i in row)
            elected = sum(np.sign(delta[i]) == (1 if totals[i] >= 0 else -1) for i in row)
            for i in row:
                scaled[i] = F(delta[i] * F(kept / elected)) if elected else delta[i]
    return out


def merge(
    name: str,
    options: dict,
    base: np.ndarray,
    experts: dict[str, np.ndarray],
    seed: int,
    tensor: str,
    weights: dict[str, float] | None = None,
    norms: dict[str, np.ndarray] | None = None,
):
    """The merged tensor, float32. `options` as the method's dataclass has them; `elect` and `fuse` of the method."""
    shape, flat = base.shape, [F(v) for v in base.reshape(-1)]
    if name == "linear":  # the models themselves, from nothing
        flat = [F(0)] * len(flat)
    names = sorted(experts)
    factors = [F((weights or {}).get(expert, 1)) for expert in names]
    deltas = []
    for expert, factor in zip(names, factors, strict=True):
        delta = [F(F(e) - b) for e, b in zip(experts[expert].reshape(-1), flat, strict=True)]
        kept = prune(name, options, delta, shape, seed, expert, tensor, (norms or {}).get(expert))
        deltas.append([F(v * factor) for v in kept])
    scaled = adapted(deltas, shape) if options.get("lambda_by") == "adaptive" else deltas
    stock = F(stock_factor(deltas)) if name == "model_stock" else F(1)
    merged = []
    for k, theta in enumerate(flat):
        members = [(delta[k], part[k], f) for delta, part, f in zip(deltas, scaled, factors, strict=True)]
        if options["elect"]:
            total = F(0)
            for value, _, _ in members:
                total = F(total + value)
            sign = 1 if total >= 0 else -1
            members = [member for member in members if np.sign(member[0]) == sign]
        chosen = [(value, factor) for _, value, factor in members]
        fused, divisor = F(0), F(0)
        for value, factor in chosen:
            fused, divisor = F(fused + value), F(divisor + factor)
        vanishes = divisor == 0 if options["elect"] else abs(float(divisor)) < 1e-8
        if options["fuse"] == "mean" and not vanishes:
            fused = F(fused / divisor)
        merged.append(F(theta + F(F(fused * stock) * F(options["lambda_"]))))
    return np.array(merged, dtype=np.float32).reshape(shape)
