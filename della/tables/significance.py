"""The p-value of a difference between cells of a study, for tables that correct them with Holm's method.

t = difference / bootstrap standard error. Few mask seeds or training seeds know that error badly, so t has
Satterthwaite's degrees of freedom (Biometrics Bulletin 2, 1946, 110-114) from what they contribute to it: p is then
larger than the bootstrap interval alone would say.
"""

from collections.abc import Mapping

import numpy as np
from scipy import stats

from della.outcomes import Run
from della.statistics import Estimate
from della.study import Study, Term


def p_value(study: Study, terms: Mapping[Term, float], found: Estimate) -> float:
    """Two-sided p, in (0, 1], of a difference that `study.estimate(terms)` found."""
    if found.error == 0:  # every prompt says the same: as many signs, all alike
        return 1.0 if found.value == 0 else max(2.0 ** (1 - found.n), 1e-300)
    return float(2 * stats.t.sf(abs(found.value) / found.error, freedom(study, terms, found)))


def freedom(study: Study, terms: Mapping[Term, float], found: Estimate) -> float:
    """Satterthwaite's degrees of freedom of the error of `study.estimate(terms)`; inf where only prompts vary."""
    parts = _seed_parts(study, terms)
    spread = sum(variance**2 / df for variance, df in parts)
    if spread == 0:
        return float("inf")
    return max(found.error**4 / spread, float(min(df for _, df in parts)))


def _seed_parts(study: Study, terms: Mapping[Term, float]) -> list[tuple[float, int]]:
    """What training seeds, or with one of them each method's mask seeds, add to the variance; with freedoms."""
    of: list[tuple[float, dict[object, list[Run]], str]] = []
    for (key, benchmark), weight in terms.items():
        by_family: dict[object, list[Run]] = {}
        for run in study.cells.get(key, []):
            if benchmark in run.scores:
                by_family.setdefault(run.family_seed, []).append(run)
        of.append((weight, by_family, benchmark))
    families = set.intersection(*(set(by_family) for _, by_family, _ in of))
    if len(families) > 1:
        totals = [
            sum(weight * float(np.mean([_mean(run, name) for run in by[family]])) for weight, by, name in of)
            for family in families
        ]
        return [(float(np.var(totals, ddof=1)) / len(totals), len(totals) - 1)]
    drawn: dict[tuple, np.ndarray] = {}  # equal mask seeds are one draw, whatever the method (della/random.py)
    for weight, by, benchmark in of:
        runs = [run for family in families for run in by[family]]
        if len(runs) > 1:
            values = weight * np.array([_mean(run, benchmark) for run in runs])
            name = tuple(run.seed for run in runs)
            drawn[name] = drawn[name] + values if name in drawn else values
    return [(float(np.var(values, ddof=1)) / values.size, values.size - 1) for values in drawn.values()]


def _mean(run: Run, benchmark: str) -> float:
    return float(np.nanmean(run.scores[benchmark]))
