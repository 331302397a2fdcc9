"""The time model of a family that has records: a run's seconds as the sum of parts that were measured.

    run = other + merge + swap + sum over benchmarks of (generate + score)
    generate, score = fixed + each * prompts     a line through the measured runs; a ratio where all are of one size

`provenance.parts` of a record holds its parts (scripts/session.py), `before` what lay between it and the worker's last
run. A worker's first run also starts it: what that run took beyond an ordinary one, and the time from the start of its
process (`boot`), is the worker's start.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from scripts.planning.counts import Run

Record = Mapping[str, Any]
STEPS = ("generate", "score")


@dataclass(frozen=True)
class Line:
    """seconds = fixed + each * prompts, neither below 0."""

    fixed: float
    each: float

    def at(self, prompts: float) -> float:
        return self.fixed + self.each * prompts


def fit_line(points: Sequence[tuple[float, float]]) -> Line:
    """Least squares through (prompts, seconds); without a fixed part where the numbers of prompts don't tell it."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    ratio = Line(0.0, sum(ys) / sum(xs) if sum(xs) else 0.0)
    if len(set(xs)) < 2:
        return ratio
    each, fixed = statistics.linear_regression(xs, ys)
    if fixed < 0:
        return ratio
    return Line(fixed, each) if each > 0 else Line(statistics.fmean(ys), 0.0)


def process_of(record: Record) -> tuple:
    """The process that made a record."""
    facts = record["provenance"]
    return facts.get("host"), facts.get("pid"), facts.get("invocation")


def begun(record: Record) -> float:
    """When a run began, seconds since 1970 (records keep whole seconds)."""
    return datetime.fromisoformat(record["provenance"]["started"]).timestamp()


def ended(record: Record) -> float:
    return begun(record) + record["provenance"]["seconds"]


def usable(record: Record) -> bool:
    """Whether a record is of a run that was done and says what its parts took."""
    return record["status"] == "done" and bool(record["provenance"].get("parts"))


def size_of(record: Record) -> dict[str, int]:
    """Prompts of each benchmark of a record."""
    return {name: len(block["ids"]) for name, block in record["scores"].items()}


class Pace:
    """Measured parts, and the seconds that they give for runs to come.

    records: usable ones of one family and engine, at least one.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        self.records = sorted(records, key=begun)
        firsts = first_runs(self.records)
        later = [record for record in self.records if record["identity"] not in firsts]
        ordinary = later or self.records
        self.merges = _grouped(ordinary)
        self.swap = statistics.fmean(record["provenance"]["parts"]["swap"] for record in ordinary)
        timed = _timed(self.records) | _timed(ordinary)  # what only first runs were evaluated on is told by these
        self.lines = {key: fit_line(points) for key, points in timed.items()}
        self.other = statistics.fmean(_other(record) for record in later) if later else 0.0
        pauses = [r["provenance"]["parts"]["before"] for r in self.records if "before" in r["provenance"]["parts"]]
        self.gap = statistics.median(pauses) if pauses else 0.0
        self.spread = self._spread(later)
        self.start, self.switch = self._starts(firsts)

    def _spread(self, later: Sequence[Record]) -> tuple[float, int]:
        """Standard deviation of runs around the model, seconds, and how many runs tell it."""
        left = [r["provenance"]["seconds"] - self.seconds(*_described(r)) for r in later]
        if len(left) < 2:
            return (statistics.fmean(r["provenance"]["seconds"] for r in self.records), 1)
        return statistics.stdev(left), len(left)

    def _starts(self, firsts: Mapping[str, bool]) -> tuple[float, float]:
        """Seconds before a process's first run, and before its first run of a further family."""
        extra: dict[bool, list[float]] = defaultdict(list)
        boots = [record["provenance"]["parts"].get("boot") for record in self.records]
        for record in self.records:
            if record["identity"] in firsts:
                beyond = max(0.0, record["provenance"]["seconds"] - self.seconds(*_described(record)))
                extra[firsts[record["identity"]]].append(beyond)
        every = [seconds for found in extra.values() for seconds in found]
        boot = [seconds for seconds in boots if seconds is not None]
        open_first = statistics.fmean(extra[True] or every or [0.0])
        switch = statistics.fmean(extra[False] or [open_first])
        return open_first + (statistics.fmean(boot) if boot else 0.0), switch

    def missing(self, runs: Iterable[Run]) -> list[str]:
        """Benchmarks of runs that no record measured."""
        return sorted({name for run in runs for name in run.prompts if (name, "generate") not in self.lines})

    def parts(self, method: str, experts: int, prompts: Mapping[str, int]) -> dict[str, float]:
        """Seconds of each part of a run, and of the pause before the next one."""
        out = {"merge": self.merge(method, experts), "swap": self.swap, "other": self.other + self.gap}
        for step in STEPS:
            out[step] = sum(self.lines[name, step].at(count) for name, count in prompts.items() if count)
        return out

    def seconds(self, method: str, experts: int, prompts: Mapping[str, int]) -> float:
        """Of a run, as `provenance.seconds` counts it: without the pause."""
        return sum(self.parts(method, experts, prompts).values()) - self.gap

    def merge(self, method: str, experts: int) -> float:
        """Mean seconds of such merges; of other numbers of experts by the same method, else of all merges."""
        for found in (
            self.merges.get((method, experts)),
            [s for (name, _), values in self.merges.items() if name == method for s in values],
            [s for values in self.merges.values() for s in values],
        ):
            if found:
                return statistics.fmean(found)
        return 0.0

    def half_width(self, runs: int) -> float:
        """Half of the 95 % interval of the summed seconds of so many further runs.

        From the spread of single runs: of the new ones, and of the mean that the measured ones give. What is common to
        all further runs and new to the model (a busier machine, longer answers) is not in it.
        """
        from scipy import stats

        deviation, known = self.spread
        quantile = float(stats.t.ppf(0.975, max(known - 1, 1)))
        return quantile * deviation * math.sqrt(runs + runs**2 / known)


def first_runs(records: Sequence[Record]) -> dict[str, bool]:
    """Identities of the runs that opened an engine: True, the first of their process; False, of a further family."""
    seen: dict[tuple, set] = defaultdict(set)
    out = {}
    for record in sorted(records, key=begun):
        process, family = process_of(record), record["config"]["family_seed"]
        alone = "boot" in record["provenance"].get("parts", {})
        if alone or (seen[process] and family not in seen[process]):
            out[record["identity"]] = alone
        seen[process].add(family)
    return out


def _described(record: Record) -> tuple[str, int, dict[str, int]]:
    return record["config"]["method"]["name"], len(record["config"]["merge"]), size_of(record)


def _grouped(records: Iterable[Record]) -> dict[tuple[str, int], list[float]]:
    out: dict[tuple[str, int], list[float]] = defaultdict(list)
    for record in records:
        method, experts, _ = _described(record)
        out[method, experts].append(record["provenance"]["parts"]["merge"])
    return dict(out)


def _timed(records: Iterable[Record]) -> dict[tuple[str, str], list[tuple[float, float]]]:
    out: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for record in records:
        for name, count in size_of(record).items():
            for step in STEPS:
                out[name, step].append((count, record["provenance"]["parts"][name][step]))
    return dict(out)


def _other(record: Record) -> float:
    parts = record["provenance"]["parts"]
    inside = sum(parts[name] for name in ("merge", "swap")) + parts.get("engine", 0.0)
    inside += sum(parts[name][step] for name in size_of(record) for step in STEPS)
    return max(0.0, record["provenance"]["seconds"] - inside)
