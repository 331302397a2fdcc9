"""Mask seeds crossed with prompts: how much of a score's noise comes from which, and its error for new ones of both.

    found = crossed(scores)                   # float64[seeds, n]: every mask seed answered the same prompts
    found.mean, found.error, found.sd_seeds, found.sd_prompts, found.sd_both
    crossed_difference(della, ties)           # two methods on the same prompts, each with mask seeds of its own

Score of seed s on prompt p = mean + seed_s + prompt_p + both_sp, seeds and prompts drawn independently. The variances
are the analysis-of-variance estimators of the crossed classification with one score a cell (Cornfield and Tukey,
"Average values of mean squares in factorials", 1956; Searle, Casella and McCulloch, "Variance Components", 1992): with
mean squares MS of seeds, prompts and what is left,
E[MS_left] = v_both, E[MS_seeds] = v_both + n v_seeds, E[MS_prompts] = v_both + S v_prompts.
Generation is greedy, so one mask answers a prompt in one way: what is left is the interaction and nothing else.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from della.statistics import LEVEL


@dataclass(frozen=True)
class Crossed:
    """A mean over seeds and prompts, a fraction.

    seeds, n: how many of each; nulls: prompts left out because a seed has no score for them. sd_*: standard deviations
    of a single seed, a single prompt, and of both together beyond their sum. seed_error, prompt_error: the parts of
    `error`, the standard error of the mean if other seeds and other prompts had been drawn; freedom: its degrees of
    freedom (Satterthwaite, Biometrics Bulletin 2, 1946, 110-114); low, high: the 95 % t interval.
    """

    mean: float
    seeds: int
    n: int
    nulls: int
    sd_seeds: float
    sd_prompts: float
    sd_both: float
    seed_error: float
    prompt_error: float
    error: float
    freedom: float
    low: float
    high: float


def _complete(scores: np.ndarray) -> np.ndarray:
    """The columns without nan."""
    found = scores[:, ~np.isnan(scores).any(axis=0)]
    if scores.ndim != 2 or min(found.shape) < 2:
        raise ValueError(f"two seeds and two prompts at least are needed, not {found.shape[0]} and {found.shape[1]}")
    return found


def mean_squares(scores: np.ndarray) -> tuple[float, float, float]:
    """Mean squares of seeds, of prompts, and of what is left, of float64[seeds, n] without nan."""
    seeds, n = scores.shape
    rows, columns, mean = scores.mean(axis=1), scores.mean(axis=0), scores.mean()
    left = scores - rows[:, None] - columns[None, :] + mean
    return (
        float(n * np.sum((rows - mean) ** 2) / (seeds - 1)),
        float(seeds * np.sum((columns - mean) ** 2) / (n - 1)),
        float(np.sum(left**2) / ((seeds - 1) * (n - 1))),
    )


def crossed(scores: np.ndarray) -> Crossed:
    """Separates seed noise from prompt noise.

    scores: float64[seeds, n], nan for no verdict (that prompt is left out of every seed). A negative estimate of a
    variance is put at 0. The variance of the mean is (MS_prompts + max(MS_seeds - MS_left, 0)) / (seeds n): that of
    the prompts alone at least.

    Raises:
        ValueError: fewer than two seeds or two prompts.
    """
    known = _complete(scores)
    seeds, n = known.shape
    ms_seeds, ms_prompts, ms_left = mean_squares(known)
    extra = max(ms_seeds - ms_left, 0.0)
    parts = [(ms_prompts, n - 1)]
    if extra > 0:
        parts += [(ms_seeds, seeds - 1), (-ms_left, (seeds - 1) * (n - 1))]
    error, freedom = _combined([(value / (seeds * n), df) for value, df in parts])
    return _with_interval(
        mean=float(known.mean()),
        seeds=seeds,
        n=n,
        nulls=scores.shape[1] - n,
        sd_seeds=math.sqrt(extra / n),
        sd_prompts=math.sqrt(max(ms_prompts - ms_left, 0.0) / seeds),
        sd_both=math.sqrt(ms_left),
        seed_error=math.sqrt(extra / (seeds * n)),
        prompt_error=math.sqrt(ms_prompts / (seeds * n)),
        error=error,
        freedom=freedom,
    )


def crossed_difference(one: np.ndarray, other: np.ndarray) -> Crossed:
    """The mean of one method minus that of another on the same prompts, each with mask seeds of its own.

    float64[seeds, n] each; numbers of seeds may differ (`seeds` is the smaller). Its variance is that of the
    differences of prompt means over prompts, which holds both interactions, plus each method's v_seeds / seeds; sd_both
    is that of the two interactions together, sd_prompts what remains of the prompts' own. Where seed k of both is the
    same mask, `crossed(one - other)` pairs the seeds as well.

    Raises:
        ValueError: other prompts, or fewer than two seeds or two prompts.
    """
    if one.shape[1] != other.shape[1]:
        raise ValueError(f"{one.shape[1]} prompts cannot be paired with {other.shape[1]}")
    known = ~(np.isnan(one).any(axis=0) | np.isnan(other).any(axis=0))
    sides = [_complete(one[:, known]), _complete(other[:, known])]
    gaps = sides[0].mean(axis=0) - sides[1].mean(axis=0)
    n = gaps.size
    across = float(np.var(gaps, ddof=1))
    parts, extras, lefts, noise = [(across / n, n - 1)], [], [], 0.0
    for side in sides:
        seeds = len(side)
        ms_seeds, _, ms_left = mean_squares(side)
        extra = max(ms_seeds - ms_left, 0.0)
        if extra > 0:
            parts += [(ms_seeds / (seeds * n), seeds - 1), (-ms_left / (seeds * n), (seeds - 1) * (n - 1))]
        extras.append(extra / (seeds * n))
        lefts.append(ms_left)
        noise += ms_left / seeds
    error, freedom = _combined(parts)
    smaller = min(len(side) for side in sides)
    return _with_interval(
        mean=float(gaps.mean()),
        seeds=smaller,
        n=n,
        nulls=one.shape[1] - n,
        sd_seeds=math.sqrt(sum(extra * len(side) for extra, side in zip(extras, sides, strict=True))),
        sd_prompts=math.sqrt(max(across - noise, 0.0)),
        sd_both=math.sqrt(sum(lefts)),
        seed_error=math.sqrt(sum(extras)),
        prompt_error=math.sqrt(across / n),
        error=error,
        freedom=freedom,
    )


def _combined(parts: list[tuple[float, int]]) -> tuple[float, float]:
    """The standard error from a sum of mean squares, and Satterthwaite's degrees of freedom."""
    variance = max(sum(value for value, _ in parts), 0.0)
    spread = sum(value**2 / df for value, df in parts)
    return math.sqrt(variance), variance**2 / spread if spread > 0 else math.inf


