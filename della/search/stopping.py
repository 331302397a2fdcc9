"""Whether a trial that has seen a part of the prompts can still win against the best trial, which has seen them all.

    RULES["paired"](trial, best, risk=0.01)         # True: stop it

Both are compared on the same prompts; `trial` has a prefix of each benchmark's order, `best` the whole of it. What is
compared is the mean over benchmarks; wilcoxon, mcnemar and anytime pool the prompts of all benchmarks, so that where
these differ in number a trial that leads can be said to lose: della/search/race.py goes on with it. The rules:

paired    The dev prompts are a finite set: the difference that all N of them would show lies around the difference on
          the n seen with standard error s sqrt(1/n - 1/N), which shrinks to nothing at the end (Cochran, Sampling
          Techniques, 3rd edition, section 2.6; strata: section 5.6). Stop when its upper end at one-sided `risk` is
          below 0. Each benchmark counts one prompt more that each of the two wins, as in Bonett and Price's interval
          (della/paired.py), so that few prompts without a difference prove nothing.
wilcoxon  What optuna.pruners.WilcoxonPruner(p_threshold=risk) decides (zero_method="zsplit"). Made for values on a
          scale: of scores 0 and 1 nearly all differences are ties.
mcnemar   The sign test of the prompts that only one of the two got right, one-sided, exact.
anytime   The same prompts as a bet: evidence against "the trial is at least as good", a mixture over its chances of
          winning such a prompt uniform below one half; its chance to ever exceed 1/risk is at most `risk`, however
          often one looks (Ville's inequality).
certain   Nothing is risked: stop when all prompts to come, won by the trial, would still not be enough.

All look repeatedly; but for the last two `risk` is a risk per look. tests/della/search holds what each decides.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
import scipy  # its parts are imported when they are first used: a mistake in a search must not wait for them

Scores = Mapping[str, np.ndarray]
"""Benchmark -> float64[n], in [0, 1]; nan where the judge gave no verdict. n may differ between benchmarks."""

Rule = Callable[[Scores, Scores, float], bool]


def mean(scores: Scores) -> float:
    """The mean over benchmarks of the mean over their prompts that have a score; nan where one has none."""
    return float(np.mean([math.nan if np.isnan(values).all() else np.nanmean(values) for values in scores.values()]))


def differences(trial: Scores, best: Scores) -> dict[str, np.ndarray]:
    """Per benchmark, trial minus best on the prompts that the trial has seen and both have a score for."""
    out = {}
    for name, seen in trial.items():
        found = seen - best[name][: seen.size]
        out[name] = found[~np.isnan(found)]
    return out


def estimate(trial: Scores, best: Scores) -> float:
    """What a stopped trial would have scored on all prompts: the best's score there plus the difference on those seen.

    Better than the trial's own mean, which depends on how hard the prompts seen happen to be.
    """
    found = [values.mean() if values.size else 0.0 for values in differences(trial, best).values()]
    return mean(best) + float(np.mean(found))


def paired(trial: Scores, best: Scores, risk: float) -> bool:
    """See above. Never stops before each benchmark has a prompt that both have a score for."""
    value, variance = 0.0, 0.0
    for name, d in differences(trial, best).items():
        if not d.size:
            return False
        padded = np.concatenate([d, [-1.0, 1.0]])
        value += d.mean()
        variance += float(padded.var()) * (1 / d.size - 1 / max(best[name].size, d.size))
    return value + float(scipy.stats.norm.isf(risk)) * math.sqrt(variance) < 0


def wilcoxon(trial: Scores, best: Scores, risk: float) -> bool:
    """See above."""
    d = np.concatenate(list(differences(trial, best).values()))
    if d.size < 2:
        return False
    p = scipy.stats.wilcoxon(d, alternative="less", zero_method="zsplit").pvalue
    # The pruner's own safeguard: not while the trial's mean so far is above the best's over all prompts.
    pooled = np.nanmean(np.concatenate(list(trial.values())))
    return bool(p < risk) and not np.nanmean(np.concatenate(list(best.values()))) <= pooled


def wins(trial: Scores, best: Scores) -> tuple[int, int]:
    """Prompts that the trial, and that the best, scores higher on."""
    d = np.concatenate(list(differences(trial, best).values()))
    return int((d > 0).sum()), int((d < 0).sum())


def mcnemar(trial: Scores, best: Scores, risk: float) -> bool:
    """See above; half a point counts as a whole one."""
    won, lost = wins(trial, best)
    return won + lost > 0 and float(scipy.stats.binom.cdf(won, won + lost, 0.5)) < risk


def anytime(trial: Scores, best: Scores, risk: float) -> bool:
    """See above: 2^m times the mean of p^won (1 - p)^lost over p uniform in (0, 1/2), m = won + lost."""
    won, lost = wins(trial, best)
    tail = scipy.special.betainc(won + 1, lost + 1, 0.5)
    if tail == 0:
        return False
    log = (won + lost + 1) * math.log(2) + scipy.special.betaln(won + 1, lost + 1) + math.log(tail)
    return bool(log > -math.log(risk)) if risk > 0 else False


def certain(trial: Scores, best: Scores, risk: float) -> bool:
    """See above; the risk plays no part."""
    reach = {}
    for name, seen in trial.items():
        reach[name] = np.concatenate([seen, np.ones(max(best[name].size - seen.size, 0))])
    return mean(reach) < mean(best)


def never(trial: Scores, best: Scores, risk: float) -> bool:
    """Every trial sees all prompts."""
    return False


RULES: dict[str, Rule] = {
    "paired": paired,
    "wilcoxon": wilcoxon,
    "mcnemar": mcnemar,
    "anytime": anytime,
    "certain": certain,
    "none": never,
}
