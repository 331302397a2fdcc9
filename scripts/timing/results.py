"""Medians over rounds, and ratios of two tools round by round."""

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from scripts.timing.log import Measurement

Value = Callable[[Measurement], float]


def wall(measurement: Measurement) -> float:
    """Seconds of the whole process."""
    return measurement.seconds


def peak(measurement: Measurement) -> float:
    """Bytes of private memory."""
    return float(measurement.peak)


def inner(name: str) -> Value:
    """Seconds by the command's own clock."""
    return lambda measurement: measurement.inner[name]


@dataclass(frozen=True)
class Ratio:
    """Of two values in the same rounds."""

    median: float
    low: float
    high: float
    rounds: int


class Results:
    """What was measured, looked up by what was measured: a Job, or an EngineJob."""

    def __init__(self, measurements: Iterable[Measurement]):
        self.of = {measurement.job: measurement for measurement in measurements}

    def sizes(self, experts: int) -> list[float]:
        """Sizes of which some merge of so many experts was measured, ascending."""
        return sorted({job.size for job in self.of if job.experts == experts and job.tool != "floor"})

    def counts(self, size: float) -> list[int]:
        """Numbers of experts that some merge of this size was measured with, ascending."""
        return sorted({job.experts for job in self.of if job.size == size and job.tool != "floor"})

    def cases(self, size: float, experts: int, tool: str) -> list[str]:
        """In the order they were measured."""
        found = (job for job in self.of if (job.size, job.experts, job.tool) == (size, experts, tool))
        return list(dict.fromkeys(job.case for job in found if job.round))

    def rounds(self, job: Any, value: Value) -> dict[int, float]:
        """Round -> value, of the same job in all its measured rounds."""
        found = (replace(job, round=number) for number in range(1, 1 + max((j.round for j in self.of), default=0)))
        return {one.round: value(self.of[one]) for one in found if one in self.of}

    def median(self, job: Any, value: Value = wall) -> float | None:
        """Over the rounds; None where there is none."""
        values = self.rounds(job, value).values()
        return statistics.median(values) if values else None

    def ratio(
        self, top: Any, bottom: Any, of: Value = wall, to: Value | None = None, less: float = 0.0
    ) -> Ratio | None:
        """(top - less) / bottom in each round that both have; None where there is none."""
        above, below = self.rounds(top, of), self.rounds(bottom, to or of)
        ratios = [(above[number] - less) / below[number] for number in above.keys() & below.keys()]
        return Ratio(statistics.median(ratios), min(ratios), max(ratios), len(ratios)) if ratios else None
