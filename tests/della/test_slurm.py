"""What is asked of Slurm, with commands that play Slurm's part; the real one answers in tests/scripts/test_slurm.py."""

import json
import math
import os
import time
from pathlib import Path

import pytest

from della import claim as claims
from della import slurm
from della.claim import claim, holders
from della.slurm import jobs_of, lives, own_job, time_left

JOB = {"cluster": "alpha", "job": "7_1", "restart": 2}


@pytest.fixture(autouse=True)
def _a_process_of_its_own(monkeypatch):
    """No job, no earlier answers."""
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(slurm, "_answers", {})
    slurm.cluster.cache_clear()


@pytest.fixture
def squeue(tmp_path, monkeypatch):
    """Puts a squeue on the PATH that says what it is told to; its calls are counted in `calls`."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "alpha")

    def says(text: str, code: int = 0, error: str = "") -> Path:
        program = tmp_path / "bin" / "squeue"
        calls = tmp_path / "calls"
        program.write_text(f"#!/bin/sh\necho $@ >> {calls}\nprintf '{text}'\nprintf '{error}' >&2\nexit {code}\n")
        program.chmod(0o755)
        return calls

    return says


def test_a_process_knows_its_job_and_its_life(monkeypatch):
    assert own_job() is None
    monkeypatch.setenv("SLURM_JOB_ID", "9")
    assert own_job() == {"cluster": "", "job": "9", "restart": 0}
    for name, value in {
        "ARRAY_JOB_ID": "7",
        "ARRAY_TASK_ID": "1",
        "RESTART_COUNT": "2",
        "CLUSTER_NAME": "alpha",
    }.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert own_job() == JOB


@pytest.mark.parametrize(
    ("listed", "alive"),
    [
        ("7_1 RUNNING 2", True),
        ("7_1 COMPLETING 2", True),
        ("7_1 RUNNING 3", False),
        ("7_1 PENDING 3", False),
        ("", False),
    ],
)
def test_a_job_lives_while_it_runs_in_the_same_life(squeue, listed, alive):
    squeue(listed)
    assert lives(JOB) is alive


def test_a_job_that_slurm_has_forgotten_is_gone(squeue):
    squeue("", 1, "slurm_load_jobs error: Invalid job id specified")
    assert lives(JOB) is False


def test_nobody_can_say_when_slurm_does_not_answer_or_the_cluster_is_another(squeue, monkeypatch):
    squeue("", 1, "slurm_load_jobs error: Unable to contact slurm controller")
    assert lives(JOB) is None
    assert jobs_of(["7"]) is None
    squeue("7_1 RUNNING 2")
    assert lives({**JOB, "cluster": "beta"}) is None
    monkeypatch.setenv("PATH", "/nowhere")
    assert lives({**JOB, "restart": 0}) is None


def test_an_answer_counts_for_a_while(squeue):
    calls = squeue("7_1 RUNNING 2")
    assert [lives(JOB) for _ in range(5)] == [True] * 5
    assert len(calls.read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("10:05", 605),
        ("1:00:00", 3600),
        ("2-03:04:05", 2 * 86400 + 3 * 3600 + 4 * 60 + 5),
        ("UNLIMITED", math.inf),
        ("INVALID", None),
    ],
)
def test_the_time_left_is_read_in_all_of_slurms_spellings(squeue, monkeypatch, said, seconds):
    squeue(f"{said}   ")
    assert time_left() is None
    monkeypatch.setenv("SLURM_JOB_ID", "9")
    assert time_left() == seconds


def _claim_of_a_job(folder: Path, silent: float) -> Path:
    """Another host's claim whose heartbeat is `silent` seconds old."""
    path = folder / "run.claim"
    path.write_text(json.dumps({"host": "node7 x", "pid": 1, "start": 5, "token": "t", "job": JOB, "since": 1000.0}))
    os.utime(path, (time.time() - silent, time.time() - silent))
    return path


def test_a_job_that_is_gone_loses_its_claim_once_its_heartbeat_is_overdue(squeue, tmp_path):
    """Two beats of 30 s may be late; after three Slurm is asked, and it knows the job in its third life only."""
    calls = squeue("7_1 RUNNING 3")
    _claim_of_a_job(tmp_path, silent=60)
    with claim(tmp_path, "run") as mine:
        assert not mine
    assert not calls.exists()
    _claim_of_a_job(tmp_path, silent=100)
    with claim(tmp_path, "run") as mine:
        assert mine


def test_a_job_that_lives_keeps_its_claim_until_the_heartbeat_is_five_minutes_old(squeue, tmp_path):
    squeue("7_1 RUNNING 2")
    _claim_of_a_job(tmp_path, silent=290)
    with claim(tmp_path, "run") as mine:
        assert not mine
    _claim_of_a_job(tmp_path, silent=310)
    with claim(tmp_path, "run") as mine:
        assert mine


def test_a_claim_names_its_job_and_when_it_was_made(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "9")
    with claim(tmp_path, "run"):
        (holder,) = holders(tmp_path).values()
        assert holder.job == {"cluster": "", "job": "9", "restart": 0}
        assert holder.pid == os.getpid()
        assert abs(time.time() - holder.since) < 60
        assert not holder.stale
    assert holders(tmp_path) == {}


def test_a_living_process_that_was_suspended_for_five_minutes_has_lost_its_claim(tmp_path):
    """The process of this test stands for it: alive, on this host, its heartbeat 310 s old."""
    with claim(tmp_path, "run") as suspended:
        os.utime(tmp_path / "run.claim", (time.time() - 310, time.time() - 310))
        assert holders(tmp_path)["run"].stale
        with claim(tmp_path, "run") as mine:
            assert mine
            assert mine.held()
            assert not suspended.held()
        assert not suspended.held()
    assert claims.STALE_SECONDS == 300
