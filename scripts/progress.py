"""How far a sweep is: each of its runs done, running, failed or pending, who works on it, and the time that is left.

found = Survey(config)       # opens the family's files, reads hashes; trains nothing, imports no torch
found.look()                 # a Progress: reads records, claims and, where there is one, Slurm's queue
"""

import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from della.checkpoint import Checkpoint
from della.claim import Holder, holders
from della.errors import InputError
from della.lora import open_expert
from della.record import find_record
from della.slurm import cluster, jobs_of
from della.tiny.recipe import EXPERTS, RECIPES, family_folder
from scripts.family import Family, open_family
from scripts.points import Point, combinations, family_seeds, first_stage, second_stage
from scripts.schema import Experts, RunConfig
from scripts.session import Session
from scripts.slurm.submissions import Submission, submissions


@dataclass(frozen=True)
class Run:
    """One run of a sweep. holder: who works on it; reason: why it failed."""

    identity: str
    label: str
    holder: Holder | None = None
    reason: str | None = None


@dataclass(frozen=True)
class StageProgress:
    """One stage: how many runs it has, how many are done and pending, those that run and that failed.

    seconds: the median of its done runs, None if there are none. known: False while its runs have yet to be chosen.
    """

    name: str
    runs: int
    done: int
    pending: int
    running: list[Run]
    failed: list[Run]
    seconds: float | None
    known: bool = True


@dataclass(frozen=True)
class Jobs:
    """Jobs of one submission: how many in each state of Slurm's; None where its cluster cannot be asked from here."""

    submission: Submission
    states: dict[str, int] | None


@dataclass(frozen=True)
class Progress:
    """A sweep. workers: processes that hold a run or are running jobs; left: seconds, None where it cannot be told."""

    sweep: str
    experts: str
    stages: list[StageProgress]
    jobs: list[Jobs]
    workers: int
    left: float | None

    def count(self, what: str) -> int:
        """runs, done, pending, running or failed, over both stages."""
        values = (getattr(stage, what) for stage in self.stages)
        return sum(value if isinstance(value, int) else len(value) for value in values)

    @property
    def failed(self) -> list[Run]:
        return [run for stage in self.stages for run in stage.failed]


def look_up(config: RunConfig) -> Session:
    """A session whose families are there.

    Raises InputError for a family that has yet to be made or fetched: nothing is trained here.
    """
    session = Session(config)
    for seed in family_seeds(config):
        session.families[seed] = _family(config.experts, seed, Path(config.paths.work))
    return session


def _family(experts: Experts, seed: int, work: Path) -> Family:
    if experts.recipe not in RECIPES:
        return open_family(experts, seed, work, checked=False)
    folder = family_folder(work / "experts", seed, RECIPES[experts.recipe])
    if not all((folder / stage).is_dir() for stage in ("base", *EXPERTS, "data")):
        raise InputError(
            f"{folder}: this family (seed {seed}) is not made yet; run `python -m scripts.experts "
            f"experts={experts.family} seeds=[{seed}]` first"
        )
    base = Checkpoint(folder / "base")
    models = {name: open_expert(folder / name, base) for name in sorted(EXPERTS)}
    return Family(experts.family, seed, base, models, str(folder / "data"))


