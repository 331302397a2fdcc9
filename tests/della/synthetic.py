"""Made-up run records for the tests of selection, tables and figures: right in shape, wrong about the world."""

import hashlib
import zlib
from collections.abc import Sequence

import numpy as np

from della.methods import describe, make_method
from della.outcomes import EXPERT_BENCHMARK, MERGES

N = {"alpaca_eval": 60, "gsm8k": 50, "mbpp": 40}


def record(
    merge: Sequence[str],
    method: str,
    scores: dict[str, Sequence[float | None]],
    *,
    seed: int | None = None,
    split: str = "test",
    family_seed: int = 0,
    limit: int | None = None,
    groups: Sequence[str] | None = None,
    engine: str = "vllm",
    **options: object,
) -> dict:
    """A whole record of one run with these per-prompt scores."""
    described = {"name": "unmerged"} if method == "unmerged" else describe(make_method(method, **options))
    config = {
        "family": "tiny",
        "family_seed": family_seed,
        "merge": sorted(merge),
        "method": described,
        "seed": seed,
        "split": split,
        "limit": limit,
        "prompts": "tiny",
        "engine": {"name": engine, "dtype": "float32"},
        "judge": "rules",
    }
    blocks = {
        name: {
            "metric": "main",
            "n": sum(v is not None for v in values),
            "mean": float(np.mean([v for v in values if v is not None] or [0.0])),
            "ids": [str(i) for i in range(len(values))],
            "groups": list(groups) if groups else ["seen" if i % 3 else "held_out" for i in range(len(values))],
            "metrics": {"main": list(values)},
        }
        for name, values in scores.items()
    }
    return {
        "identity": hashlib.sha256(repr((config, sorted(scores))).encode()).hexdigest()[:16],
        "status": "done",
        "config": config,
        "inputs": {"data": {name: f"{name}-{family_seed}" for name in scores}},
        "versions": {"merge": 1},
        "merge": None,
        "scores": blocks,
        "error": None,
        "provenance": {},
    }


def _scores(name: str, benchmarks: Sequence[str], level: float, scale: int) -> dict[str, list[float]]:
    """Scores whose prompts are equally hard for every run, so that runs are correlated as real ones are."""
    out = {}
    for benchmark in benchmarks:
        hard = np.random.default_rng(zlib.crc32(benchmark.encode())).normal(size=N[benchmark] * scale)
        noise = np.random.default_rng(zlib.crc32(f"{name} {benchmark}".encode())).normal(size=N[benchmark] * scale)
        passed = 0.8 * hard + 0.6 * noise < 3 * (level - 0.5)
        out[benchmark] = [float(value) for value in passed]
    return out


def _level(method: str, p: float, lambda_: float, epsilon: float) -> float:
    """A made-up response surface: best at lambda 1, falling for large p, less so for wide windows."""
    gain = {"ta_elect": -0.03, "ties": 0.01}.get(method, 0.0)
    return 0.72 + gain - 0.25 * (lambda_ - 1.0) ** 2 - (0.35 - 0.5 * epsilon) * p**4


def _runs(merge, method, split, seeds, scale, family_seed=0, **options) -> list[dict]:
    benchmarks = [EXPERT_BENCHMARK[name] for name in merge]
    p, epsilon = options.get("drop_rate", 0.0), options.get("epsilon", 0.14 if method == "della" else 0.0)
    level = _level(method, p, options.get("lambda_", 1.0), epsilon) - 0.04 * (options.get("rank_by") == "random")
    out = []
    for seed in seeds:
        scores = _scores(f"{merge} {method} {split} {seed} {family_seed} {options}", benchmarks, level, scale)
        out.append(record(merge, method, scores, seed=seed, split=split, family_seed=family_seed, **options))
    return out


