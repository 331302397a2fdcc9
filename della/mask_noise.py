"""The variance of a weighted sum of scores beyond its prompts: mask seeds and training seeds drawn anew.

A mask is a function of its seed: runs of any method with the same seed keep a parameter where the same uniform is small
enough (`della.random`), so their scores rise and fall together. Equal seeds are therefore taken together, whatever the
methods and merges of a sum; what they share then counts once in a sum and cancels in a difference. (The estimators are
those of `della.crossed`, for sums.)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Part:
    """weight x the mean over seeds and prompts of `scores`, float64[seeds, n], nan for no verdict.

    family: training seed; prompts: name of the prompt set; seeds: mask seed of each row; means: of each row, float64.
    """

    family: object
    prompts: str
    weight: float
    seeds: tuple
    scores: np.ndarray
    means: np.ndarray

    @property
    def value(self) -> float:
        """The part's contribution to the sum."""
        return self.weight * float(np.mean(self.means))


@dataclass(frozen=True)
class Noise:
    """What varies in a sum beside its prompts; all but the counts are variances of the sum.

    masks: the mean square of mask seeds, of which `mixed` is their interaction with the prompts, which the prompts' own
    variance holds already; freedom: its degrees of freedom, inf without several masks. between: the mean square of
    training seeds, 0 with one of them; families: how many; apart: whether each has prompts of its own.
    """

    masks: float
    mixed: float
    freedom: float
    between: float
    families: int
    apart: bool

    @property
    def beyond(self) -> float:
        """The masks' own variance, an estimate below 0 put at 0."""
        return max(self.masks - self.mixed, 0.0)

    def total(self, from_prompts: float) -> tuple[float, float]:
        """The variance for new prompts, masks and training seeds, and the degrees of freedom of the last part.

        from_prompts: that of the prompts. The variance between training seeds takes the place of that within them (of
        prompts only where each has its own) if it is larger. Freedom: Satterthwaite's, inf with one training seed; it
        counts that mean square whether or not it was the larger, so that an interval does not narrow by a jump where
        few training seeds happen to agree.
        """
        within = self.beyond + (from_prompts if self.apart else 0.0)
        variance = from_prompts + self.beyond - within + max(within, self.between)
        if self.between <= 0:
            return variance, math.inf
        return variance, variance**2 * (self.families - 1) / self.between**2


def noise(parts: Sequence[Part]) -> Noise:
    """The noise of the parts' sum. Degrees of freedom of several mean squares: Satterthwaite's."""
    families = sorted({part.family for part in parts}, key=str)
    squares = [found for f in families for found in _mask_squares([part for part in parts if part.family == f])]
    masks, spread = sum(found[0] for found in squares), sum(found[0] ** 2 / found[2] for found in squares)
    count, between = len(families), 0.0
    if count > 1:
        sums = [count * sum(part.value for part in parts if part.family == family) for family in families]
        between = float(np.var(sums, ddof=1)) / count
    own = {family: {part.prompts for part in parts if part.family == family} for family in families}
    return Noise(
        masks=masks,
        mixed=sum(found[1] for found in squares),
        freedom=masks**2 / spread if spread > 0 else math.inf,
        between=between,
        families=count,
        apart=len(set().union(*own.values())) == sum(map(len, own.values())),
    )


def _mask_squares(parts: Sequence[Part]) -> list[tuple[float, float, int]]:
    """Of each group of parts that share mask seeds: the mean square of seeds and that of their interaction with the
    prompts, both as variances of the sum, and the degrees of freedom of the first."""
    groups: list[list[Part]] = []
    for part in parts:
        if len(part.seeds) > 1:
            shared = [group for group in groups if any(set(part.seeds) & set(other.seeds) for other in group)]
            groups = [group for group in groups if group not in shared] + [[part, *(p for g in shared for p in g)]]
    return [_group_squares(group) for group in groups]


def _group_squares(group: Sequence[Part]) -> tuple[float, float, int]:
    seeds = sorted({seed for part in group for seed in part.seeds}, key=str)
    totals = np.zeros(len(seeds))
    left = {part.prompts: np.zeros((len(seeds), part.scores.shape[1])) for part in group}
    for part in group:
        count, n = part.scores.shape
        rows = part.means
        filled = np.where(np.isnan(part.scores), rows[:, None], part.scores)
        where = [seeds.index(seed) for seed in part.seeds]
        share = part.weight / math.sqrt(count * (count - 1))  # of a seed in the mean, its variance unbiased
        totals[where] += share * (rows - rows.mean())
        rest = filled - rows[:, None] - filled.mean(axis=0) + rows.mean()
        left[part.prompts][where] += share / math.sqrt(n * max(n - 1, 1)) * rest
    fewest = min(len(part.seeds) for part in group)
    return float(np.sum(totals**2)), float(sum(np.sum(rest**2) for rest in left.values())), fewest - 1
