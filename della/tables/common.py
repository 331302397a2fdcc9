"""Common random numbers: what comparing runs of equal mask seeds saves, against comparing runs of other masks each.

A parameter is kept where its uniform, a function of (mask seed, expert, tensor, element) alone, lies below its keep
probability (`della.random`). So equal seeds give the same mask to DARE and to DELLA with epsilon 0, masks that differ
in epsilon/4 of their parameters for another epsilon (the mean of |p_i - p|), and nested masks at two drop rates. How
much of that reaches the scores is measured here.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import stats

from della.outcomes import METHOD_LABELS, Run, benchmarks_of, merge_label, merge_order
from della.power import POWER
from della.selection import SEARCHED
from della.statistics import LEVEL
from della.tables.render import Table, options_text

FEWEST = 9  # degrees of freedom: ten seeds of one family; with fewer the interval says next to nothing

Point = tuple[tuple[str, ...], str, tuple[tuple[str, object], ...]]


@dataclass(frozen=True)
class Saving:
    """Of two points' scores over mask seeds: the variance of their difference at equal seeds over that at unequal ones.

    ratio: below 1 where equal seeds make the comparison less noisy; low, high: its 95 % interval; paired, independent:
    the two standard deviations of a difference of two single runs, fractions; freedom: of each variance.
    """

    ratio: float
    low: float
    high: float
    paired: float
    independent: float
    freedom: int


def saving(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Saving | None:
    """One pair of float64[seeds] per training seed: two points' scores, the same mask seed in the same place.

    Var(a_i - b_j) for i != j is Var a + Var b, and Var(a - b) + Var(a + b) is twice that: the ratio is
    2 v / (1 + v) with v = Var(a - b) / Var(a + b). Its interval is Pitman's for the ratio of the variances of two
    correlated normal variables (Biometrika 31, 1939, 9-12), exact for normal scores, squares pooled over training
    seeds. None where nothing varies.
    """
    squares, freedom = np.zeros(3), sum(a.size - 1 for a, _ in pairs)
    for a, b in pairs:
        u, v = (a - b) - np.mean(a - b), (a + b) - np.mean(a + b)
        squares += [math.fsum(u * u), math.fsum(v * v), math.fsum(u * v)]  # a BLAS's sums differ in the last bit
    minus, plus, cross = (float(square) for square in squares)
    if freedom < 2 or minus + plus < 1e-18:
        return None
    spread = {"paired": math.sqrt(minus / freedom), "independent": math.sqrt((minus + plus) / 2 / freedom)}
    ratio = 2 * minus / (minus + plus)
    if min(minus, plus) < 1e-18:  # one is the other, or its mirror image, on every seed
        return Saving(ratio, ratio, ratio, **spread, freedom=freedom)
    t = float(stats.t.ppf((1 + LEVEL) / 2, freedom - 1))
    wide = 1 + 2 * (1 - cross**2 / (minus * plus)) * t**2 / (freedom - 1)
    ends = [minus / plus * (wide + sign * math.sqrt(max(wide**2 - 1, 0.0))) for sign in (-1, 1)]
    low, high = (2 * end / (1 + end) for end in ends)
    return Saving(ratio, low, high, **spread, freedom=freedom)


def detectable_saving(freedom: int) -> float:
    """The smallest true saving, a fraction, that is told from none in 80 % of cases: of two variances with so many
    degrees of freedom each, F test, two-sided 5 %."""
    tail = (1 - LEVEL) / 2
    v = 1 / float(stats.f.ppf(1 - tail, freedom, freedom) * stats.f.ppf(POWER, freedom, freedom))
    return 1 - 2 * v / (1 + v)


def comparable(one: Point, other: Point) -> bool:
    """Whether two points of one merge differ in one thing: in the method, or in one of its options."""
    if one[0] != other[0] or one == other:
        return False
    first, second = dict(one[2]), dict(other[2])
    apart = [name for name in first.keys() & second.keys() if first[name] != second[name]]
    return len(apart) == (0 if one[1] != other[1] else 1)


def common_table(runs: Sequence[Run], notes: Sequence[str]) -> Table | None:
    """One row per two comparable points of a merge with at least `FEWEST` degrees of freedom; None without any."""
    scores: dict[Point, dict[object, dict[int, float]]] = {}
    for run in runs:
        own = benchmarks_of(run.merge, run.scores)
        if run.split == "test" and len(run.merge) > 1 and run.seed is not None and set(own) <= set(run.scores):
            average = float(np.mean([np.nanmean(run.scores[name]) for name in own]))
            scores.setdefault(run.point, {}).setdefault(run.family_seed, {})[run.seed] = average
    table = Table(
        "common",
        "Equal mask seeds against unequal ones: variance of a difference of Avg",
        ["Merge", "one", "minus", "seeds", "sd, equal", "sd, unequal", "variance saved", "times the seeds"],
        labels=4,
    )
    found = [_row(table, one, other, saved, seeds) for one, other, saved, seeds in _pairs(scores)]
    if not found:
        return None
    freedom = min(saved.freedom for saved in found)
    shown, lost = sum(saved.high < 1 for saved in found), sum(saved.low > 1 for saved in found)
    table.notes = [
        *notes,
        "sd: of the difference of two single runs over their mask seeds, on the same prompts, percentage points: both "
        "with one seed, or each with its own. variance saved [95 % interval]: 1 - the ratio of the squares, Pitman's "
        "interval, training seeds pooled; times the seeds: how many unequal pairs are as good as one equal pair.",
        f"A saving is shown in {shown} of {len(found)} rows, a loss in {lost}; in the others the interval holds 0: "
        "equal seeds may have saved nothing there. It is the masks' part of a difference alone; prompts are shared "
        "either way.",
        f"Detectable with 80 % power at a two-sided 5 % level: a saving of {100 * detectable_saving(freedom):.0f} % "
        f"(at {freedom} degrees of freedom, the fewest here).",
    ]
    return table


def _pairs(
    scores: Mapping[Point, Mapping[object, Mapping[int, float]]],
) -> Iterator[tuple[Point, Point, Saving, str]]:
    order = sorted(scores, key=lambda p: (merge_order(p[0]), p[1], str(p[2])))
    for one, other in combinations(order, 2):
        if not comparable(one, other):
            continue
        pairs, counts = [], []
        for family in sorted(scores[one].keys() & scores[other].keys(), key=str):
            first, second = scores[one][family], scores[other][family]
            if len(seeds := sorted(first.keys() & second.keys())) > 1:
                pairs.append((np.array([first[s] for s in seeds]), np.array([second[s] for s in seeds])))
                counts.append(len(seeds))
        if sum(counts) - len(counts) >= FEWEST and (found := saving(pairs)):
            yield one, other, found, f"{len(counts)}x{min(counts)}" if len(counts) > 1 else str(counts[0])


def _text(point: Point, other: Point) -> str:
    """A point's method, and the options of a table or those in which it differs from the other."""
    shown = {name: value for name, value in point[2] if name in SEARCHED or dict(other[2]).get(name, value) != value}
    short = {"drop_rate": "p", "lambda_": "lambda"}
    return " ".join([METHOD_LABELS.get(point[1], point[1]), *(f"{short.get(k, k)}={v}" for k, v in shown.items())])


