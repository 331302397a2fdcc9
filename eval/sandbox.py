"""Runs generated Python programs against their tests, apart from everything else, and says which pass.

    verdicts = run_programs([Program("def f(x):\\n    return x + 1", ["assert f(1) == 2"])], workers=2, cache=path)

For MBPP and whatever else is scored by execution. A program's text runs in the order code, setup, tests (MBPP's problem
367 needs its setup after the code), with the standard library only, an empty stdin, no arguments and no environment; it
passes if the last test is reached and returns. How it is isolated, how a verdict is told, and what adversary both hold
against: see `sandbox_runner.py`. `isolation_level()` says which of LEVELS this machine allows; scores record it.

A runner is one isolated Python process that forks a child per program (about 2 ms each); this process keeps its runners
for the next call, and they end with it. The `cache` file (`sandbox_cache.py`) keeps every verdict but one: a program
that the machine killed twice, most likely for lack of memory.
"""

import atexit
import contextlib
import hashlib
import json
import os
import select
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from eval.errors import InputError
from eval.sandbox_cache import Verdict, VerdictFile

__all__ = ["LEVELS", "Program", "SandboxError", "Verdict", "isolation_level", "run_programs"]

VERSION = 3  # of what a verdict depends on in these files; a new one makes every cached verdict unknown
PATIENCE = (
    3  # a timeout that the machine's load may explain is tried once more, alone, with so many times the wall time
)
MOST_SECONDS, MOST_MB = 86_400, 1 << 40  # what clocks and limits of address space can hold
LEVELS = {
    "namespaces": "no network, no files but a scratch folder, no process in sight; limits on time, memory, processes",
    "rlimits": "limits on time, memory, processes, no network; but this user's files are within reach",
}
RUNNER = Path(__file__).with_name("sandbox_runner.py")


class SandboxError(RuntimeError):
    """The sandbox itself failed: never a verdict on a program."""


@dataclass(frozen=True)
class Program:
    """Generated code, the tests it must pass (Python statements, at least one), and what runs between the two."""

    code: str
    tests: list[str]
    setup: str = ""


