"""A search replayed on scores that are already there: every point of a grid, every prompt.

    found = replay(scores, seed=0, rule="paired", risk=0.01, looks=20)
    found.winner, found.prompts                     # a point's number; what the search would have asked

What a live search with the same seed does: a stopped trial is one that the same prompts' scores would have stopped
(tests/scripts/test_search.py asks parts of the prompts live and compares them with the whole).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from della.search.order import by_benchmark, interleaved, parts
from della.search.race import Part, race
from della.search.stopping import RULES, Scores, mean
from della.statistics import generator


@dataclass(frozen=True)
class Replayed:
    """winner: number of the point that won; prompts: asked; of: asked if every trial had been asked all; whole: trials
    that were."""

    winner: int
    prompts: int
    of: int
    whole: int


def grid_order(seed: int, points: int) -> list[int]:
    """The random order in which a search goes through a grid."""
    return [int(number) for number in generator(f"search {seed} grid").permutation(points)]


def promising(values: Sequence[float], seed: int) -> list[int]:
    """The points of a grid that has been screened, the best on the first part first; of equals as `grid_order`.

    nan, no verdict, comes last.
    """
    known = [float("-inf") if math.isnan(value) else value for value in values]
    return sorted(grid_order(seed, len(known)), key=lambda number: -known[number])


def replay(grid: Sequence[Scores], seed: int, rule: str, risk: float, looks: int, screen: bool = True) -> Replayed:
    """A search through a grid, one trial after the other.

    grid: per point the scores of all prompts in the benchmarks' own order, the same prompts for all points.
    screen: all points are asked the first part, then go on in the order of what they scored there.
    """
    order = interleaved({name: values.size for name, values in grid[0].items()}, seed)
    cut, documents = parts(order, looks), by_benchmark(order)
    best, prompts, whole = -1, 0, 0
    value = float("-inf")
    ordered: dict[int, dict[str, np.ndarray]] = {}
    first = [mean({name: scores[name][at] for name, at in cut[0].items()}) for scores in grid]
    for number in promising(first, seed) if screen else grid_order(seed, len(grid)):
        scores = grid[number]
        against = ordered.get(best)

        def ask(part: Part, scores: Scores = scores) -> Scores:
            return {name: scores[name][list(numbers)] for name, numbers in part.items()}

        def so_far(against: Mapping[str, np.ndarray] | None = against) -> Scores | None:
            return against

        found = race(ask, cut, so_far, RULES[rule], risk)
        prompts, whole = prompts + found.prompts, whole + found.whole
        if found.whole and found.value > value:
            best, value = number, found.value
            ordered = {best: {name: scores[name][numbers] for name, numbers in documents.items()}}
    return Replayed(best, prompts, len(order) * len(grid), whole)


def grid_winner(grid: Sequence[Scores]) -> int:
    """The point with the highest mean over benchmarks; of equals the first."""
    return int(np.argmax([mean(scores) for scores in grid]))


def paired_loss(chosen: Scores, reference: Scores) -> tuple[float, float]:
    """Reference minus chosen, the mean over benchmarks, and its standard error over prompts, paired.

    Scores may be means over mask seeds; nan where a prompt has no verdict. Benchmarks are strata.
    """
    value, variance = [], 0.0
    for name in reference:
        d = (reference[name] - chosen[name])[~np.isnan(reference[name] - chosen[name])]
        value.append(d.mean())
        variance += float(d.var(ddof=1)) / d.size
    return float(np.mean(value)), float(np.sqrt(variance)) / len(value)