def _row(table: Table, one: Point, other: Point, found: Saving, seeds: str) -> Saving:
    label = merge_label(one[0])
    ends = [1 - found.ratio, 1 - found.high, 1 - found.low]
    saved = "{:.0f} % [{:.0f}, {:.0f}]".format(*(round(100 * end) + 0.0 for end in ends))
    times = "{:.2f} [{:.2f}, {:.2f}]".format(*(1 / max(x, 1e-9) for x in (found.ratio, found.high, found.low)))
    spread = [f"{100 * sd:.2f}" for sd in (found.paired, found.independent)]
    table.rows.append([label, _text(one, other), _text(other, one), seeds, *spread, saved, times])
    keys = {"table": table.name, "merge": label, "method": f"{one[1]} minus {other[1]}", "benchmark": "avg"}
    keys["options"] = f"{options_text(dict(one[2]))} minus {options_text(dict(other[2]))}"
    counts = {"n": found.freedom + 1, "mask_seeds": seeds}
    values = dict(zip(("value", "low", "high"), (100 * end for end in ends), strict=True))
    table.data.append(keys | {"quantity": "variance saved"} | values | counts)
    for name, sd in (("sd, equal", found.paired), ("sd, unequal", found.independent)):
        table.data.append(keys | {"quantity": name, "value": 100 * sd} | counts)
    return found
