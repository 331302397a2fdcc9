"""The runs of one table, resampled together: cells, their averages, and differences between them, with intervals.

A cell is a set of runs that differ in mask seed and training seed alone, for instance (LM+Math, della). Its score on a
benchmark is the mean over mask seeds, then over training seeds. Everything a table shows is a sum of cells' scores with
weights: one score, the paper's Avg (mean over a merge's benchmarks), a gap between two methods.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from della.errors import InputError
from della.outcomes import Run
from della.statistics import REPLICATES, Estimate, draw_weights, interval, resampled_means, wilson

Key = Any  # of a cell: whatever hashable its table calls it by
Term = tuple[Key, str]


class Study:
    """Bootstrap replicates of every cell of a table.

    cells: key -> runs. A run counts for a benchmark when it scored it.
    """

    def __init__(self, cells: Mapping[Key, Sequence[Run]], replicates: int = REPLICATES):
        self.cells = {key: list(runs) for key, runs in cells.items() if runs}
        self.replicates = replicates
        self._score: dict[tuple[Key, str, object], float] = {}
        self._drawn: dict[tuple[Key, str, object], np.ndarray] = {}
        self._prompts: dict[tuple[Key, str, object], tuple[str, int, int]] = {}
        self._families: dict[Term, list] = {}
        for benchmark in sorted({name for runs in self.cells.values() for run in runs for name in run.scores}):
            self._resample(benchmark)

    def _resample(self, benchmark: str) -> None:
        """Fills the tables of scores and replicates, (key, benchmark, family seed) -> float and float64[replicates]."""
        by_prompts: dict[str, dict[tuple[Key, object], list[Run]]] = {}
        for key, runs in self.cells.items():
            for run in runs:
                if benchmark in run.scores:
                    cells = by_prompts.setdefault(run.prompts_of[benchmark], {})
                    cells.setdefault((key, run.family_seed), []).append(run)
        for prompts, cells in by_prompts.items():
            rows = np.stack([run.scores[benchmark] for runs in cells.values() for run in runs])
            drawn = resampled_means(f"prompts {prompts}", rows, self.replicates)
            means = np.nanmean(rows, axis=1)
            start = 0
            for (key, family_seed), runs in cells.items():
                where = (key, benchmark, family_seed)
                if where in self._score:
                    raise InputError(f"runs of {key} scored different sets of {benchmark} prompts: report them apart")
                stop = start + len(runs)
                name = f"mask seeds {runs[0].method} {family_seed} {[run.seed for run in runs]}"
                weights = draw_weights(name, len(runs), self.replicates)
                self._families.setdefault((key, benchmark), []).append(family_seed)
                self._score[where] = float(np.mean(means[start:stop]))
                self._drawn[where] = np.einsum("rs,rs->r", drawn[:, start:stop], weights)
                nulls = int(np.isnan(rows[start:stop]).any(axis=0).sum())
                self._prompts[where] = (prompts, rows.shape[1] - nulls, nulls)
                start = stop

    def estimate(self, terms: Mapping[Term, float]) -> Estimate | None:
        """The weighted sum of cells' scores, terms: (cell, benchmark) -> weight; None where a score is missing.

        All over the training seeds that every term has; None if there is no such seed.
        """
        shared = [set(self._families.get(term, ())) for term in terms]
        families = sorted(set.intersection(*shared), key=str) if shared else []
        if not families:
            return None
        parts = [(key, benchmark, f, w / len(families)) for (key, benchmark), w in terms.items() for f in families]
        value = sum(weight * self._score[key, benchmark, f] for key, benchmark, f, weight in parts)
        outer = draw_weights(f"families {families}", len(families), self.replicates) * len(families)
        column = {f: outer[:, i] for i, f in enumerate(families)}
        drawn = sum(weight * column[f] * self._drawn[key, benchmark, f] for key, benchmark, f, weight in parts)
        low, high = interval(drawn)
        found = {self._prompts[key, benchmark, f] for key, benchmark, f, _ in parts}
        n = sum({prompts: count for prompts, count, _ in found}.values())
        if min(terms.values()) > 0 and low == high and round(value, 9) in (0.0, 1.0):  # no difference, and no width
            low, high = wilson(round(value * n), n)
        counts = [len({r.seed for r in self.cells[k] if r.family_seed == f}) for k, _, f, _ in parts]
        return Estimate(
            value=float(value),
            low=low,
            high=high,
            error=float(np.std(drawn)),
            n=n,
            seeds=(min(counts), max(counts)),
            families=len(families),
            nulls=sum(nulls for _, _, nulls in found),
        )

    def score(self, key: Key, benchmark: str) -> Estimate | None:
        """A cell's score on one benchmark."""
        return self.estimate({(key, benchmark): 1.0})

    def average(self, key: Key, benchmarks: Sequence[str]) -> Estimate | None:
        """The paper's Avg cell: the mean of a cell's scores on `benchmarks`."""
        return self.estimate({(key, benchmark): 1 / len(benchmarks) for benchmark in benchmarks})


def difference(one: Mapping[Term, float], other: Mapping[Term, float]) -> dict[Term, float]:
    """The terms of one sum minus another."""
    out = dict(one)
    for term, weight in other.items():
        out[term] = out.get(term, 0.0) - weight
    return out


def averaged(key: Key, benchmarks: Sequence[str], weight: float = 1.0) -> dict[Term, float]:
    """The terms of an Avg cell times a weight."""
    return {(key, benchmark): weight / len(benchmarks) for benchmark in benchmarks}
