"""Makes the measurements that are missing: models, warm-up, one command at a time, a line with the time left each."""

import json
import os
import shutil
import statistics
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from della.errors import InputError
from della.lock import BusyError, Lock
from della.room import available_memory, uncached
from scripts.timing.jobs import POINTS, ROOT, START, Job, command, guess
from scripts.timing.log import Log, Measurement
from scripts.timing.models import family_folder, make_family, parameters_of
from scripts.timing.process import Cost, measure

BUSY = 0.2  # cores that may be at work for others
LEFT_OUT = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "NUMBA_CACHE_DIR", "PYTHONDONTWRITEBYTECODE")


@contextmanager
def alone(work: Path) -> Iterator[None]:
    """Nobody else measures in this folder for the length of the block. Raises InputError if somebody does."""
    try:
        lock = Lock(work / "running")
    except BusyError as error:
        raise InputError(f"{work}: {error} measures there; wait for that one, or write another paths.work=") from None
    try:
        yield
    finally:
        lock.release()


class Bench:
    """Makes measurements, one at a time, and says how long the rest will take."""

    def __init__(self, work: Path, log: Log, jobs: list[Job]):
        self.work, self.log, self.jobs = work, log, jobs
        self.out = work / "merged"
        self.warm: set[str] = set()
        self.commit = commit()
        self.environment = environment(work)
        if self.missing() and os.getloadavg()[0] > 1:
            said(f"warning: the machine is busy (load {os.getloadavg()[0]:.1f}): what is measured now is too long")

    def missing(self) -> list[Job]:
        """What is still to be measured."""
        return [job for job in self.jobs if job not in self.log.measurements]

    def family(self, size: float, jobs: list[Job]) -> None:
        """Measures the missing ones of jobs on the same models, after runs that warm up."""
        jobs = [job for job in jobs if job not in self.log.measurements]
        if not jobs:
            return
        small = family_folder(self.work, START)
        make_family(self.work, START, max(job.experts for job in jobs), said)
        folders = make_family(self.work, size, jobs[0].experts, said)
        out_of_cache(folders)
        self._warn(size, jobs[0].experts)
        self._warm_up(jobs, folders, small)
        for job in jobs:
            cost = self._run(job, folders, small)
            inner = inner_seconds(job, cost.out)
            self.log.append(Measurement(job, cost.seconds, cost.peak, cost.cpu, cost.others, inner, self.commit))
            done, count = len(self.jobs) - len(self.missing()), len(self.jobs)
            busy = f", others kept {cost.others:.1f} cores busy" if cost.others > BUSY else ""
            said(
                f"[{done}/{count}] {job}: {cost.seconds:.2f} s, {cost.peak / 1e6:,.0f} MB{busy}; "
                f"{self._left() / 60:.0f} min left"
            )

    def _warm_up(self, jobs: list[Job], folders: list[Path], small: Path) -> None:
        """Unmeasured runs: our kernels are compiled, the inputs hashed, both tools' libraries in the page cache."""
        first = any(job.round == 0 for job in jobs)
        if first:  # is measured with hashes unknown
            shutil.rmtree(self.work / "cache" / "sha256", ignore_errors=True)
        for job in jobs:
            kind = job.case if job.tool == "ours" else job.tool
            if kind not in self.warm:
                self.warm.add(kind)
                self._run(job, [small / folder.name for folder in folders], small)
        ours = [job for job in jobs if job.tool == "ours"]
        if ours and not first:
            self._run(ours[0], folders, small)

    def _run(self, job: Job, folders: list[Path], small: Path) -> Cost:
        """One command, with its inputs in the page cache, no other data waiting for the disk, and no output left."""
        self.clear()
        into_cache(folders)
        os.sync()
        try:
            cost = measure(command(job, folders, small, self.out), ROOT, self.environment)
            self._check_output(job, folders)
        finally:
            self.clear()
        return cost

    def _check_output(self, job: Job, folders: list[Path]) -> None:
        """Raises InputError where a tool has written less than a model."""
        if job.case == POINTS:
            return
        written, expected = weight_bytes(self.out), weight_bytes(folders[0])
        if abs(written - expected) > 0.01 * expected + 100_000:
            raise InputError(f"{job}: {written} bytes of weights were written where the base has {expected}")

    def clear(self) -> None:
        """Removes what a command wrote, the whole shards of a stopped merge too: the next one would go on from them."""
        for folder in (self.out, self.out.with_name(f".{self.out.name}.merging")):
            shutil.rmtree(folder, ignore_errors=True)
        self.out.with_suffix(".yml").unlink(missing_ok=True)

    def _warn(self, size: float, experts: int) -> None:
        needed, there = 2 * parameters_of(size) * (experts + 2), available_memory()
        if there is not None and needed > there:
            said(f"warning: {needed / 1e9:.1f} GB of files, {there / 1e9:.1f} GB of memory: this measures the disk")

    def _left(self) -> float:
        """Seconds the missing ones take: as long as the same in other rounds, or guessed at the pace so far."""
        known = self.log.measurements.values()
        pace = {
            tool: statistics.median([m.seconds / guess(m.job) for m in known if m.job.tool == tool] or [1.0])
            for tool in ("ours", "mergekit", "floor")
        }
        same: dict[tuple, list[float]] = {}
        for m in known:
            same.setdefault((m.job.size, m.job.experts, m.job.case, m.job.tool), []).append(m.seconds)
        left = 0.0
        for job in self.missing():
            seconds = same.get((job.size, job.experts, job.case, job.tool))
            left += statistics.median(seconds) if seconds else guess(job) * pace[job.tool]
        return left


def environment(work: Path) -> dict[str, str]:
    """What commands are run with: all cores, a cache of our own, nothing from the network."""
    kept = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
    return kept | {"DELLA_CACHE": str(work / "cache"), "HF_HUB_OFFLINE": "1"}


def inner_seconds(job: Job, out: str) -> dict[str, float]:
    """What a command measured by its own clock."""
    if job.tool == "floor":
        return {"copy": float(out)}
    return json.loads(out.splitlines()[-1]) if job.case == POINTS else {}


def into_cache(folders: Iterable[Path]) -> None:
    """Reads the weights of models that are not in the page cache."""
    for file in (file for folder in folders for file in weights(folder)):
        if uncached([file]):
            with file.open("rb", buffering=0) as stream:
                buffer = bytearray(4 << 20)
                while stream.readinto(buffer):
                    pass


def out_of_cache(folders: Iterable[Path]) -> None:
    """Takes the weights of models out of the page cache, where it can be done.

    What was just written lies there in small pages, what is read from the disk in large ones, and small ones take our
    engine longer. Models that people merge were not written a moment ago.
    """
    for file in (file for folder in folders for file in weights(folder)):
        with file.open("rb+") as stream:
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def weights(folder: Path) -> list[Path]:
    """The files that both tools read."""
    return sorted(folder.glob("*.safetensors"))


def weight_bytes(folder: Path) -> int:
    """Of a model's files."""
    return sum(file.stat().st_size for file in weights(folder))


def commit() -> str | None:
    """Of our code, short; with a + where tracked files were changed."""
    try:
        told = subprocess.run(
            ["git", "-C", str(ROOT), "describe", "--always", "--exclude=*", "--dirty=+"], capture_output=True, text=True
        )
    except OSError:
        return None
    return told.stdout.strip() or None


def said(line: str) -> None:
    print(line, flush=True)