def main_table_records(
    scale: int = 1, lambdas=(0.5, 1.0, 1.5), rates=(0.3, 0.7, 0.9), choose_on=("dev",)
) -> list[dict]:
    """A whole main table: every method's grid on dev (and on test, as choose_on says), its best point on test, and what
    is not merged."""
    out = []
    for merge in MERGES:
        for method in ("ta_elect", "dare_elect", "ties", "della", "task_arithmetic", "average", "dare", "dare_ties"):
            drops = method not in ("ta_elect", "task_arithmetic", "average")
            random = drops and method != "ties"
            grid = [{"drop_rate": p, "lambda_": x} for p in rates for x in lambdas] if drops else []
            grid = grid or ([{}] if method == "average" else [{"lambda_": x} for x in lambdas])
            first = [0 if random else None]
            for split in choose_on:
                tried = []
                for point in grid:
                    described = describe(make_method(method, **point))
                    # As the final run of that point has them: the same run, the same scores.
                    options = point if split == "dev" else {k: v for k, v in described.items() if k != "name"}
                    tried += _runs(merge, method, split, first, scale, **options)
                out += tried
                best = max(tried, key=lambda run: np.mean([block["mean"] for block in run["scores"].values()]))
                options = {name: value for name, value in best["config"]["method"].items() if name != "name"}
                out += _runs(merge, method, "test", [1, 2, 3, 4, 5] if random else [None], scale, **options)
    out = list({run["identity"]: run for run in out}.values())
    return out + unmerged_records(scale)


def unmerged_records(scale: int = 1, family_seeds=(0,)) -> list[dict]:
    """The base and the experts on every benchmark."""
    out = []
    for family_seed in family_seeds:
        for merge in ([], ["lm"], ["math"], ["code"]):
            scores = {}
            for expert, benchmark in EXPERT_BENCHMARK.items():
                level = 0.95 if merge == [expert] else 0.2
                scores |= _scores(f"{merge} {family_seed}", [benchmark], level, scale)
            out.append(record(merge, "unmerged", scores, family_seed=family_seed))
    return out


def pruning_records(scale: int = 1, rates=(0.1, 0.5, 0.9), family_seeds=(0, 1, 2), seeds=(1, 2)) -> list[dict]:
    """Single experts pruned in four ways over drop rates."""
    out = unmerged_records(scale, family_seeds)
    ways = ({"method": "dare"}, {"method": "della"})
    ways += ({"method": "della", "rank_over": "tensor"}, {"method": "della", "rank_by": "random"})
    for family_seed in family_seeds:
        for expert in EXPERT_BENCHMARK:
            for way in ways:
                for p in rates:
                    point = way | {"drop_rate": p, "family_seed": family_seed}
                    out += _runs((expert,), split="test", seeds=seeds, scale=scale, **point)
    return out


def epsilon_records(scale: int = 1, family_seeds=(0, 1)) -> list[dict]:
    """DELLA by epsilon at two drop rates, for a merge and a single expert."""
    out = []
    for merge in (("code", "lm", "math"), ("math",)):
        for p, widths in ((0.5, (0.0, 0.2, 0.4, 0.8)), (0.9, (0.0, 0.1, 0.18))):
            for epsilon in widths:
                for f in family_seeds:
                    options = {"drop_rate": p, "epsilon": epsilon, "lambda_": 1.0}
                    out += _runs(merge, "della", "test", [1, 2, 3], scale, family_seed=f, **options)
    return out


def seeds_records(scale: int = 1) -> list[dict]:
    """One point per method over mask seeds and training seeds."""
    out = []
    for family_seed in (0, 1, 2):
        for method in ("dare_elect", "della"):
            for p in (0.5, 0.9):
                options = {"drop_rate": p, "lambda_": 1.0}
                out += _runs(MERGES[3], method, "test", range(1, 7), scale, family_seed=family_seed, **options)
        out += _runs(MERGES[3], "ta_elect", "test", [None], scale, family_seed=family_seed, lambda_=1.0)
    return out
