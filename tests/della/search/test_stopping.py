"""When a trial is stopped: each rule beside a hand-worked case, and the risk they promise."""

import math
import warnings

import numpy as np
import optuna
import pytest
from scipy import stats

from della.search.stopping import RULES, certain, differences, estimate, mean, wilcoxon


def scores(right: int, wrong: int, name: str = "gsm8k") -> dict[str, np.ndarray]:
    return {name: np.array([1.0] * right + [0.0] * wrong)}


def test_a_stopped_trials_estimate_is_the_bests_score_plus_the_difference_seen():
    """The best has 60 of 100, and all of the first 10, where the trial has 7: 0.60 + (0.7 - 1.0) = 0.30."""
    best = {"gsm8k": np.array([1.0] * 60 + [0.0] * 40)}
    assert estimate(scores(7, 3), best) == pytest.approx(0.30)
    assert mean(best) == 0.6


def test_benchmarks_count_alike_whatever_their_sizes_and_prompts_without_a_verdict_are_left_out():
    """gsm8k 1/2 of 4, mbpp 1 of the 1 of 2 that has a verdict: 0.75."""
    found = {"gsm8k": np.array([1, 0, 1, 0.0]), "mbpp": np.array([1.0, np.nan])}
    assert mean(found) == 0.75
    best = {"gsm8k": np.ones(4), "mbpp": np.ones(2)}
    assert differences(found, best)["mbpp"].tolist() == [0.0]


def test_paired_stops_on_the_part_that_is_left_to_see():
    """n of N = 100 prompts seen, 10 lost and 4 won of them: mean -6 / n; with the two prompts added the variance is
    16 / (n + 2) - (6 / (n + 2))^2. n = 50: -0.12, s^2 = 0.2944; s.e. sqrt(0.2944 (1/50 - 1/100)) = 0.0543; 1 % needs
    2.326 of these, 0.126: it goes on. n = 60: -0.1, s^2 = 0.2487, s.e. 0.0407, needs 0.095: stopped."""
    best = {"gsm8k": np.array([1.0] * 10 + [0.0] * 90)}
    trial = np.array([0.0] * 10 + [1.0] * 4 + [0.0] * 46)
    assert not RULES["paired"]({"gsm8k": trial[:50]}, best, 0.01)
    assert RULES["paired"]({"gsm8k": trial[:60]}, best, 0.01)
    assert RULES["paired"]({"gsm8k": trial[:50]}, best, 0.05)


@pytest.mark.parametrize("rule", ["paired", "wilcoxon", "mcnemar", "anytime", "certain"])
def test_no_rule_stops_a_trial_that_does_as_well_so_far_or_has_seen_no_difference(rule):
    best = {"gsm8k": np.array([1.0, 0.0] * 50)}
    for seen in (2, 10, 50):
        assert not RULES[rule]({"gsm8k": best["gsm8k"][:seen]}, best, 0.05)
    assert not RULES[rule](scores(20, 0), {"gsm8k": np.zeros(100)}, 0.05)


def test_mcnemar_is_the_one_sided_sign_test():
    """5 lost, none won: 1/32 = 0.031; 4 lost: 1/16."""
    best = {"gsm8k": np.ones(20)}
    assert RULES["mcnemar"](scores(5, 5), best, 0.05)
    assert not RULES["mcnemar"](scores(5, 4), best, 0.05)


def test_anytime_is_the_mixture_of_bets_and_rarely_wrong_however_often_one_looks():
    """5 lost, none won: 2^6 times the integral of (1 - p)^5 from 0 to 1/2, (1 - 1/64) / 6: 10.5, above 1 / 0.1, below
    1 / 0.05. Of 400 trials as good as the best, each looked at after every prompt, at most 5 % may ever be stopped
    (binomial, 400 at 5 %: more than 32 has a chance below 0.3 %)."""
    best = {"gsm8k": np.ones(20)}
    assert RULES["anytime"](scores(0, 5), best, 0.1)
    assert not RULES["anytime"](scores(0, 5), best, 0.05)
    random = np.random.default_rng(0)
    stopped = 0
    for _ in range(400):
        one, other = random.integers(2, size=(2, 100)).astype(float)
        looks = range(5, 101, 5)
        stopped += any(RULES["anytime"]({"a": one[:n]}, {"a": other}, 0.05) for n in looks)
    assert stopped <= 32


def test_certain_stops_only_what_cannot_reach_the_best_any_more():
    """The best has 6 of 10. After 5 prompts with 1 right a trial can still reach 6, with none right 5."""
    best = {"gsm8k": np.array([1.0] * 6 + [0.0] * 4)}
    assert not certain(scores(1, 4), best, 0.01)
    assert certain(scores(0, 5), best, 0.01)


def test_wilcoxon_decides_as_optunas_pruner():
    random = np.random.default_rng(1)
    decided = set()
    with warnings.catch_warnings(action="ignore"):  # it is marked experimental
        pruner = optuna.pruners.WilcoxonPruner(p_threshold=0.1)
    for _ in range(60):
        best, share = random.integers(2, size=40).astype(float), random.uniform(0.2, 0.8)
        trial = (random.random(int(random.integers(2, 40))) < share).astype(float)
        study = optuna.create_study(direction="maximize")
        whole = dict(enumerate(best.tolist()))
        study.add_trial(optuna.trial.create_trial(value=best.mean(), intermediate_values=whole))
        asked = optuna.trial.create_trial(
            state=optuna.trial.TrialState.RUNNING, intermediate_values=dict(enumerate(trial.tolist()))
        )
        theirs = pruner.prune(study, asked)
        assert wilcoxon({"a": trial}, {"a": best}, 0.1) == theirs
        decided.add(theirs)
    assert decided == {True, False}


def test_paired_stops_few_trials_that_would_have_won():
    """Trials that truly win by a little, 20 looks each: at 1 % a look hardly any is stopped. The chance of more than
    12 of 300 is below 1 % if 2 % are."""
    random = np.random.default_rng(2)
    stopped = cases = 0
    while cases < 300:
        best, trial = (random.random(300) < 0.6).astype(float), (random.random(300) < 0.63).astype(float)
        if trial.mean() - best.mean() < 0.02:
            continue
        cases += 1
        stopped += any(RULES["paired"]({"a": trial[:n]}, {"a": best}, 0.01) for n in range(15, 300, 15))
    assert stopped <= 12
    assert stats.binom.sf(12, 300, 0.02) < 0.01
    assert math.isfinite(mean({"a": trial}))
