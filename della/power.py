"""What a benchmark can tell apart: the power of the exact McNemar test, and the smallest difference it finds.

    minimum_detectable(1319, 0.2)    # two runs on GSM8K whose outcomes differ on 20 % of the prompts: 0.035

Discordance is the share of prompts on which two runs have different outcomes; a difference of means cannot be larger.
(Connor, "Sample size for testing differences in proportions for the paired-sample design", 1987; here the power is
summed exactly over the numbers of discordant prompts, without his normal approximation.)
"""

from functools import lru_cache

import numpy as np
from scipy import optimize, stats

SIGNIFICANCE = 0.05  # two-sided
POWER = 0.8
_TAIL = 1e-10  # of the numbers of discordant prompts left out of a sum


def rejected_up_to(discordant: np.ndarray, significance: float = SIGNIFICANCE) -> np.ndarray:
    """The largest count k of the smaller side at which the exact test rejects, -1 where it never does.

    discordant: int[...], number of discordant prompts m; the test rejects when P(X <= k) <= significance / 2 for
    X ~ Binomial(m, 1/2).
    """
    found = stats.binom.ppf(significance / 2, discordant, 0.5)
    exceeds = stats.binom.cdf(found, discordant, 0.5) > significance / 2
    return np.where(discordant > 0, found - exceeds, -1).astype(np.int64)


def mcnemar_power(n: int, discordance: float, difference: float, significance: float = SIGNIFICANCE) -> float:
    """The probability that the exact McNemar test finds a true difference.

    Args:
        n: prompts, from 1.
        discordance: share of prompts on which the runs differ, 0 to 1.
        difference: of the two means, a fraction; |difference| <= discordance.
        significance: two-sided level of the test.

    Raises:
        ValueError: the difference is larger than the discordance.
    """
    if abs(difference) > discordance:
        raise ValueError(f"a difference of {difference} needs at least that discordance, not {discordance}")
    if discordance == 0:
        return 0.0
    low, high = stats.binom.ppf([_TAIL, 1 - _TAIL], n, discordance)
    counts = np.arange(int(low), int(high) + 1)
    share = (1 + abs(difference) / discordance) / 2  # of the discordant prompts that the better run wins
    limit = rejected_up_to(counts, significance)
    found = stats.binom.cdf(limit, counts, share) + stats.binom.sf(counts - limit - 1, counts, share)
    return float(np.sum(stats.binom.pmf(counts, n, discordance) * np.where(limit >= 0, found, 0.0)))


@lru_cache(maxsize=4096)
def minimum_detectable(
    n: int, discordance: float, significance: float = SIGNIFICANCE, power: float = POWER
) -> float | None:
    """The smallest true difference of two runs on n prompts that the exact McNemar test finds with `power`.

    A difference larger than `discordance` brings its own: every discordant prompt is then won by the better run. So
    discordance 0 gives the least that n prompts can ever show, about 7.9 / n at the default level and power.
    Returns a fraction, or None where n is too small for any difference to be found.
    """

    def short(difference: float) -> float:
        return mcnemar_power(n, max(discordance, difference), difference, significance) - power

    if short(1.0) < 0:
        return None
    return float(optimize.brentq(short, 1e-9, 1.0, xtol=1e-7))
