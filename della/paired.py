"""Two runs on the same prompts: by how much they differ, how sure that is, and what could have been seen.

    found = compare([1.0, 0.0, None, ...], [1.0, 1.0, 0.0, ...])
    found.difference, (found.low, found.high), found.p, found.detectable
    holm([found.p, ...])                      # the p-values of a whole table, corrected for their number

Scores 0 and 1 have the exact McNemar test (McNemar 1947, on the binomial distribution) and the interval of Bonett and
Price (Journal of Educational and Behavioral Statistics 37, 2012, 479-488). Other scores, such as win rates with draws,
have a sign-flip test and a bootstrap interval. Both intervals were chosen by their coverage where few prompts differ,
where Wald's and the plain bootstrap fail: tests/della/test_statistics_coverage.py. (DELLA's tables print no errors.)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from della.power import minimum_detectable
from della.statistics import DETECTABLE, LEVEL, REPLICATES, generator, interval, resampled_means

Scores = Sequence[float | None] | np.ndarray
FLIPS = 9_999  # random sign flips: a p-value is known to 0.002 near 0.05
_BATCH = 500  # flips held at once


@dataclass(frozen=True)
class Mean:
    """A mean score, a fraction, with its standard error (nan for n < 2); nulls: prompts left out, without a score."""

    value: float
    error: float
    n: int
    nulls: int = 0


@dataclass(frozen=True)
class Comparison:
    """One run minus another on the prompts that both have a score for; all but n, nulls and the counts are fractions.

    nulls: prompts left out; one_better, other_better: prompts on which either scores higher; p: two-sided; binary:
    whether all scores are 0 or 1, so that p is exact; detectable: see `compare`, None where n is too small.
    """

    n: int
    nulls: int
    one: Mean
    other: Mean
    difference: float
    low: float
    high: float
    one_better: int
    other_better: int
    p: float
    binary: bool
    detectable: float | None


def as_array(scores: Scores) -> np.ndarray:
    """Scores as float64[n], nan for None."""
    return np.array([math.nan if score is None else score for score in scores], dtype=np.float64)


def mean_of(scores: Scores) -> Mean:
    """The mean over the prompts that have a score, and its standard error s / sqrt(n), s^2 the unbiased variance.

    For 0 and 1 that is sqrt(p (1 - p) / (n - 1)). nan where there is no score.
    """
    every = as_array(scores)
    known = every[~np.isnan(every)]
    value = float(np.mean(known)) if known.size else math.nan
    error = float(np.std(known, ddof=1) / math.sqrt(known.size)) if known.size > 1 else math.nan
    return Mean(value, error, known.size, every.size - known.size)


def mcnemar(one_only: int, other_only: int) -> float:
    """The exact two-sided p-value of McNemar's test: counts of prompts that only one of the two runs got right."""
    discordant = one_only + other_only
    return float(stats.binomtest(one_only, discordant, 0.5).pvalue) if discordant else 1.0


def bonett_price(
    one_only: np.ndarray, other_only: np.ndarray, n: int, level: float = LEVEL
) -> tuple[np.ndarray, np.ndarray]:
    """Bonett and Price's interval of a paired difference of proportions, ends in [-1, 1].

    one_only, other_only: int[...], prompts of n that only one of the two got right. Wald's interval once each run has
    been given one more prompt that it alone gets right: p = (b + 1) / (n + 2), q = (c + 1) / (n + 2),
    p - q -+ z sqrt((p + q - (p - q)^2) / (n + 2)).
    """
    p, q = (np.asarray(one_only) + 1) / (n + 2), (np.asarray(other_only) + 1) / (n + 2)
    half = stats.norm.ppf((1 + level) / 2) * np.sqrt((p + q - (p - q) ** 2) / (n + 2))
    return np.maximum(p - q - half, -1.0), np.minimum(p - q + half, 1.0)


