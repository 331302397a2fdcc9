"""Bootstrap intervals for tables of merges: prompts resampled, comparisons paired.

A replicate draws the prompts of each benchmark anew and scores every run of a table on that one draw, so that a
difference between two methods is paired on its prompts. Interval ends are the 2.5 and 97.5 percentiles. What mask seeds
and training seeds add, of which there are too few to resample: `della.study`.

Random states are SHA-256 of the name of what is drawn: the same name gives the same draw in every table.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import stats

REPLICATES = 10_000
LEVEL = 0.95
DETECTABLE = float(stats.norm.ppf(0.975) + stats.norm.ppf(0.8))  # two-sided 5 %, power 80 %
_CHUNK = 500


@dataclass(frozen=True)
class Estimate:
    """A score or a difference of scores, as fractions, with its 95 % interval.

    n: distinct prompts behind it; seeds: fewest and most mask seeds of its runs; families: training seeds;
    nulls: prompts without a verdict, left out; error: bootstrap standard error, a fraction.
    """

    value: float
    low: float
    high: float
    error: float
    n: int
    seeds: tuple[int, int] = (1, 1)
    families: int = 1
    nulls: int = 0


def generator(name: str) -> np.random.Generator:
    """The random generator that belongs to a name: seeded with SHA-256 of its UTF-8 bytes."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest(), "little"))


@lru_cache(maxsize=12)
def prompt_counts(name: str, n: int, replicates: int = REPLICATES) -> np.ndarray:
    """How often each of n prompts is drawn in each replicate: n draws with replacement, uint16[replicates, n]."""
    random, out = generator(name), np.empty((replicates, n), dtype=np.uint16)
    for start in range(0, replicates, _CHUNK):
        count = min(_CHUNK, replicates - start)
        drawn = random.integers(n, size=(count, n)) + n * np.arange(count)[:, None]
        out[start : start + count] = np.bincount(drawn.ravel(), minlength=count * n).reshape(count, n)
    return out


def resampled_means(name: str, scores: np.ndarray, replicates: int = REPLICATES) -> np.ndarray:
    """Means of the rows of `scores` over prompts drawn with replacement, the same draw for every row.

    scores: float64[rows, n], nan where a prompt has no verdict (left out of the mean). name: of the draw, which is a
    function of it, n and replicates alone. Returns float64[replicates, rows].
    """
    rows, n = scores.shape
    known = ~np.isnan(scores)
    filled, complete = np.where(known, scores, 0.0), bool(known.all())
    drawn = prompt_counts(name, n, replicates)
    out = np.empty((replicates, rows))
    for start in range(0, replicates, _CHUNK):
        # Counts are whole numbers, so the sums below are exact for scores 0, 1/2 and 1 in any order of addition.
        counts = drawn[start : start + _CHUNK].astype(np.float64)
        total = n if complete else np.maximum(counts @ known.T.astype(np.float64), 1.0)
        out[start : start + _CHUNK] = (counts @ filled.T) / total
    return out


def interval(replicates: np.ndarray) -> tuple[float, float]:
    """The central 95 % of bootstrap replicates, float64[replicates] -> (low, high)."""
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(replicates, [tail, 1 - tail])
    return float(low), float(high)


def wilson(passed: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of `passed` out of n prompts: for 0 and n, where a bootstrap has no width."""
    found = stats.binomtest(passed, n).proportion_ci(LEVEL, method="wilson")
    return float(found.low), float(found.high)


def pooled_spread(groups: list[list[float]]) -> float | None:
    """Standard deviation within groups, pooled: sqrt(sum of squares / sum of (size - 1)); None where nothing varies."""
    freedom = sum(len(group) - 1 for group in groups)
    if freedom == 0:
        return None
    squares = sum(float(np.sum((np.array(group) - np.mean(group)) ** 2)) for group in groups)
    return float(np.sqrt(squares / freedom))