class Survey:
    """A sweep that is looked at, once or again and again; what is done is read once."""

    def __init__(self, config: RunConfig) -> None:
        if not config.sweep.name:
            raise InputError("no sweep to look at: write sweep=NAME")
        self.config = config
        self.session = look_up(config)
        self.records = Path(config.paths.work) / "records"
        self.first = self._named(first_stage(config))
        self.second: dict[str, Point] | None = None
        self._done: dict[str, dict[str, Any]] = {}

    def look(self) -> Progress:
        """How far it is now. Claims are read last: reading many records takes longer than a short run."""
        for identity in {**self.first, **(self.second or {})}:
            self._record(identity)
        held = {name: holder for name, holder in holders(self.records / "claims").items() if not holder.stale}
        failed: dict[str, dict[str, Any]] = {}
        chooses = any(grid.choose for grid in self.config.sweep.grids.values())
        first = self._stage("choosing and running" if chooses else "running", self.first, held, failed)
        stages = [first]
        if chooses:
            if not first.pending and not first.running:
                chosen = [record for name in self.first if (record := self._done.get(name) or failed.get(name))]
                self.second = self._named(second_stage(self.config, chosen))
            stages.append(self._second(held, failed))
        jobs = self._jobs()
        workers = len({(run.holder.host, run.holder.pid) for s in stages for run in s.running if run.holder})
        workers = max(workers, sum((found.states or {}).get("RUNNING", 0) for found in jobs))
        sweep, experts = self.config.sweep.name, self.config.experts.family
        return Progress(sweep, experts, stages, jobs, workers, time_left(stages, workers))

    def _second(self, held: dict[str, Holder], failed: dict[str, dict[str, Any]]) -> StageProgress:
        name = "chosen points on the test split"
        if self.second is None:
            count = final_runs(self.config)
            return StageProgress(name, count, 0, count, [], [], None, known=False)
        both = {identity: point for identity, point in self.second.items() if identity not in self.first}
        return self._stage(name, both, held, failed)

    def _stage(
        self, name: str, points: dict[str, Point], held: dict[str, Holder], failed: dict[str, dict[str, Any]]
    ) -> StageProgress:
        running, broken, done, seconds = [], [], 0, []
        for identity, point in points.items():
            record = self._record(identity)
            if record and record["status"] == "done":
                done += 1
                seconds.append(record["provenance"].get("seconds") or 0.0)
            elif identity in held:
                running.append(Run(identity, point.label, held[identity]))
            elif record:
                failed[identity] = record
                broken.append(Run(identity, point.label, reason=record["error"]))
        pending = len(points) - done - len(running) - len(broken)
        median = statistics.median(seconds) if seconds else None
        return StageProgress(name, len(points), done, pending, running, broken, median)

    def _record(self, identity: str) -> dict[str, Any] | None:
        record = self._done.get(identity) or find_record(self.records, identity)
        if record and record["status"] == "done":
            self._done[identity] = record
        return record

    def _named(self, points: Iterable[Point]) -> dict[str, Point]:
        return {self.session.identity(point): point for point in points}

    def _jobs(self) -> list[Jobs]:
        """Jobs that were submitted for this sweep; those that Slurm has forgotten are left out."""
        wanted = (self.config.sweep.name, self.config.experts.family, self.config.select)
        found = []
        for submission in submissions(Path(self.config.paths.work)):
            if (submission.sweep, submission.experts, submission.select) != wanted:
                continue
            listed = jobs_of([submission.job]) if submission.cluster and submission.cluster == cluster() else None
            states: dict[str, int] = {}
            for state, _ in (listed or {}).values():
                states[state] = states.get(state, 0) + 1
            if listed is None or states:
                found.append(Jobs(submission, None if listed is None else states))
        return found


def final_runs(config: RunConfig) -> int:
    """How many runs the second stage will have: one point of each family, merge and method, with its mask seeds."""
    families = len(family_seeds(config))
    count = 0
    for grid in (grid for grid in config.sweep.grids.values() if grid.choose):
        random = any(options.is_random for options in combinations(grid))
        count += families * len(grid.merge) * (len(config.sweep.seeds) if random else 1)
    return count


def time_left(stages: list[StageProgress], workers: int) -> float | None:
    """Seconds: the median of the runs so far, for each run that is pending, and what the running ones still need of it.

    Shared by the workers that are there now. A stage without a done run is reckoned with another stage's median. None
    without workers or without a done run; 0.0 when all is done.
    """
    measured = [stage.seconds for stage in stages if stage.seconds is not None]
    work, now = 0.0, time.time()
    for stage in stages:
        if not stage.pending and not stage.running:
            continue
        if not workers or not measured:
            return None
        seconds = stage.seconds if stage.seconds is not None else measured[0]
        work += seconds * stage.pending
        work += sum(max(0.0, seconds - (now - (run.holder.since or now))) for run in stage.running if run.holder)
    return work / workers if workers else 0.0
