"""Wall-clock time of a sweep's runs on a number of workers: a free one takes a run, stage by stage."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Clock:
    """wall: seconds until the last run is done; busy: seconds of all workers together, starts included; starts: how
    often an engine is opened; idle: what workers wait for each other at the ends of stages."""

    wall: float
    busy: float
    starts: int
    idle: float


def schedule(stages: Sequence[Sequence[tuple[int | None, float]]], workers: int, start: float, switch: float) -> Clock:
    """What `workers` take for runs given as (family, seconds), in the sweep's order.

    Worker k of n takes the run that stands k/n into those that are left, as in scripts/sweep.py: so it seldom has to
    open the engine for another family.

    start: seconds before a worker's first run; switch: before its first run of a further family. A stage begins when
    the one before is done. A worker without a run is never started.
    """
    free = [(0.0, number) for number in range(workers)]
    family: dict[int, int | None] = {}
    busy, starts, begin = 0.0, 0, 0.0
    for runs in stages:
        heapq.heapify(free)
        left = list(runs)
        while left:
            at, worker = heapq.heappop(free)
            of, seconds = left.pop(len(left) * worker // workers)
            same = worker in family and family[worker] == of
            opening = 0.0 if same else (switch if worker in family else start)
            starts += not same
            family[worker] = of
            busy += opening + seconds
            heapq.heappush(free, (max(at, begin) + opening + seconds, worker))
        begin = max((at for at, _ in free), default=0.0)
    return Clock(begin, busy, starts, begin * len(family) - busy)
