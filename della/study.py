"""The runs of one table, resampled together: cells, their averages, and differences between them, with intervals.

A cell is a set of runs that differ in mask seed and training seed alone, for instance (LM+Math, della). Its score on a
benchmark is the mean over mask seeds, then over training seeds. Everything a table shows is a sum of cells' scores with
weights: one score, the paper's Avg (mean over a merge's benchmarks), a gap between two methods.

Prompts are resampled (`della.statistics`), shared by all cells. Mask seeds and training seeds are too few for that: of
five values the percentiles of resampled means hold the true mean in 85 % of cases or fewer, not 95 %, of three in 75 %.
Their variances are the analysis of variance's (`della.mask_noise`; equal mask seeds together, as methods share masks).
The squared distance of an interval's end from the value is the sum of that of the prompts' percentile and of that of
Student's interval over mask seeds (the sum of squares is Zou and Donner's, Statistics in Medicine 27, 2008, 1693-1702:
each part keeps its own degrees of freedom):

    distance^2 = percentile^2 + max(t^2 masks - z^2 mixed, 0)

with t at the masks' degrees of freedom, z the normal quantile, and `mixed` what both parts hold. Several training seeds
add z^2 times the variance between them that is beyond that within, and widen the whole by t/z at the degrees of freedom
of their variance in the total. Where nothing but prompts varies the ends are the percentiles. Coverage:
tests/della/test_study_coverage.py.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import stats

from della.errors import InputError
from della.mask_noise import Noise, Part, noise
from della.outcomes import Run
from della.statistics import LEVEL, REPLICATES, Estimate, interval, resampled_means, wilson

Key = Any  # of a cell: whatever hashable its table calls it by
Term = tuple[Key, str]
_Z = float(stats.norm.ppf((1 + LEVEL) / 2))


class Study:
    """Bootstrap replicates of every cell of a table.

    cells: key -> runs. A run counts for a benchmark when it scored it.
    """

    def __init__(self, cells: Mapping[Key, Sequence[Run]], replicates: int = REPLICATES):
        self.cells = {key: list(runs) for key, runs in cells.items() if runs}
        self.replicates = replicates
        self._drawn: dict[tuple[Key, str, object], np.ndarray] = {}
        self._parts: dict[tuple[Key, str, object], Part] = {}
        self._families: dict[Term, list] = {}
        for benchmark in sorted({name for runs in self.cells.values() for run in runs for name in run.scores}):
            self._resample(benchmark)

    def _resample(self, benchmark: str) -> None:
        """Fills the tables of scores and of their replicates, float64[replicates], by (key, benchmark, family seed)."""
        by_prompts: dict[str, dict[tuple[Key, object], list[Run]]] = {}
        for key, runs in self.cells.items():
            for run in runs:
                if benchmark in run.scores:
                    cells = by_prompts.setdefault(run.prompts_of[benchmark], {})
                    cells.setdefault((key, run.family_seed), []).append(run)
        for prompts, cells in by_prompts.items():
            rows = np.stack([run.scores[benchmark] for runs in cells.values() for run in runs])
            drawn = resampled_means(f"prompts {prompts}", rows, self.replicates)
            means, start = np.nanmean(rows, axis=1), 0
            for (key, family_seed), runs in cells.items():
                where = (key, benchmark, family_seed)
                if where in self._parts:
                    raise InputError(f"runs of {key} scored different sets of {benchmark} prompts: report them apart")
                stop = start + len(runs)
                seeds = tuple(run.seed for run in runs)
                self._families.setdefault((key, benchmark), []).append(family_seed)
                self._drawn[where] = drawn[:, start:stop].mean(axis=1)
                self._parts[where] = Part(family_seed, prompts, 1.0, seeds, rows[start:stop], means[start:stop])
                start = stop

    def estimate(self, terms: Mapping[Term, float]) -> Estimate | None:
        """The weighted sum of cells' scores, terms: (cell, benchmark) -> weight; None where a score is missing.

        All over the training seeds that every term has; None if there is no such seed.
        """
        shared = [set(self._families.get(term, ())) for term in terms]
        families = sorted(set.intersection(*shared), key=str) if shared else []
        if not families:
            return None
        weights = {(*term, f): w / len(families) for term, w in terms.items() for f in families}
        parts = [replace(self._parts[where], weight=weight) for where, weight in weights.items()]
        value = sum(part.value for part in parts)
        drawn = sum((weight * self._drawn[where] for where, weight in weights.items()), np.zeros(self.replicates))
        low, high = interval(drawn)
        n, nulls = _counted(parts)
        if min(terms.values()) > 0 and low == high and round(value, 9) in (0.0, 1.0):  # no difference, and no width
            low, high = wilson(round(value * n), n)
        from_prompts = float(np.var(drawn))
        found = noise(parts)
        if found.families > 1 or not math.isinf(found.freedom):
            low, high = (
                value - _reach(value - low, found, from_prompts),
                value + _reach(high - value, found, from_prompts),
            )
        least, most = (sum(w for w in weights.values() if sign * w > 0) for sign in (-1, 1))
        counts = [len(set(part.seeds)) for part in parts]
        return Estimate(
            value=value,
            low=max(low, least),
            high=min(high, most),
            error=math.sqrt(found.total(from_prompts)[0]),
            n=n,
            seeds=(min(counts), max(counts)),
            families=len(families),
            nulls=nulls,
        )

    def score(self, key: Key, benchmark: str) -> Estimate | None:
        """A cell's score on one benchmark."""
        return self.estimate({(key, benchmark): 1.0})

    def average(self, key: Key, benchmarks: Sequence[str]) -> Estimate | None:
        """The paper's Avg cell: the mean of a cell's scores on `benchmarks`."""
        return self.estimate({(key, benchmark): 1 / len(benchmarks) for benchmark in benchmarks})


def _counted(parts: Sequence[Part]) -> tuple[int, int]:
    """Distinct prompts with a score of every seed behind some parts, and how many lack one of them."""
    nulls = [(part.prompts, part.scores.shape[1], int(np.isnan(part.scores).any(axis=0).sum())) for part in parts]
    found = sorted(set(nulls))
    n = sum({prompts: count - missing for prompts, count, missing in found}.values())
    return n, sum(missing for _, _, missing in found)


def _reach(percentile: float, found: Noise, from_prompts: float) -> float:
    """How far an end is from its value, where the percentile of prompts alone is so far; see the top of this module."""
    t = float(stats.t.ppf((1 + LEVEL) / 2, found.freedom))
    variance, freedom = found.total(from_prompts)
    squared = max(percentile, 0.0) ** 2 + max(t**2 * found.masks - _Z**2 * found.mixed, 0.0)
    squared += _Z**2 * (variance - from_prompts - found.beyond)
    return math.sqrt(squared) * float(stats.t.ppf((1 + LEVEL) / 2, freedom)) / _Z


def difference(one: Mapping[Term, float], other: Mapping[Term, float]) -> dict[Term, float]:
    """The terms of one sum minus another."""
    out = dict(one)
    for term, weight in other.items():
        out[term] = out.get(term, 0.0) - weight
    return out


def averaged(key: Key, benchmarks: Sequence[str], weight: float = 1.0) -> dict[Term, float]:
    """The terms of an Avg cell times a weight."""
    return {(key, benchmark): weight / len(benchmarks) for benchmark in benchmarks}
