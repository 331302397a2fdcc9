"""A trial asked part by part, and whole searches replayed."""

import numpy as np
import pytest

from della.search.order import interleaved, parts
from della.search.race import race
from della.search.replay import grid_order, grid_winner, paired_loss, promising, replay
from della.search.stopping import RULES


def grid_of(rates: list[float], n: int = 200) -> list[dict[str, np.ndarray]]:
    """Points with these success rates; common prompts, some harder than others, as in a real grid."""
    random = np.random.default_rng(0)
    hard = {name: random.random(n) for name in ("gsm8k", "mbpp")}
    return [{name: (values < rate).astype(float) for name, values in hard.items()} for rate in rates]


@pytest.mark.parametrize("rule", ["mcnemar", "anytime"])
def test_a_trial_that_leads_is_not_stopped_by_a_rule_that_pools_benchmarks(rule):
    """Best: 300 of 600 and 0 of 40. The trial loses 24 prompts of the first half of the one (300 seen, so -0.08 there)
    and wins 4 of 20 of the other (+0.2): 24 lost to 4 won, and 0.06 ahead in the mean of the two."""
    best = {"a": np.array([1.0, 0.0] * 300), "b": np.zeros(40)}
    trial = {"a": best["a"].copy(), "b": best["b"].copy()}
    trial["a"][0:48:2] = 0.0
    trial["b"][:4] = 1.0
    halves = {"a": trial["a"][:300], "b": trial["b"][:20]}
    assert RULES[rule](halves, best, 0.01)
    cut = [{"a": range(300), "b": range(20)}, {"a": range(300, 600), "b": range(20, 40)}]
    found = race(lambda part: {n: trial[n][list(at)] for n, at in part.items()}, cut, lambda: best, RULES[rule], 0.01)
    assert found.whole


def raced(trial, best, looks=10, rule="paired"):
    order = interleaved({name: values.size for name, values in trial.items()}, seed=0)
    asked = []

    def ask(part):
        asked.append(sum(map(len, part.values())))
        return {name: trial[name][list(numbers)] for name, numbers in part.items()}

    from della.search.order import by_benchmark

    ordered = None if best is None else {name: best[name][at] for name, at in by_benchmark(order).items()}
    return race(ask, parts(order, looks), lambda: ordered, RULES[rule], 0.01), asked


def test_the_first_trial_and_one_as_good_as_the_best_are_asked_all_prompts():
    good, same = grid_of([0.6, 0.6])
    for best in (None, same):
        found, asked = raced(good, best)
        assert found.whole
        assert found.prompts == sum(asked) == 400
        assert found.value == pytest.approx(np.mean([good["gsm8k"].mean(), good["mbpp"].mean()]))


def test_a_bad_trial_is_stopped_with_an_estimate_below_the_best():
    good, bad = grid_of([0.6, 0.2])
    found, asked = raced(bad, good)
    assert not found.whole
    assert found.prompts == sum(asked) < 120
    assert 0.1 < found.value < 0.35


def test_a_replayed_search_finds_the_grids_winner_for_a_part_of_the_prompts():
    grid = grid_of([0.1, 0.3, 0.5, 0.7, 0.65, 0.2, 0.05, 0.6, 0.4])
    for seed in range(5):
        found = replay(grid, seed, "paired", 0.01, 20)
        assert found.winner == grid_winner(grid) == 3
        assert found.prompts < 0.6 * found.of
    assert found.of == 9 * 400
    everything = replay(grid, 0, "none", 0.01, 20)
    assert (everything.winner, everything.prompts, everything.whole) == (3, everything.of, 9)


def test_a_grid_that_is_screened_goes_on_with_the_most_promising_point_and_asks_less():
    """Ascending points would each be the best so far and be asked all; screened, the best comes first."""
    grid = grid_of([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    ends = {screen: [replay(grid, seed, "paired", 0.01, 20, screen) for seed in range(6)] for screen in (True, False)}
    assert {found.winner for both in ends.values() for found in both} == {6}
    assert sum(f.prompts for f in ends[True]) < 0.8 * sum(f.prompts for f in ends[False])
    assert all(found.whole <= 2 for found in ends[True])
    assert promising([0.5, 0.9, 0.5, 0.7], seed=0)[:2] == [1, 3]


def test_the_order_of_a_grid_is_a_shuffle_by_seed():
    assert sorted(grid_order(1, 25)) == list(range(25))
    assert grid_order(1, 25) == grid_order(1, 25) != grid_order(2, 25)


def test_a_loss_is_paired_and_its_error_over_prompts_with_benchmarks_as_strata():
    """gsm8k: 1 of 4 lost, mean 0.25, s^2 = 0.25; mbpp: nothing. Loss 0.125, error sqrt(0.25 / 4) / 2 = 0.125."""
    reference = {"gsm8k": np.array([1, 1, 1, 0.0]), "mbpp": np.ones(4)}
    chosen = {"gsm8k": np.array([1, 1, 0, 0.0]), "mbpp": np.ones(4)}
    assert paired_loss(chosen, reference) == pytest.approx((0.125, 0.125))