class _Runner:
    """A running `sandbox_runner.py`. Raises SandboxError if it can't isolate itself at the level asked for."""

    def __init__(self, level: str):
        environment = {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"}  # the same order of sets for everybody
        if "LD_LIBRARY_PATH" in os.environ:  # some clusters' Python needs it to start
            environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
        command = [sys.executable, "-S", "-s", "-P", str(RUNNER), level]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # Ctrl-C is for us; the runner ends when its stdin does
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._commands, self._answers = self._process.stdin, self._process.stdout
        self._receive(30)

    def ask(self, program: Program, seconds: float, memory_mb: int, wall: float) -> dict:
        """The runner's answer (see its header); `seconds` of processor time, `wall` seconds in all."""
        request = {
            "code": program.code,
            "setup": program.setup,
            "tests": program.tests,
            "seconds": seconds,
            "wall": wall,
            "memory_mb": memory_mb,
        }
        try:
            self._commands.write(json.dumps(request).encode() + b"\n")
            self._commands.flush()
        except BrokenPipeError:
            raise SandboxError("the sandbox's runner is gone") from None
        return self._receive(wall + 30)

    def _receive(self, seconds: float) -> dict:
        line = b""
        if select.select([self._answers], [], [], seconds)[0]:
            line = self._answers.readline()
        if not line:
            self.close()
            raise SandboxError("the sandbox's runner ended or hangs")
        answer = json.loads(line)
        if "error" in answer:
            self.close()
            raise SandboxError(answer["error"])
        return answer

    def close(self) -> None:
        """Ends the runner, and with it whatever it runs."""
        with contextlib.suppress(BrokenPipeError):
            self._commands.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()


class _Runners:
    """The runners of this process: lent to one thread at a time, kept for the next."""

    def __init__(self, level: str, first: _Runner):
        self.level = level
        self._idle = [first]

    def judge(self, program: Program, seconds: float, memory_mb: int, wall: float) -> dict:
        """As `_Runner.ask`; a runner that is gone is replaced once."""
        try:
            return self._ask(self._idle.pop(), program, seconds, memory_mb, wall)
        except (IndexError, SandboxError):
            return self._ask(_Runner(self.level), program, seconds, memory_mb, wall)

    def _ask(self, runner: _Runner, *request) -> dict:
        answer = runner.ask(*request)
        self._idle.append(runner)
        return answer

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()


_runners: dict[int, _Runners] = {}  # by process, for a fork must not talk to its parent's
_caches: dict[Path, VerdictFile] = {}
_lock = threading.Lock()


def _own_runners() -> _Runners:
    with _lock:
        if os.getpid() not in _runners:
            _runners[os.getpid()] = _start_at_strongest_level()
        return _runners[os.getpid()]


def _start_at_strongest_level() -> _Runners:
    try:
        return _Runners("namespaces", _Runner("namespaces"))
    except SandboxError as error:
        text = f"generated code runs at isolation level rlimits, for this machine refuses namespaces ({error})"
        print(f"note: {text}: {LEVELS['rlimits']}", file=sys.stderr)  # once per process; Hydra switches logging off
        return _Runners("rlimits", _Runner("rlimits"))


@atexit.register
def _close_own_runners() -> None:
    if runners := _runners.pop(os.getpid(), None):
        runners.close()


def isolation_level() -> str:
    """What holds a program here: `namespaces`, or `rlimits` where the machine refuses them (`sandbox_runner.py`)."""
    return _own_runners().level


def run_programs(
    programs: Sequence[Program],
    *,
    timeout_s: float = 3.0,
    memory_mb: int = 512,
    workers: int = 1,
    cache: Path | None = None,
    progress: bool = False,
) -> list[Verdict]:
    """One verdict per program, in their order; equal programs run once.

    timeout_s: seconds of processor time, and of wall time unless the machine was busy with something else (then the
    program gets one more try, alone, with three times the wall time). memory_mb: MiB of address space, from 64.
    workers: how many programs run at once. cache: a file of verdicts to use and to add to, made if missing.
    progress: show a bar.

    Raises InputError for arguments out of range, a program without tests, or a cache that can't be written;
    SandboxError if the sandbox can't be started or fails twice.
    """
    if not (0 < timeout_s <= MOST_SECONDS and 64 <= memory_mb <= MOST_MB and workers >= 1):
        limits = f"timeout_s={timeout_s}, memory_mb={memory_mb}, workers={workers}"
        ranges = f"timeout_s above 0 up to {MOST_SECONDS}, memory_mb from 64 to {MOST_MB}, workers from 1"
        raise InputError(f"sandbox: {limits}; write {ranges}")
    for index, program in enumerate(programs):
        if not program.tests:
            raise InputError(f"sandbox: program {index} has no tests, so nothing can be verified; give at least one")
    keys = [_key(program, timeout_s, memory_mb) for program in programs]
    file = _open_cache(cache) if cache is not None else None
    known = file.known if file is not None else {}
    todo = {key: program for key, program in zip(keys, programs, strict=True) if key not in known}
    found = _judge_all(todo, timeout_s, memory_mb, workers, file, progress)
    return [found[key] if key in found else known[key] for key in keys]


def _key(program: Program, timeout_s: float, memory_mb: int) -> str:
    parts = [VERSION, isolation_level(), sys.version_info[:2], float(timeout_s), memory_mb]
    parts += [program.code, program.setup, program.tests]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _open_cache(path: Path) -> VerdictFile:
    path = path.absolute()
    with _lock:
        if path in _caches and not _caches[path].is_current():
            _caches.pop(path).close()
        if path not in _caches:
            _caches[path] = VerdictFile(path)
        _caches[path].update()
        return _caches[path]


def _judge_all(
    todo: dict[str, Program], timeout_s: float, memory_mb: int, workers: int, file: VerdictFile | None, progress: bool
) -> dict[str, Verdict]:
    """The verdicts of programs that nobody knows yet; each is added to the file as soon as it is sure."""
    runners = _own_runners()
    found: dict[str, Verdict] = {}
    again: list[str] = []

    def settle(key: str, answer: dict) -> None:
        found[key] = Verdict(answer["passed"], answer["reason"])
        if file is not None and (answer["sure"] or answer["reason"] == "timeout"):
            file.keep(key, found[key])

    def judge(key: str) -> tuple[str, dict]:
        return key, runners.judge(todo[key], timeout_s, memory_mb, timeout_s)

    bar = tqdm(total=len(todo), desc="programs", unit="program", disable=not progress)
    pool = ThreadPoolExecutor(workers)
    try:
        for future in as_completed([pool.submit(judge, key) for key in todo]):
            key, answer = future.result()
            if answer["sure"]:
                settle(key, answer)
                bar.update()
            else:
                again.append(key)
    finally:
        pool.shutdown(cancel_futures=True)
    for key in again:
        settle(key, runners.judge(todo[key], timeout_s, memory_mb, PATIENCE * timeout_s))
        bar.update()
    bar.close()
    return found