def _with_interval(*, mean: float, error: float, freedom: float, **others: float) -> Crossed:
    half = error * float(stats.t.ppf((1 + LEVEL) / 2, freedom)) if error > 0 else 0.0
    found = {"mean": mean, "error": error, "freedom": freedom, "low": mean - half, "high": mean + half, **others}
    return Crossed(**found)  # type: ignore[arg-type]


def pooled(parts: Sequence[Crossed]) -> Crossed:
    """The mean over families of models, each with seeds and prompts of its own: standard deviations averaged in square.

    `seeds` is the smallest number of any, n and nulls are sums. The families themselves are taken as given.
    """
    count = len(parts)

    def root_mean(values: Iterable[float]) -> float:
        return math.sqrt(sum(value**2 for value in values) / count)

    variances = [(part.error**2 / count**2, part.freedom) for part in parts]
    total, spread = sum(v for v, _ in variances), sum(v**2 / df for v, df in variances)
    return _with_interval(
        mean=sum(part.mean for part in parts) / count,
        seeds=min(part.seeds for part in parts),
        n=sum(part.n for part in parts),
        nulls=sum(part.nulls for part in parts),
        sd_seeds=root_mean(part.sd_seeds for part in parts),
        sd_prompts=root_mean(part.sd_prompts for part in parts),
        sd_both=root_mean(part.sd_both for part in parts),
        seed_error=root_mean(part.seed_error for part in parts) / math.sqrt(count),
        prompt_error=root_mean(part.prompt_error for part in parts) / math.sqrt(count),
        error=math.sqrt(total),
        freedom=total**2 / spread if spread > 0 else math.inf,
    )
