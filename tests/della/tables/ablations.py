"""Made-up records of the paper's other comparisons, for the tests of their tables and figures."""

from collections.abc import Mapping, Sequence

from della.outcomes import EXPERT_BENCHMARK, FRAME, MERGES
from tests.della.synthetic import record


def right(count: int, of: int = 100) -> list[float]:
    return [1.0] * count + [0.0] * (of - count)


def run(merge: Sequence[str], method: str, count: int, **options) -> dict:
    """A run that is right on the first `count` of 100 prompts of every benchmark of its merge."""
    return record(merge, method, {EXPERT_BENCHMARK[name]: right(count) for name in merge}, **options)


def merged(method: str, count: int, merges: Sequence[Sequence[str]] = MERGES, **options) -> list[dict]:
    return [run(merge, method, count, **options) for merge in merges]


def searched(method: str, dev: Mapping[float, int], test: int, merges=MERGES, seed: int | None = 1, **options) -> list:
    """Runs of each lambda on development prompts (mask seed 0), and the best on test prompts."""
    best = max(dev, key=lambda lambda_: dev[lambda_])
    first = None if seed is None else 0
    tried = [merged(method, n, merges, seed=first, split="dev", lambda_=x, **options) for x, n in dev.items()]
    return [r for found in tried for r in found] + merged(method, test, merges, seed=seed, lambda_=best, **options)


def no_elect(levels: Mapping[str, tuple[int, int]], merges=MERGES) -> list[dict]:
    """Each method's score with and without Elect; lambda 1.5 is chosen of 1, 1.5 and 2."""
    out: list[dict] = []
    for method, counts in levels.items():
        more = {} if method == "ta_elect" else {"drop_rate": 0.5}
        seed = None if method in ("ta_elect", "ties") else 1
        for elect, count in zip((True, False), counts, strict=True):
            out += searched(method, {1.0: 40, 1.5: 45, 2.0: 30}, count, merges, seed, elect=elect, **more)
    return out


def rescaled_expert(with_: Mapping[float, int], without: Mapping[float, int], methods=("dare", "della")) -> list[dict]:
    """The Math expert pruned, by drop rate; and not pruned, right on 95 of 100."""
    out = [run(["math"], "unmerged", 95)]
    for method in methods:
        for rescale, counts in (("per_parameter", with_), ("none", without)):
            out += [run(["math"], method, n, seed=1, drop_rate=p, rescale=rescale) for p, n in counts.items()]
    return out


def rank_over(row: Mapping[float, int], tensor: Mapping[float, int], merges=MERGES) -> list[dict]:
    """DELLA by drop rate with ranks over rows and over tensors, two mask seeds."""
    out: list[dict] = []
    for over, counts in (("row", row), ("tensor", tensor)):
        for p, count in counts.items():
            for seed in (1, 2):
                out += merged("della", count, merges, seed=seed, drop_rate=p, rank_over=over)
    return out


def adaptive(constant: int, adaptive: int, merges=MERGES) -> list[dict]:
    """Three methods with lambda 1 of 0.5, 1 and 2, and with an adaptive one."""
    out: list[dict] = []
    for method in ("dare_elect", "ties", "della"):
        seed = None if method == "ties" else 1
        out += searched(method, {0.5: 40, 1.0: 45, 2.0: 30}, constant, merges, seed, drop_rate=0.5)
        out += searched(method, {1.0: 45}, adaptive, merges, seed, drop_rate=0.5, lambda_by="adaptive")
    return out


def by_lambda(levels: Mapping[float, int], methods: Sequence[str] = FRAME) -> list[dict]:
    """Math+Code by lambda on test prompts."""
    out: list[dict] = []
    for method in methods:
        more: dict = {} if method == "ta_elect" else {"drop_rate": 0.5}
        more["seed"] = None if method in ("ta_elect", "ties") else 1
        out += [run(["math", "code"], method, n, lambda_=x, **more) for x, n in levels.items()]
    return out


def by_drop_rate(levels: Mapping[float, int], merges=MERGES) -> list[dict]:
    """DELLA merges by drop rate on test prompts."""
    return [r for p, n in levels.items() for r in merged("della", n, merges, seed=1, drop_rate=p)]


def rescaled_merge(levels: Mapping[str, int]) -> list[dict]:
    """Math+Code at one drop rate by rescale."""
    out: list[dict] = []
    for method in ("dare_elect", "della"):
        out += [run(["math", "code"], method, n, seed=1, drop_rate=0.5, rescale=way) for way, n in levels.items()]
    return out


def wanda(levels: Mapping[str, int], merges=MERGES) -> list[dict]:
    """The five variants of Table 5, by key; lambda 1.5 is chosen of 1 and 1.5 and 2."""
    options: dict[str, dict] = {
        "wanda top": {"method": "ties", "rank_by": "wanda", "trim_over": "row", "seed": None},
        "wanda": {"method": "della", "rank_by": "wanda"},
        "della": {"method": "della"},
        "top": {"method": "ties", "trim_over": "row", "seed": None},
        "proportional": {"method": "della", "rank_by": "proportional"},
    }
    out: list[dict] = []
    for key, count in levels.items():
        out += searched(dev={1.0: 40, 1.5: 45, 2.0: 30}, test=count, merges=merges, drop_rate=0.5, **options[key])
    return out
