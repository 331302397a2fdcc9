"""The intervals of tables hold the truth where masks, prompts and training seeds are drawn anew.

Two methods on two benchmarks of 120 prompts, five mask seeds that both share: masks that hardly matter or more than the
prompts, that the methods answer to alike or not, one training seed or three. Few simulations by default, 2,000 in the
full tests, where 95 % intervals must hold the truth in 93 % at least.
"""

import math

import numpy as np
import pytest
from scipy import stats

from della.outcomes import Run
from della.study import Study, averaged, difference
from tests.della.test_statistics_coverage import slack

COUNTS = [100, pytest.param(2000, marks=pytest.mark.full)]
BENCHMARKS = ("gsm8k", "mbpp")
LEVELS = {"della": 0.4, "dare_elect": 0.2}
N, SD_BOTH = 120, 0.5


def run(method: str, family: int, seed: int, scores: dict[str, np.ndarray]) -> Run:
    about = {"merge": ("code", "math"), "method": method, "options": (), "split": "test", "limit": None}
    about |= {"family": "simulated", "engine": "", "judge": "", "prompts": "", "groups": {}}
    prompts = {name: f"simulated {name} {family} n={len(values)}" for name, values in scores.items()}
    return Run(family_seed=family, seed=seed, scores=scores, prompts_of=prompts, **about)


def simulated(random, seeds: int, families: int, sd_seed: float, alike: float, sd_family: float) -> Study:
    """0/1 scores, right where level + training + mask + prompt + both > 0; alike: the methods' correlation over masks.

    A mask has one effect on both benchmarks: their errors from masks don't average out.
    """
    cells: dict[str, list[Run]] = {name: [] for name in LEVELS}
    for family in range(families):
        trained, prompts = random.normal(0, sd_family), {name: random.normal(0, 1, N) for name in BENCHMARKS}
        shared = random.normal(0, 1, seeds)
        for method, level in LEVELS.items():
            masks = sd_seed * (math.sqrt(alike) * shared + math.sqrt(1 - alike) * random.normal(0, 1, seeds))
            for seed in range(seeds):
                latent = {name: level + trained + masks[seed] + prompts[name] for name in BENCHMARKS}
                scores = {name: (x + random.normal(0, SD_BOTH, N) > 0).astype(float) for name, x in latent.items()}
                cells[method].append(run(method, family, seed, scores))
    return Study(cells, replicates=500)


def truth(level: float, sd_seed: float, sd_family: float) -> float:
    return float(stats.norm.cdf(level / math.sqrt(1 + SD_BOTH**2 + sd_seed**2 + sd_family**2)))


def held(random, count: int, seeds: int, families: int, sd_seed: float, alike: float, sd_family: float) -> dict:
    """The share of simulations whose intervals hold the truth, of a score, an Avg, and a difference of two Avg."""
    true = {name: truth(level, sd_seed, sd_family) for name, level in LEVELS.items()}
    gap = true["della"] - true["dare_elect"]
    found: dict[str, list[bool]] = {"score": [], "avg": [], "difference": []}
    for _ in range(count):
        study = simulated(random, seeds, families, sd_seed, alike, sd_family)
        terms = difference(averaged("della", BENCHMARKS), averaged("dare_elect", BENCHMARKS))
        estimates = {
            "score": (study.score("della", "gsm8k"), true["della"]),
            "avg": (study.average("della", BENCHMARKS), true["della"]),
            "difference": (study.estimate(terms), gap),
        }
        for name, (estimate, value) in estimates.items():
            assert estimate is not None
            found[name].append(estimate.low <= value <= estimate.high)
    return {name: float(np.mean(hits)) for name, hits in found.items()}


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("alike", [0.0, 0.8])
@pytest.mark.parametrize("sd_seed", [0.05, 0.3])
def test_five_mask_seeds(sd_seed, alike, count):
    random = np.random.default_rng([5, count, round(100 * sd_seed), round(10 * alike)])
    shares = held(random, count, 5, 1, sd_seed, alike, 0.0)
    assert {name: share for name, share in shares.items() if share < 0.93 - slack(0.93, count)} == {}


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("sd_family", [0.0, 0.1, 0.4])
def test_three_training_seeds_of_three_mask_seeds_each(sd_family, count):
    random = np.random.default_rng([3, count, round(100 * sd_family)])
    shares = held(random, count, 3, 3, 0.1, 0.5, sd_family)
    assert {name: share for name, share in shares.items() if share < 0.93 - slack(0.93, count)} == {}


def test_equal_seeds_that_answer_alike_make_a_difference_surer():
    """The same simulated masks, correlation 0.95 over seeds: errors of differences shrink, those of scores do not."""
    random = np.random.default_rng(7)
    studies = {alike: [simulated(random, 5, 1, 0.4, alike, 0.0) for _ in range(20)] for alike in (0.0, 0.95)}
    terms = difference(averaged("della", BENCHMARKS), averaged("dare_elect", BENCHMARKS))
    gaps = {alike: np.mean([s.estimate(terms).error ** 2 for s in found]) for alike, found in studies.items()}
    scores = {alike: np.mean([s.average("della", BENCHMARKS).error ** 2 for s in f]) for alike, f in studies.items()}
    assert gaps[0.95] < 0.5 * gaps[0.0]
    assert scores[0.95] == pytest.approx(scores[0.0], rel=0.5)


@pytest.mark.parametrize(("seeds", "most"), [(3, 0.78), (5, 0.88)])
def test_percentiles_of_so_few_resampled_means_would_hold_too_little(seeds, most):
    """What Student's quantiles are for. Normal values, resampled with the unbiased variance (seeds - 1 draws, Rao and
    Wu 1988)."""
    random = np.random.default_rng(seeds)
    weights = random.multinomial(seeds - 1, np.full(seeds, 1 / seeds), size=2000) / (seeds - 1)
    values = random.normal(size=(2000, seeds))
    ends = np.quantile(values @ weights.T, [0.025, 0.975], axis=1)
    assert np.mean((ends[0] <= 0) & (ends[1] >= 0)) < most
    half = stats.t.ppf(0.975, seeds - 1) * values.std(axis=1, ddof=1) / math.sqrt(seeds)
    assert np.mean(abs(values.mean(axis=1)) <= half) == pytest.approx(0.95, abs=0.015)
