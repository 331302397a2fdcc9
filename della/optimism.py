"""What choosing among the points of a grid on the very prompts that are reported adds to a score.

    found = crossfit({"della": {"gsm8k": scores}})["della"]    # float64[points, n]: every point on every prompt
    found.naive[0] - found.nested[0]                           # the optimism; [1:] are the same of prompts drawn anew

naive: the best of the points' scores, as DELLA-Merging reports it (arXiv 2406.11617v1, section 3 and appendix A.3: the
drop rate is searched on the test prompts). nested: the prompts are cut into folds; each fold is scored by the point
that is best on the others, so that no prompt chooses what it scores (Stone, "Cross-validatory choice and assessment of
statistical predictions", 1974; Varma and Simon, BMC Bioinformatics 7:91, 2006), averaged over many random partitions.
naive - nested estimates the optimism E[max_j mean_j - true score of that j]: without bias where all points are equally
good, and above it where they are not, since a choice has fewer prompts here.

Its interval is a normal one with the standard error of prompts drawn with replacement, where every draw repeats the
whole procedure, the maximum and the partitions included, and copies of a prompt stay in one fold. It errs to the wide
side: a draw is noisier than the prompts it is from. Efron's optimism bootstrap, mean[best of a draw - the same point's
score on the prompts as they are], would be surer and wrong: a draw takes the points' scores for the truth, though they
differ more than the truth does, and of independent points that are equally good it finds 1/sqrt(2) of the optimism.
(Coverage, bias and that comparison: tests/della/test_optimism.py.)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from della.statistics import LEVEL, Estimate, generator, prompt_counts

FOLDS = 3  # more: a choice with more of the prompts, and a noisier estimate (its error grows as sqrt(folds - 1))
REPEATS = 30
DRAWS = 400
_CHUNK = 20

Key = Any
Cells = Mapping[Key, Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Selected:
    """One grid, chosen from and scored: entry 0 on the prompts as they are, entries 1 .. draws on prompts drawn anew.

    points: float64[1 + draws, points], every point's score; naive: float64[1 + draws], the best of them; nested:
    float64[1 + draws], each fold scored by the point that is best on the others. All are means over benchmarks of means
    over prompts, fractions. n: prompts.
    """

    points: np.ndarray
    naive: np.ndarray
    nested: np.ndarray
    n: int

    @property
    def ceiling(self) -> float:
        """The optimism if all points were equally good: the mean over draws of max_j(point j's draw - its score).

        No grid with these errors can have more: the error of the best point is at most the largest error.
        """
        return float(np.mean(np.max(self.points[1:] - self.points[0], axis=1)))


def crossfit(cells: Cells, draws: int = DRAWS, repeats: int = REPEATS, folds: int = FOLDS) -> dict[Key, Selected]:
    """Naive and nested scores of several grids, all on the same draws of prompts and the same partitions.

    cells: key -> {prompt set: float64[points, n]}, nan for no verdict; a prompt set's name is that of its draws and
    partitions, and stands for the same prompts in every cell. Of points with equal scores the first is taken.

    Raises:
        ValueError: two cells have different numbers of prompts under one name, or fewer prompts than folds.
    """
    sets: dict[str, _PromptSet] = {}
    for prompts in sorted({name for scores in cells.values() for name in scores}):
        own = {key: scores[prompts] for key, scores in cells.items() if prompts in scores}
        sets[prompts] = _PromptSet(prompts, own, draws, repeats, folds)
    found: dict[Key, list[tuple[np.ndarray, np.ndarray]]] = {key: [] for key in cells}
    for start in range(0, 1 + draws, _CHUNK):
        sums = {prompts: part.sums(start, min(start + _CHUNK, 1 + draws)) for prompts, part in sets.items()}
        for key, scores in cells.items():
            found[key].append(_chosen([tuple(side[sets[name].place[key]] for side in sums[name]) for name in scores]))
    out = {}
    for key, chunks in found.items():
        points, nested = (np.concatenate(side) for side in zip(*chunks, strict=True))
        n = sum(sets[name].n for name in cells[key])
        out[key] = Selected(points=points, naive=points.max(axis=1), nested=nested, n=n)
    return out


class _PromptSet:
    """The scores of all cells on one set of prompts, and their sums over folds of drawn prompts."""

    def __init__(self, name: str, own: Mapping[Key, np.ndarray], draws: int, repeats: int, folds: int):
        if len({scores.shape[1] for scores in own.values()}) > 1:
            raise ValueError(f"cells have different numbers of prompts of {name}")
        every = np.concatenate(list(own.values()))
        self.n = every.shape[1]
        if self.n < folds:
            raise ValueError(f"{self.n} prompts of {name} cannot be cut into {folds} folds")
        ends = np.cumsum([0, *(len(scores) for scores in own.values())])
        self.place = {key: slice(ends[i], ends[i + 1]) for i, key in enumerate(own)}
        known = ~np.isnan(every)
        # Sums of 0, 1/2 and 1 are exact in float32 in any order: the same bytes on every machine.
        halves = bool(np.isin(every[known], (0.0, 0.5, 1.0)).all())
        self.type = np.float32 if halves else np.float64
        self.scores = np.where(known, every, 0.0).astype(self.type)
        self.known = None if known.all() else known.astype(self.type)
        self.counts = np.concatenate([np.ones((1, self.n)), prompt_counts(f"prompts {name}", self.n, draws)])
        random, self.folds = generator(f"folds {name}"), np.zeros((self.n, repeats, folds), dtype=self.type)
        for repeat in range(repeats):
            self.folds[np.arange(self.n), repeat, random.permutation(self.n) % folds] = 1

    def sums(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Sums of scores and numbers of scored prompts, float64[rows, draws, repeats, folds] each."""
        drawn = self.counts[start:stop].T.astype(self.type)
        weights = drawn[:, :, None, None] * self.folds[:, None]
        shape, flat = weights.shape[1:], weights.reshape(self.n, -1)
        total = (self.scores @ flat).reshape(-1, *shape).astype(np.float64)
        if self.known is None:
            return total, np.broadcast_to(weights.sum(axis=0, dtype=np.float64), total.shape)
        return total, (self.known @ flat).reshape(-1, *shape).astype(np.float64)


def _chosen(benchmarks: Sequence[tuple[np.ndarray, ...]]) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the points, float64[draws, points], and nested scores, float64[draws]."""
    count = len(benchmarks)
    points, others = 0.0, 0.0
    for total, number in benchmarks:
        whole, size = total.sum(axis=-1), number.sum(axis=-1)
        points = points + whole[..., 0] / np.maximum(size[..., 0], 1)
        others = others + (whole[..., None] - total) / np.maximum(size[..., None] - number, 1)
    best = np.argmax(others, axis=0)[None]
    nested = 0.0
    for total, number in benchmarks:
        taken, of = (np.take_along_axis(side, best, axis=0)[0].sum(axis=-1) for side in (total, number))
        nested = nested + taken / np.maximum(of, 1)
    return np.asarray(points).T / count, np.asarray(nested).mean(axis=-1) / count


def estimated(values: np.ndarray, n: int) -> Estimate:
    """A quantity with its normal 95 % interval: float64[1 + draws], entry 0 on the prompts as they are."""
    error = float(np.std(values[1:], ddof=1))
    half = float(stats.norm.ppf((1 + LEVEL) / 2)) * error
    value = float(values[0])
    return Estimate(value=value, low=value - half, high=value + half, error=error, n=n)
