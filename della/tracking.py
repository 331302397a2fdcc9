"""The mirror of run records in Weights & Biases: beside the sweep, never in its way.

    tracker = Tracker(Path(".work/records"), Path(".work/wandb"), "della-merging", mode="offline", group="seeds")
    tracker.start()             # a process of its own at the lowest priority follows the records folder
    ...                         # the sweep writes records
    tracker.finish(60)          # waits, at most this long, until all is mirrored
    mirror_pending(...)         # the same in one call, for what an earlier sweep left behind

The records are the results; W&B is a copy to look at. So nothing here raises into a run: a missing package, a full
disk or a dead network is one warning line, and what was not mirrored is mirrored by the next invocation. The mirror
process ends when its parent is gone, however that went. What it writes to W&B is in `della.wandb_mirror`.

    <wandb>/<mode>-<entity>-<project>/wandb/offline-run-*   what `wandb sync` sends later
    <wandb>/<mode>-<entity>-<project>/mirrored/             the ledger: one empty file per mirrored record
"""

import os
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from della.errors import InputError

MODES = ("offline", "online", "disabled")
_RECORD_FILE = re.compile(r"[0-9a-f]{16}\.json")
_PROGRESS_SECONDS = 5.0
# Settings of one W&B run: those of the shell that started us belong to another program.
_OF_ONE_RUN = ("DIR", "NAME", "NOTES", "RESUME", "RUN_GROUP", "RUN_ID", "SERVICE", "SWEEP_ID", "TAGS", "JOB_TYPE")


def resolve_mode(mode: str) -> str:
    """The mode to use: the environment's WANDB_MODE if it is set, else the configured one.

    Raises:
        InputError: it is none of offline, online, disabled (W&B's old words dryrun and run are understood).
    """
    named, where = (os.environ["WANDB_MODE"], "WANDB_MODE") if os.environ.get("WANDB_MODE") else (mode, "tracking.mode")
    chosen = {"dryrun": "offline", "run": "online"}.get(named, named)
    if chosen not in MODES:
        raise InputError(f"{where}={named}: write one of {', '.join(MODES)}")
    return chosen


def target_folder(wandb: Path, mode: str, entity: str | None, project: str) -> Path:
    """The folder of one mirror: a run mirrored offline, or to another project, is not yet mirrored online."""
    return wandb / quote(f"{mode}-{entity or 'default'}-{project}", safe="")


def pending(records: Path, target: Path) -> list[Path]:
    """The record files that the mirror in `target` does not hold as they are now, sorted by name."""
    names = sorted(os.listdir(records)) if records.is_dir() else []
    ledger = target / "mirrored"
    done = {entry for entry in os.listdir(ledger) if entry.endswith(".done")} if ledger.is_dir() else set()
    left = [records / name for name in names if _RECORD_FILE.fullmatch(name) and f"{name[:16]}.done" not in done]
    return [path for path in left if not is_mirrored(path, target)]  # one look at a folder, not one at each record


def is_mirrored(record: Path, target: Path) -> bool:
    """Whether the ledger has this record file: done, or failed and not written again since."""
    if _entry(record, target, "done").exists():
        return True
    failed = _entry(record, target, "failed")
    return failed.exists() and failed.stat().st_mtime_ns == record.stat().st_mtime_ns


def mark_mirrored(record: Path, target: Path, status: str, mtime_ns: int) -> None:
    """Enter in the ledger that a record file, as it was at that modification time, is mirrored."""
    entry = _entry(record, target, status)
    entry.parent.mkdir(parents=True, exist_ok=True)
    entry.touch()
    os.utime(entry, ns=(mtime_ns, mtime_ns))


def _entry(record: Path, target: Path, status: str) -> Path:
    return target / "mirrored" / f"{record.stem}.{status}"


