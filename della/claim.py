"""Who is working on a run: atomic claims on a folder that many processes and hosts may share, without a lock server.

    with claim(folder, identity) as mine:
        if mine and find_done(folder, identity) is None:
            ...                                 # make the run, write its record

Ask for the record *after* the claim is yours: another worker may have finished the run between your look and your
claim; and before you write one, ask `mine.held()`: a worker that was suspended may have lost its claim meanwhile. A
claim is a file `<identity>.claim` that names host, process, the process's start time and its Slurm job; it is removed
when the `with` block ends. A claim is stale when its process is gone (same host), when its heartbeat, the file's
modification time, is older than five minutes, or when the heartbeat is overdue and Slurm says that the job is gone or
was requeued. A stale claim is taken over by exactly one worker.

How: a claim appears by link(), which is atomic and fails if the name exists, so a claim is never seen half-written.
To take over a stale claim one must first hold the *ticket* of that very claim (a claim of its own, named after the
stale claim's token), then look again. Only the ticket's holder may replace a stale claim, and whoever gets the ticket
late finds another token there and leaves. A ticket whose holder was killed is a stale claim, taken over in turn.
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from della.slurm import lives, own_job

STALE_SECONDS = 300.0
_BEAT_SECONDS = 30.0
_OVERDUE_SECONDS = 90.0  # three beats; NFS may show the last one a minute late


@dataclass(frozen=True)
class Holder:
    """Who holds a claim.

    host: the machine's name. job: as `della.slurm.own_job` gives it, or None. since: when it was claimed, seconds since
    1970, or None if unknown. stale: whether the next worker would take it over.
    """

    host: str
    pid: int
    job: dict[str, Any] | None
    since: float | None
    stale: bool


class Claim:
    """True when the claim is held. `touch()` is a heartbeat; a thread does it too, for steps that take minutes."""

    def __init__(self, path: Path, token: str | None):
        self._path, self._token, self._pid = path, token, os.getpid()

    def __bool__(self) -> bool:
        return self._token is not None

    def touch(self) -> None:
        """Show other hosts that this claim is alive; does nothing when it is not held or was taken over."""
        if self.held():
            with suppress(OSError):
                os.utime(self._path)

    def release(self) -> None:
        """Remove the claim, unless another worker has taken it over."""
        if self.held():
            self._path.unlink(missing_ok=True)
        self._token = None

    def held(self) -> bool:
        """Whether the claim is ours still."""
        if self._token is None or self._pid != os.getpid():  # a forked child does not hold its parent's claims
            return False
        owner = _owner(self._path)
        return owner is not None and owner["token"] == self._token


@contextmanager
def claim(folder: Path, identity: str) -> Iterator[Claim]:
    """Try, without waiting, to become the one worker on a run.

    Args:
        folder: shared by all workers, on a file system with hard links; made if missing.
        identity: the run's identity, or any other name that can be part of a file name.

    Yields:
        a Claim: true if it is ours, false if a live worker holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{identity}.claim"
    mine = Claim(path, _take(folder, identity, path))
    ended = threading.Event()
    if mine:
        threading.Thread(target=_beat, args=(mine, ended), daemon=True, name=f"claim {identity}").start()
    try:
        yield mine
    finally:
        ended.set()
        mine.release()


def holders(folder: Path) -> dict[str, Holder]:
    """Name -> holder of every claim in a folder. Compares this host's clock with the file system's."""
    found = {}
    for path in sorted(folder.glob("*.claim")):
        owner = _owner(path)
        if owner is not None:
            stale = _stale(path, owner, now=time.time())
            host = str(owner["host"]).split()[0]
            found[path.stem] = Holder(host, owner["pid"], owner.get("job"), owner.get("since"), stale)
    return found


def process_start(pid: int) -> int | None:
    """When a process started, in clock ticks since boot, which tells it from a later one with the same number.

    None when there is no such process, when it is dead and only waits for its parent, or when there is no /proc.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The second field, the command's name in brackets, may hold spaces and brackets itself.
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else int(fields[19])


def _take(folder: Path, identity: str, path: Path) -> str | None:
    """Our new claim's token, or None if a live worker holds the run."""
    token = uuid.uuid4().hex[:12]
    written = folder / f".{identity}.{token}.tmp"
    own = {"host": _host(), "pid": os.getpid(), "start": process_start(os.getpid()), "token": token}
    own |= {"since": round(time.time(), 3), "job": own_job()}
    written.write_text(json.dumps(own))
    try:
        while True:
            with suppress(FileExistsError):
                os.link(written, path)
                return token
            owner = _owner(path)
            if owner is None:
                continue  # it vanished while we looked: the name is free again
            if owner["token"] == token:
                return token  # NFS lost the answer and asked twice: the link was ours
            # The time is the file system's own, so that two hosts' clocks need not agree.
            if not _stale(path, owner, now=written.stat().st_mtime):
                return None
            return token if _replace(folder, identity, path, owner["token"], written) else None
    finally:
        written.unlink(missing_ok=True)


def _replace(folder: Path, identity: str, path: Path, stale: str, written: Path) -> bool:
    with claim(folder, f"{identity}.{stale}") as ticket:
        owner = _owner(path) if ticket else None
        if owner is None or owner["token"] != stale:
            return False
        os.replace(written, path)
        return True


def _stale(path: Path, owner: dict, now: float) -> bool:
    if owner["host"] == _host() and owner["start"] is not None and process_start(owner["pid"]) != owner["start"]:
        return True
    try:
        silent = now - path.stat().st_mtime
    except FileNotFoundError:
        return False  # its holder has just ended
    if silent > STALE_SECONDS:
        return True
    job = owner.get("job")
    return silent > _OVERDUE_SECONDS and job is not None and lives(job) is False


def _owner(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError:  # a host that lost power can leave an empty file: only its age can tell
        return {"host": "unknown", "pid": 0, "start": None, "token": "unreadable"}


def _host() -> str:
    # Process numbers mean the same only within one host and, in containers, one process namespace.
    try:
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _beat(mine: Claim, ended: threading.Event) -> None:
    while not ended.wait(_BEAT_SECONDS):
        mine.touch()
