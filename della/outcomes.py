"""What the records of runs say, as arrays: the accessor that selection, tables and figures share.

A record is the JSON of one run (`della.record`); here it becomes a `Run` with one float per prompt.
Names and order of merges and benchmarks are those of DELLA's Table 1 (arXiv 2406.11617v1).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from della.errors import InputError
from della.files import canonical
from della.methods import undescribed

BENCHMARKS = ("alpaca_eval", "gsm8k", "mbpp")
BENCHMARK_LABELS = {
    "alpaca_eval": "AlpacaEval",
    "gsm8k": "GSM8K",
    "mbpp": "MBPP",
    "humaneval": "HumanEval",
    "avg": "Avg",
}
EXPERT_BENCHMARK = {"lm": "alpaca_eval", "math": "gsm8k", "code": "mbpp"}
EXPERT_LABELS = {"lm": "LM", "math": "Math", "code": "Code"}
MERGES: tuple[tuple[str, ...], ...] = (("lm", "math"), ("code", "lm"), ("code", "math"), ("code", "lm", "math"))
FRAME = ("ta_elect", "dare_elect", "ties", "della")
PLAIN = ("average", "task_arithmetic", "dare", "dare_ties")
METHOD_LABELS = {
    "ta_elect": "TA",
    "dare_elect": "DARE",
    "ties": "TIES",
    "della": "DELLA",
    "average": "average",
    "task_arithmetic": "task arithmetic",
    "dare": "DARE, plain sum",
    "dare_ties": "DARE-TIES, sum",
}
UNMERGED = "unmerged"

Point = tuple[tuple[str, ...], str, tuple[tuple[str, object], ...]]


@dataclass(frozen=True, eq=False)
class Run:
    """One successful run.

    scores: benchmark -> float64[n], the main metric of each prompt in [0, 1]; nan where the judge gave no verdict.
    options: as the record has them, sorted.
    groups: benchmark -> str[n], the group of each prompt ("seen", "held_out").
    prompts_of: benchmark -> a name of its set of prompts; equal names mean the same prompts in the same order.
    metrics: the main metrics that are not a benchmark's usual one, as "gsm8k judged"; empty where all are usual.
    """

    family: str
    family_seed: int | None
    merge: tuple[str, ...]
    method: str
    options: tuple[tuple[str, object], ...]
    seed: int | None
    split: str
    limit: int | None
    engine: str
    judge: str
    prompts: str
    scores: dict[str, np.ndarray] = field(repr=False)
    groups: dict[str, np.ndarray] = field(repr=False)
    prompts_of: dict[str, str] = field(repr=False)
    metrics: str = ""

    @property
    def point(self) -> Point:
        """What was merged and how: everything but the family, the seed and the prompts."""
        return self.merge, self.method, self.options

    def option(self, name: str, default: object = None) -> object:
        """The value of a method's option, or `default` where the method has none of that name."""
        return self.every_option.get(name, default)

    @property
    def every_option(self) -> dict[str, object]:
        """The options with those that a record leaves out at their defaults."""
        return {**undescribed(self.method), **dict(self.options)}

    def only(self, group: str) -> "Run":
        """The same run on the prompts of one group alone."""
        scores, prompts = {}, {}
        for name, values in self.scores.items():
            if (chosen := self.groups[name] == group).any():
                scores[name], prompts[name] = values[chosen], f"{self.prompts_of[name]}/{group}"
        return replace(self, scores=scores, prompts_of=prompts)


def merge_label(merge: Sequence[str]) -> str:
    """`LM+Math+Code`, in the paper's order; names that the paper does not have come last, as they are."""
    order = list(EXPERT_LABELS)
    known = sorted((name for name in merge if name in order), key=order.index)
    return "+".join([EXPERT_LABELS[name] for name in known] + sorted(set(merge) - set(known))) or "base"


def merge_order(merge: Sequence[str]) -> tuple:
    """A sort key: the base, single experts, then merges, each in the paper's order."""
    order = list(EXPERT_LABELS)
    return len(merge), sorted(order.index(name) if name in order else len(order) for name in merge), tuple(merge)