def with_pseudo_prompts(differences: np.ndarray) -> np.ndarray:
    """The differences of n prompts in [-1, 1], and one prompt that each of the two runs wins outright.

    Where few prompts differ, too few for a resample to show how many might have, these two keep an interval from
    closing. It is what `bonett_price` adds for scores 0 and 1.
    """
    return np.concatenate([differences, [-1.0, 1.0]])


def bootstrap(differences: np.ndarray, name: str, replicates: int = REPLICATES) -> tuple[float, float]:
    """The 95 % bootstrap interval of the mean of paired differences, float64[n] in [-1, 1], pseudo-prompts included.

    name: of the random draw, which is a function of it, n and replicates alone.
    """
    padded = with_pseudo_prompts(differences)
    return interval(resampled_means(name, padded[None, :], replicates)[:, 0])


def sign_flips(differences: np.ndarray, name: str, flips: int = FLIPS) -> float:
    """The two-sided p-value of the sum of paired differences when each might as well have had the other sign.

    float64[n]; all 2^m assignments of signs to the m differences that are not 0 where these are few, else `flips`
    random ones and the observed. For differences -1, 0, 1 all assignments would give the exact McNemar test.
    """
    moved = differences[differences != 0]
    if not moved.size:
        return 1.0
    found = stats.permutation_test(
        (moved,),
        lambda x, axis: np.sum(x, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=flips,
        batch=_BATCH,
        rng=generator(f"signs {name}"),
    )
    return float(found.pvalue)


def compare(one: Scores, other: Scores, name: str = "") -> Comparison:
    """Two runs' scores of the same prompts in the same order, each in [0, 1] or None.

    Prompts without a score in either are left out. detectable: the smallest true difference that this comparison finds
    with 80 % power at a two-sided 5 % level: for scores 0 and 1 from n and the share of prompts that differ, else 2.80
    standard errors, pseudo-prompts included. name: of the random draws, for scores other than 0 and 1.

    Raises:
        ValueError: the lengths differ, a score is outside [0, 1], or no prompt has a score in both.
    """
    first, second = as_array(one), as_array(other)
    if first.shape != second.shape:
        raise ValueError(f"{first.size} scores cannot be paired with {second.size}")
    known = ~(np.isnan(first) | np.isnan(second))
    a, b = first[known], second[known]
    if not a.size:
        raise ValueError("no prompt has a score in both")
    if min(a.min(), b.min()) < 0 or max(a.max(), b.max()) > 1:
        raise ValueError("a score lies outside [0, 1]")
    d, n = a - b, a.size
    wins, losses = int(np.sum(d > 0)), int(np.sum(d < 0))
    binary = bool(np.isin(a, (0.0, 1.0)).all() and np.isin(b, (0.0, 1.0)).all())
    if binary:
        low, high = (float(end) for end in bonett_price(np.array(wins), np.array(losses), n))
        p, detectable = mcnemar(wins, losses), minimum_detectable(n, (wins + losses) / n)
    else:
        low, high = bootstrap(d, f"compare {name}")
        p, detectable = sign_flips(d, name), DETECTABLE * float(np.std(with_pseudo_prompts(d))) / math.sqrt(n)
    return Comparison(
        n=n,
        nulls=first.size - n,
        one=mean_of(a),
        other=mean_of(b),
        difference=float(np.mean(d)),
        low=low,
        high=high,
        one_better=wins,
        other_better=losses,
        p=p,
        binary=binary,
        detectable=detectable,
    )


def holm(p: Sequence[float]) -> list[float]:
    """The p-values of one table corrected for their number, in the order given.

    Holm's step-down (Scandinavian Journal of Statistics 6, 1979, 65-70): the k-th smallest of m is multiplied by
    m - k + 1, never falls below the one before it and never exceeds 1. The chance of any false finding in the table
    stays below the level, however the tests depend on each other.
    """
    order = sorted(range(len(p)), key=lambda i: p[i])
    out, largest = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - rank) * p[i]))
        out[i] = largest
    return out