class Tracker:
    """Follows a records folder while a sweep runs.

    Args:
        records: folder of run records, ours or still to be made.
        wandb: git-ignored folder for W&B's files and the ledger; made if missing.
        project: W&B project.
        entity: W&B team or user; None leaves it to W&B's own settings.
        mode: offline | online | disabled; WANDB_MODE in the environment goes first.
        group: W&B group of the runs whose record names no sweep.

    Raises:
        InputError: the mode is none of the three. This is the only thing that raises.
    """

    def __init__(
        self,
        records: Path,
        wandb: Path,
        project: str,
        entity: str | None = None,
        mode: str = "offline",
        group: str = "",
    ):
        self._records, self._wandb = Path(records).absolute(), Path(wandb).absolute()
        self._project, self._entity, self._group = project, entity, group
        self.mode = resolve_mode(mode)
        self._target = target_folder(self._wandb, self.mode, entity, project)
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        """Start the mirror process, in milliseconds; it loads W&B when the first record is there."""
        if self.mode == "disabled" or self._process is not None:
            return
        try:
            self._wandb.mkdir(parents=True, exist_ok=True)
            with open(self._wandb / "mirror.log", "ab") as log:
                self._process = subprocess.Popen(
                    self._command(),
                    cwd=Path(__file__).resolve().parents[1],
                    env=self._environment(),
                    stdin=subprocess.PIPE,
                    stdout=2,  # its warnings go where ours go, whatever W&B says of itself goes to the log
                    stderr=log,
                    start_new_session=True,  # Ctrl-C is for the sweep, which then ends the mirror in order
                )
        except OSError as error:
            _say(f"not mirroring: {error}")

    def left(self) -> int:
        """How many records are not mirrored yet."""
        try:
            return 0 if self.mode == "disabled" else len(pending(self._records, self._target))
        except OSError:
            return 0

    def finish(self, timeout_s: float = 60.0) -> int:
        """Let the mirror catch up, for at most `timeout_s` seconds, and end it; returns how many records are left."""
        if self._process is None:
            return self.left()
        process, self._process = self._process, None
        if process.stdin:
            with suppress(OSError):  # it may have ended by itself; what it left is counted below
                process.stdin.write(b"finish\n")
                process.stdin.close()
        ended = self._wait(process, time.monotonic() + timeout_s)
        left = self.left()
        if left:
            why = f"see {self._wandb / 'mirror.log'}" if ended else f"{timeout_s:g} s are over"
            _say(f"{left} runs are not mirrored ({why}); the next invocation does it")
        return left

    def _wait(self, process: subprocess.Popen, deadline: float) -> bool:
        while True:
            try:
                process.wait(max(0.0, min(_PROGRESS_SECONDS, deadline - time.monotonic())))
                return True
            except subprocess.TimeoutExpired:
                if time.monotonic() >= deadline:
                    process.kill()
                    process.wait()
                    return False
                _say(f"{self.left()} runs left to mirror")

    def _command(self) -> list[str]:
        command = [sys.executable, "-m", "della.wandb_mirror", f"--records={self._records}", f"--wandb={self._wandb}"]
        command += [f"--project={self._project}", f"--mode={self.mode}", f"--group={self._group}"]
        return command + [f"--follow={os.getpid()}"] + ([f"--entity={self._entity}"] if self._entity else [])

    def _environment(self) -> dict[str, str]:
        environment = {
            name: value for name, value in os.environ.items() if name not in {f"WANDB_{n}" for n in _OF_ONE_RUN}
        }
        cache = str(self._wandb / "cache")
        ours = {"WANDB_CACHE_DIR": cache, "WANDB_DATA_DIR": cache, "WANDB_ERROR_REPORTING": "false"}
        ours |= {"WANDB_INIT_TIMEOUT": "30", "GOMAXPROCS": "1"}  # W&B's service must not compete with a sweep's workers
        return {**ours, **environment, "WANDB_MODE": self.mode}


def mirror_pending(
    records: Path,
    wandb: Path,
    project: str,
    entity: str | None = None,
    mode: str = "offline",
    group: str = "",
    timeout_s: float = 600.0,
) -> int:
    """Mirror what is left, now; returns how many records could not be. Starts nothing when nothing is left.

    Raises:
        InputError: the mode is none of offline, online, disabled.
    """
    tracker = Tracker(records, wandb, project, entity, mode, group)
    if tracker.left():
        tracker.start()
    return tracker.finish(timeout_s)


def _say(what: str) -> None:
    print(f"W&B: {what}", file=sys.stderr, flush=True)
