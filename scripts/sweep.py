"""A sweep, as each of its workers runs it: take unclaimed points until none is left, stage after stage.

All workers run this same loop over the same list of points; claims keep a point from being run twice, records from
being run again, and a point that failed is tried again by the next invocation only. Worker 0 also shows the progress,
mirrors the records to W&B and says at the end what was run; where workers are jobs of a cluster, each does, for any of
them may be gone. A worker ends when every point has a record, not before: it takes over what another one leaves behind.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from della.claim import claim
from della.experts import check_family
from della.record import find_done, find_record, write_record
from della.tracking import Tracker
from scripts.data import check_choosing
from scripts.door import INVOCATION, RunsFailed
from scripts.points import Point, first_stage, ignored, second_stage
from scripts.schema import RunConfig
from scripts.session import Session
from scripts.shift import Shift

POLL_SECONDS = 0.2
JOB_POLL_SECONDS = 2.0  # many jobs look at one file server
DRAIN_SECONDS = 60.0  # what W&B's mirror may still need after the last run; the rest waits for the next invocation


class Stage:
    """The points of one stage, each with its identity, and what is known of its record."""

    def __init__(self, session: Session, points: list[Point], folder: Path) -> None:
        self.folder = folder
        self.points = {session.identity(point): point for point in points}
        self.finished: dict[str, dict[str, Any]] = {}
        self._failed_before: dict[str, int] = {}

    def refresh(self) -> None:
        """Takes in the records that appeared: done ones, and those that failed in this invocation."""
        there = set(os.listdir(self.folder)) if self.folder.is_dir() else set()
        for identity in (name for name in self.open if f"{name}.json" in there):
            written = (self.folder / f"{identity}.json").stat().st_mtime_ns
            if self._failed_before.get(identity) == written:
                continue
            record = find_record(self.folder, identity)
            if record and counts(record):
                self.finished[identity] = record
            else:
                self._failed_before[identity] = written

    @property
    def longest(self) -> float:
        """Seconds of the longest run of this stage that is known."""
        return max((record["provenance"].get("seconds") or 0.0 for record in self.finished.values()), default=0.0)

    @property
    def open(self) -> list[str]:
        """Identities without a record yet, in the sweep's order."""
        return [identity for identity in self.points if identity not in self.finished]


def invocation() -> str:
    """The name of this command's execution, the same in all its workers."""
    return os.environ[INVOCATION]


def counts(record: dict[str, Any]) -> bool:
    """Whether a record settles its point: done, or failed in this invocation."""
    return record["status"] == "done" or record["provenance"].get("invocation") == invocation()


def die_with_parent() -> None:
    """A worker stops at once when the command that started it is killed, instead of running on unseen (Linux)."""
    command = multiprocessing.parent_process()
    if command is None or os.uname().sysname != "Linux":
        return
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != command.pid:
        os.kill(os.getpid(), signal.SIGKILL)  # it was killed before we got here


