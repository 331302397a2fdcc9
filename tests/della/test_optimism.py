"""Optimism of a choice: by hand, and against its true value where that is known by simulation.

Simulated grids are of 0/1 scores on two benchmarks of 100 and 60 prompts, from points that share nothing to points that
mostly answer alike, all equally good or not. The truth is the mean over 4,000 grids of the best point's score minus its
true score. Sixty estimates each by default; 500 in the full tests, of whose 95 % intervals 93 % at least must hold it.
"""

import math
from functools import cache

import numpy as np
import pytest
from scipy import stats

from della.optimism import crossfit, estimated
from tests.della.test_statistics_coverage import slack

COUNTS = [60, pytest.param(500, marks=pytest.mark.full)]
POINTS, SIZES = 8, {"a": 100, "b": 60}
GRIDS = {  # correlation of the points' latent scores on a prompt, and how much worse each point is than the one before
    "independent": (0.0, 0.0),
    "alike": (0.8, 0.0),
    "the best leads": (0.5, 0.05),
    "falling": (0.8, 0.15),
}


def grid(random, correlation: float, step: float) -> dict[str, np.ndarray]:
    """float64[points, n] per benchmark."""
    levels = (0.3 - step * np.arange(POINTS))[:, None]
    out = {}
    for name, n in SIZES.items():
        latent = math.sqrt(correlation) * random.normal(size=n) + levels
        out[name] = (latent + math.sqrt(1 - correlation) * random.normal(size=(POINTS, n)) > 0).astype(float)
    return out


@cache
def true_optimism(kind: str) -> float:
    correlation, step = GRIDS[kind]
    random = np.random.default_rng(11)
    true = stats.norm.cdf(0.3 - step * np.arange(POINTS))
    found = []
    for _ in range(4000):
        means = np.mean([scores.mean(axis=1) for scores in grid(random, correlation, step).values()], axis=0)
        found.append(means.max() - true[np.argmax(means)])
    return float(np.mean(found))


@cache
def selected(kind: str, count: int) -> list:
    """`crossfit` of simulated grids, fifty at a time: they share their draws and nothing else."""
    random, out = np.random.default_rng([count, *map(ord, kind)]), []
    while len(out) < count:
        cells = {i: grid(random, *GRIDS[kind]) for i in range(min(50, count - len(out)))}
        out += crossfit(cells, draws=200).values()
    return out


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", GRIDS)
def test_the_interval_holds_the_true_optimism(kind, count):
    found = [estimated(one.naive - one.nested, one.n) for one in selected(kind, count)]
    held = np.mean([one.low <= true_optimism(kind) <= one.high for one in found])
    assert held >= 0.93 - slack(0.93, 2000 if count == 500 else count)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", ["independent", "alike"])
def test_of_equally_good_points_the_estimate_and_the_ceiling_are_right_on_average(kind, count):
    values = [float(one.naive[0] - one.nested[0]) for one in selected(kind, count)]
    error = 3 * np.std(values) / math.sqrt(count) + 0.0005
    assert np.mean(values) == pytest.approx(true_optimism(kind), abs=error)
    assert np.mean([one.ceiling for one in selected(kind, count)]) == pytest.approx(true_optimism(kind), rel=0.06)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", ["the best leads", "falling"])
def test_of_unequal_points_the_estimate_errs_to_the_high_side_and_the_ceiling_is_above(kind, count):
    values = [float(one.naive[0] - one.nested[0]) for one in selected(kind, count)]
    error = 3 * np.std(values) / math.sqrt(count)
    assert np.mean(values) > true_optimism(kind) - error
    assert np.mean(values) < true_optimism(kind) + 0.006 + error
    assert np.mean([one.ceiling for one in selected(kind, count)]) > true_optimism(kind)


def test_the_optimism_bootstrap_finds_too_little_where_points_are_equally_good():
    """Efron's: the best of a draw minus the same point's score on the prompts as they are. About 1/sqrt(2) = 0.71."""
    found = []
    for one in selected("independent", 60):
        best = np.argmax(one.points[1:], axis=1)
        found.append(np.mean(one.points[1:].max(axis=1) - one.points[0][best]))
    assert np.mean(found) < 0.8 * true_optimism("independent")


def test_left_out_one_by_one_the_other_point_is_always_chosen():
    """A is right on the first 3 of 6 prompts, B on the others. Without a prompt of A's, A has 2 and B 3: B is chosen
    and wrong there; and the other way round. Naive 1/2, nested 0."""
    scores = np.array([[1.0] * 3 + [0.0] * 3, [0.0] * 3 + [1.0] * 3])
    one = crossfit({"x": {"p": scores}}, draws=5, repeats=2, folds=6)["x"]
    assert (one.naive[0], one.nested[0], one.n) == (0.5, 0.0, 6)
    assert one.points[0].tolist() == [0.5, 0.5]
    assert one.points.shape == (6, 2)


def test_a_point_that_is_best_on_every_prompt_has_no_optimism():
    scores = np.array([[1.0] * 30, [0.0] * 30, [0.0, 1.0] * 15])
    one = crossfit({"x": {"p": scores}}, draws=20)["x"]
    assert (one.naive == 1.0).all()
    assert (one.nested == 1.0).all()
    assert estimated(one.naive - one.nested, one.n).high == 0.0


def test_benchmarks_count_alike_whatever_their_length():
    """A: 100 % of 12 and 0 % of 60, B: 0 % and 60 %: means 50 % and 30 %, while over all prompts B has 50 %, A 17 %."""
    long = np.array([[0.0] * 60, ([1.0] * 3 + [0.0] * 2) * 12])
    short = np.array([[1.0] * 12, [0.0] * 12])
    one = crossfit({"x": {"long": long, "short": short}}, draws=3)["x"]
    assert one.points[0] == pytest.approx([0.5, 0.3])
    assert one.naive[0] == pytest.approx(0.5)
    assert one.n == 72


def test_prompts_without_a_verdict_are_left_out():
    """Right on 20 of 30 prompts with a verdict, ten others have none: 2/3."""
    scores = np.array([[1.0] * 20 + [0.0] * 10 + [math.nan] * 10])
    one = crossfit({"x": {"p": scores}}, draws=3)["x"]
    assert one.naive[0] == pytest.approx(2 / 3)
    assert one.nested[0] == pytest.approx(2 / 3)


def test_cells_share_their_draws_and_do_not_touch_each_other():
    random = np.random.default_rng(0)
    first, second = grid(random, 0.5, 0.0), grid(random, 0.0, 0.0)
    alone = crossfit({"one": first}, draws=30)["one"]
    both = crossfit({"two": second, "one": first, "again": first}, draws=30)
    for other in (both["one"], both["again"]):
        assert np.array_equal(alone.naive, other.naive)
        assert np.array_equal(alone.nested, other.nested)


def test_scores_in_between_are_summed_in_full_precision():
    """A judge's probabilities: 0.1 on every prompt has the mean 0.1 to the last digits, where float32 has seven."""
    one = crossfit({"x": {"p": np.full((2, 40), 0.1)}}, draws=2)["x"]
    assert one.naive == pytest.approx(0.1, abs=1e-15)


def test_too_few_prompts_and_unequal_numbers_are_refused():
    with pytest.raises(ValueError, match="2 prompts of p cannot be cut into 3 folds"):
        crossfit({"x": {"p": np.zeros((1, 2))}})
    with pytest.raises(ValueError, match="different numbers of prompts of p"):
        crossfit({"x": {"p": np.zeros((1, 9))}, "y": {"p": np.zeros((1, 8))}})
