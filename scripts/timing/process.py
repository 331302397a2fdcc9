"""What a command costs: wall time, peak private memory of all its processes, processor time, and what else was running.

cost = measure(["python", "-m", "scripts.merge", ...])
cost.seconds, cost.peak
"""

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from della.errors import InputError

INTERVAL = 0.015  # seconds between two looks at the memory
_FIND_CHILDREN_EVERY = 16  # looks

PROC = Path("/proc")


@dataclass(frozen=True)
class Cost:
    """Of one command.

    seconds: wall time, from before it is started until it has ended.
    peak: bytes, the largest sum of private memory (RssAnon and RssShmem) over its processes; mapped files don't count.
    cpu: seconds of processor time.
    others: cores that something else kept busy meanwhile, on average.
    out: what it printed.
    """

    seconds: float
    peak: int
    cpu: float
    others: float
    out: str


def measure(command: Sequence[str], cwd: Path, environment: Mapping[str, str]) -> Cost:
    """Run a command to its end.

    Raises:
        InputError: it failed; with the last line it complained with.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        busy = _busy_seconds()
        started = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=cwd, env=dict(environment), stdout=out, stderr=err, start_new_session=True
        )
        sampler = _Sampler(process.pid)
        sampler.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - started
            process.returncode = os.waitstatus_to_exitcode(status)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        finally:
            sampler.ended.set()
            sampler.join()
        if process.returncode:
            said = (_text(err).strip() or _text(out).strip()).splitlines()
            ending = said[-1] if said else f"no message, exit code {process.returncode}"
            raise InputError(f"{' '.join(command[:3])} ... failed: {ending}")
        cpu = usage.ru_utime + usage.ru_stime
        others = max(0.0, (_busy_seconds() - busy - cpu) / seconds)
        return Cost(seconds, sampler.peak, cpu, others, _text(out))


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


class _Sampler(threading.Thread):
    """Looks at the memory of a session's processes until it is told that they have ended."""

    def __init__(self, session: int):
        super().__init__(daemon=True)
        self.session = session
        self.ended = threading.Event()
        self.peak = 0

    def run(self) -> None:
        members, looks = [self.session], 0
        while not self.ended.wait(INTERVAL):
            if looks % _FIND_CHILDREN_EVERY == 0:
                members = _of_session(self.session)
            looks += 1
            self.peak = max(self.peak, sum(private_bytes(pid) for pid in members))


def private_bytes(pid: int) -> int:
    """Anonymous and shared memory of a process that is in memory now; 0 if it is gone."""
    try:
        lines = (PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("RssAnon:", "RssShmem:")))


def _of_session(session: int) -> list[int]:
    return [pid for pid in map(int, filter(str.isdigit, os.listdir(PROC))) if _session_of(pid) == session]


def _session_of(pid: int) -> int:
    try:
        stat = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return -1
    return int(stat.rpartition(")")[2].split()[3])


def _busy_seconds() -> float:
    """Processor time that the machine has spent on anything since it started, time stolen by its host included."""
    user, nice, system, _, _, irq, softirq, steal = map(int, (PROC / "stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