def work(stage: Stage, session: Session, config: RunConfig, title: str, shift: Shift) -> None:
    """Runs points of the stage until every one has a record, its own or another worker's. Raises Leave."""
    stage.refresh()
    bar = tqdm(
        total=len(stage.points),
        initial=len(stage.finished),
        desc=title,
        unit="run",
        disable=config.worker != 0 or shift.in_job,
        dynamic_ncols=True,
        mininterval=1.0,
        smoothing=0.05,
    )
    while pending := stage.open:
        shift.check(stage.longest)
        turned = pending[len(pending) * config.worker // max(config.workers, 1) :] + pending
        ran = next((identity for identity in turned if attempt(identity, stage, session, config, shift)), None)
        stage.refresh()
        bar.update(len(stage.finished) - bar.n)
        if ran is None:  # the rest is in other workers' hands
            time.sleep(JOB_POLL_SECONDS if shift.in_job else POLL_SECONDS)
        elif shift.in_job:
            print(f"{title}: {len(stage.finished)} of {len(stage.points)} runs have a record", flush=True)
    bar.close()


def attempt(identity: str, stage: Stage, session: Session, config: RunConfig, shift: Shift) -> bool:
    """Claims a point, runs it and writes its record; False if another worker has it. Raises Leave."""
    with claim(stage.folder / "claims", identity) as mine:
        if not mine:
            return False
        record = find_record(stage.folder, identity)
        if record and counts(record):
            return True
        point, facts = stage.points[identity], {"invocation": invocation(), "sweep": config.sweep.name}
        try:
            with shift.running():
                fit(session, point)
                record, outputs = session.run(point, facts)
        except Exception as error:  # whatever it is, it is this point's: recorded, and the sweep goes on
            tqdm.write(f"failed: {point.label}: {error}")
            record, outputs = session.failure(point, error, facts), None
        if not mine.held():
            tqdm.write(f"not recorded: {point.label}: another worker took it over while this one was suspended")
            return True
        write_record(stage.folder, record, outputs)
        if shift.in_job:
            print(f"{record['status']} {identity} {point.label} ({record['provenance']['seconds']:.1f} s)", flush=True)
        return True


def fit(session: Session, point: Point) -> None:
    """Raises InputError unless the experts of a point fit the base: in a sweep that is one point's failure."""
    family = session.family(point.family_seed)
    if point.merge:
        check_family(family.base, {name: family.models[name] for name in point.merge}, session.config.experts.vocab)


def stages(
    session: Session, config: RunConfig, folder: Path, shift: Shift
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Both stages, executed; the records of each."""
    first = Stage(session, first_stage(config), folder)
    work(first, session, config, f"{config.sweep.name}: {'choosing and ' if chooses(config) else ''}running", shift)
    second = Stage(session, second_stage(config, list(first.finished.values())), folder)
    if second.points:
        work(second, session, config, f"{config.sweep.name}: chosen points on the test split", shift)
    return list(first.finished.values()), list(second.finished.values())


def chooses(config: RunConfig) -> bool:
    """Whether any block of the sweep chooses hyperparameters."""
    return any(grid.choose for grid in config.sweep.grids.values())


def recorded(
    session: Session, config: RunConfig, folder: Path
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], int]:
    """Records of both stages that exist, without running anything, and how many points have none."""
    first = [(p, find_done(folder, session.identity(p))) for p in first_stage(config)]
    found = [record for _, record in first if record]
    second = [(p, find_done(folder, session.identity(p))) for p in second_stage(config, found)]
    missing = sum(record is None for _, record in first + second)
    return found, [record for _, record in second if record], missing


def run_sweep(config: RunConfig) -> None:
    """Runs this worker's share of the sweep.

    Raises RunsFailed if any point failed, in worker 0 or, where workers are jobs, in each; Leave in a job whose time
    is over.
    """
    die_with_parent()
    check_choosing(config)
    if config.worker == 0 and (note := ignored(config)):
        print(f"note: {note}", file=sys.stderr)
    shift = Shift.of_this_process()
    reports = config.worker == 0 or shift.in_job
    folder = Path(config.paths.work) / "records"
    tracker = open_tracker(config, folder) if reports else None
    session = Session(config)
    try:
        first, second = stages(session, config, folder, shift)
    finally:
        if not shift.over:  # else there is no time to end things in order, and this process's end ends them
            session.close()
            if tracker:
                tracker.finish(timeout_s=DRAIN_SECONDS)
    if reports:
        summarise(first + second, folder, config)


def open_tracker(config: RunConfig, folder: Path) -> Tracker:
    """W&B's mirror of the records folder, started; it does nothing where tracking is disabled."""
    tracking = config.tracking
    wandb = Path(config.paths.work) / "wandb"
    group = config.sweep.name or "single runs"
    tracker = Tracker(folder, wandb, tracking.project, tracking.entity, tracking.mode, group)
    tracker.start()
    return tracker


def summarise(records: list[dict[str, Any]], folder: Path, config: RunConfig) -> None:
    """Says how many runs were executed, were there before, and failed."""
    records = list({record["identity"]: record for record in records}.values())  # a chosen point may be in both stages
    ran = sum(record["provenance"].get("invocation") == invocation() for record in records)
    failed = [record for record in records if record["status"] == "failed"]
    print(
        f"sweep {config.sweep.name}: {len(records)} runs, {ran} executed, {len(records) - ran} done before, "
        f"{len(failed)} failed; records in {folder}"
    )
    if failed:
        names = "; ".join(sorted({f"{r['identity']} ({r['error']})" for r in failed})[:3])
        raise RunsFailed(f"{len(failed)} of {len(records)} runs, tried again by the next invocation: {names}")
