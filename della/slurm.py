"""What a process knows of Slurm: the job it runs in, whether a job still lives, how much time its own job has left.

    own_job()     # {"cluster": "alpha", "job": "1234_5", "restart": 0}; None outside of a job
    lives(job)    # of such a job: True, False, or None where nobody can say
    time_left()   # seconds

Slurm's own command squeue is asked, and seldom: an answer about a job counts for half a minute.
"""

import functools
import math
import os
import re
import shutil
import subprocess
import time
from typing import Any

ANSWER_SECONDS = 30.0
COMMAND_SECONDS = 60.0  # a controller under load answers slowly
_answers: dict[str, tuple[float, bool | None]] = {}


def own_job() -> dict[str, Any] | None:
    """The job that this process runs in: cluster, number (in an array ARRAY_TASK), how often it was requeued."""
    here = os.environ
    if "SLURM_JOB_ID" not in here:
        return None
    array = here.get("SLURM_ARRAY_JOB_ID")
    return {
        "cluster": here.get("SLURM_CLUSTER_NAME", ""),
        "job": f"{array}_{here['SLURM_ARRAY_TASK_ID']}" if array else here["SLURM_JOB_ID"],
        "restart": int(here.get("SLURM_RESTART_COUNT") or 0),
    }


def lives(job: dict[str, Any]) -> bool | None:
    """Whether a job, of `own_job`'s form, still runs in the same life: False when it is gone, was requeued or waits.

    None when it is of another cluster, or where squeue is missing or does not answer.
    """
    if shutil.which("squeue") is None or not job.get("cluster") or job["cluster"] != cluster():
        return None
    key = f"{job['job']}/{job['restart']}"
    asked, answer = _answers.get(key, (0.0, None))
    if not asked or time.monotonic() - asked > ANSWER_SECONDS:
        listed = jobs_of([job["job"]])
        state = None if listed is None else listed.get(job["job"], ("GONE", 0))
        answer = None if state is None else state[0] not in ("GONE", "PENDING") and state[1] == job["restart"]
        _answers[key] = (time.monotonic(), answer)
    return answer


def jobs_of(names: list[str]) -> dict[str, tuple[str, int]] | None:
    """State, as RUNNING, and number of restarts of jobs that are queued or run; an array's name stands for its tasks.

    None when squeue is missing or does not answer.
    """
    found: dict[str, tuple[str, int]] = {}
    for name in names:  # one by one: squeue is not agreed what to say of a list where one is gone
        said = _squeue("-r", "-j", name, "-O", "JobArrayID:64,State:32,RestartCnt:16")
        if said is None:
            return None
        found |= {job: (state, int(restarts)) for job, state, restarts in map(str.split, said.splitlines())}
    return found


def time_left() -> float | None:
    """Seconds until the time limit of this process's job, infinite without one; None outside of a job or if unknown."""
    job = own_job()
    said = (_squeue("-j", job["job"], "-O", "TimeLeft:32") or "").strip() if job else ""
    return math.inf if said == "UNLIMITED" else _seconds(said)


@functools.cache
def cluster() -> str | None:
    """The name of the cluster that this process can ask; None where there is none."""
    if name := os.environ.get("SLURM_CLUSTER_NAME"):
        return name
    said = _ask("scontrol", "show", "config")
    named = re.search(r"^ClusterName\s*=\s*(\S+)", said or "", re.MULTILINE)
    return named[1] if named else None


def _seconds(text: str) -> float | None:
    """Slurm's D-HH:MM:SS, HH:MM:SS or MM:SS; None for what is no time."""
    if not (parts := re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text)):
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in parts.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def _squeue(*arguments: str) -> str | None:
    return _ask("squeue", "-h", *arguments)


def _ask(*command: str) -> str | None:
    """What a command of Slurm's printed; empty for a job that it does not know, None if it could not say."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode:
        return "" if "Invalid job id" in done.stderr else None
    return done.stdout