def benchmarks_of(merge: Sequence[str], scored: Iterable[str] = ()) -> tuple[str, ...]:
    """The benchmarks of a merge: those of its experts; all that were scored where an expert has none."""
    if merge and all(name in EXPERT_BENCHMARK for name in merge):
        own = {EXPERT_BENCHMARK[name] for name in merge}
    else:
        own = set(scored)
    return tuple(name for name in BENCHMARKS if name in own) + tuple(sorted(own - set(BENCHMARKS)))


def _scores(record: Mapping, benchmark: str) -> np.ndarray:
    block = record["scores"][benchmark]
    values = block["metrics"][block["metric"]]
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


def point_options(config: Mapping) -> tuple[tuple[str, object], ...]:
    """The options of a record's config as a `Run` has them; the weights and rules of a search, which tell two merges
    apart as options do, are among them as text."""
    options = {name: value for name, value in config["method"].items() if name != "name"}
    options |= {key: canonical(config[key]) for key in ("weights", "overrides") if key in config}
    return tuple(sorted(options.items()))


def _run(record: Mapping) -> Run:
    config, data = record["config"], record["inputs"]["data"]
    scores = {benchmark: _scores(record, benchmark) for benchmark in sorted(record["scores"])}
    scores = {benchmark: values for benchmark, values in scores.items() if not np.isnan(values).all()}
    groups = {}
    for benchmark in scores:
        groups[benchmark] = np.array(record["scores"][benchmark]["groups"], dtype=str)
    split, engine, unusual = config["split"], config["engine"], "metrics" in config
    return Run(
        family=config["family"],
        family_seed=config["family_seed"],
        merge=tuple(sorted(config["merge"])),
        method=config["method"]["name"],
        options=point_options(config),
        seed=config["seed"],
        split=split,
        limit=config["limit"],
        engine=" ".join(str(engine[key]) for key in ("name", "dtype") if engine.get(key)),
        judge=config["judge"],
        prompts=config["prompts"],
        scores=scores,
        groups=groups,
        prompts_of={b: f"{b} {data[b]} {split} n={len(values)}" for b, values in scores.items()},
        metrics=", ".join(f"{b} {metric}" for b, metric in sorted(config["metrics"].items())) if unusual else "",
    )


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and bool(np.array_equal(one, other, equal_nan=True))


def _joined(runs: Sequence[Run]) -> Run:
    """The records of one run, benchmarks of different sweeps side by side; they must agree where they overlap."""
    first = runs[0]
    scores, groups, prompts = dict(first.scores), dict(first.groups), dict(first.prompts_of)
    for run in runs[1:]:
        for benchmark in set(scores) & set(run.scores):
            if not _same(scores[benchmark], run.scores[benchmark]) or prompts[benchmark] != run.prompts_of[benchmark]:
                what = f"{first.family} {first.family_seed} {merge_label(first.merge)} {first.method} seed {first.seed}"
                raise InputError(f"two records of {what} disagree on {benchmark}: move the older one out of the folder")
        scores |= run.scores
        groups |= run.groups
        prompts |= run.prompts_of
    return replace(first, scores=scores, groups=groups, prompts_of=prompts)


def read_runs(records: Iterable[Mapping]) -> list[Run]:
    """The successful runs among records, one each, in an order that does not depend on the records' order.

    Raises InputError where two records of the same run (same merge, method, seed, prompts) have different scores.
    """
    done = [record for record in records if record["status"] == "done"]
    done.sort(key=lambda record: (canonical(record["config"]), record["identity"]))
    same: dict[tuple, list[Run]] = {}
    for run in map(_run, done):
        where = (run.family, run.engine, run.judge, run.prompts, run.split, run.limit)
        same.setdefault((where, run.family_seed, run.point, run.seed), []).append(run)
    return [_joined(runs) for runs in same.values()]


def widest(runs: Sequence[Run]) -> list[Run]:
    """The runs over most prompts: those with the largest `limit` of each split (None, all prompts, is the largest)."""
    reach = {run.split: 0.0 for run in runs}
    for run in runs:
        reach[run.split] = max(reach[run.split], math.inf if run.limit is None else run.limit)
    return [run for run in runs if (math.inf if run.limit is None else run.limit) == reach[run.split]]
