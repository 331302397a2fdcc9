"""Claims, with real processes: each run is made once, whoever dies on the way."""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from della import claim as module
from della.claim import claim, process_start

_PROCESSES = multiprocessing.get_context("spawn")

# A process that takes a claim, says so, and then sleeps with it.
_HOLDER = """
import sys, time
from pathlib import Path
from della.claim import claim
with claim(Path(sys.argv[1]), sys.argv[2]) as mine:
    print("mine" if mine else "taken", flush=True)
    time.sleep(60)
"""


def _hold(folder: Path, identity: str) -> subprocess.Popen:
    holder = subprocess.Popen([sys.executable, "-c", _HOLDER, folder, identity], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "mine\n"
    return holder


def _kill(holder: subprocess.Popen) -> None:
    holder.kill()
    holder.wait()
    holder.stdout.close()


def _race(folder: Path, names: list[str], barrier, order: int) -> None:
    barrier.wait()
    for name in names[order:] + names[:order]:
        with claim(folder, name) as mine:
            if mine and not (folder / f"{name}.json").exists():
                with open(folder / f"{name}.log", "a") as log:
                    log.write(f"{os.getpid()}\n")
                time.sleep(0.002)
                (folder / f"{name}.json").touch()


def _run_race(folder: Path, names: list[str], workers: int) -> None:
    """Every worker starts at its own place in the list, so that claims are met free, held and just released."""
    barrier = _PROCESSES.Barrier(workers)
    step = max(1, len(names) // (2 * workers))
    processes = [_PROCESSES.Process(target=_race, args=(folder, names, barrier, i * step)) for i in range(workers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * workers


def _executions(folder: Path, names: list[str]) -> list[int]:
    return [len((folder / f"{name}.log").read_text().split()) for name in names]


def _forge(folder: Path, identity: str, **changes) -> Path:
    """A claim as this process would write it, with some facts changed."""
    pid = os.getpid()
    owner = {"host": module._host(), "pid": pid, "start": process_start(pid), "token": "forged", **changes}
    path = folder / f"{identity}.claim"
    path.write_text(json.dumps(owner))
    return path


def test_a_free_run_is_claimed_and_the_claim_is_removed_afterwards(tmp_path):
    with claim(tmp_path / "records", "run") as mine:
        assert mine
        owner = json.loads((tmp_path / "records" / "run.claim").read_text())
        assert owner["pid"] == os.getpid()
        assert owner["host"].startswith(socket.gethostname())
    assert list((tmp_path / "records").iterdir()) == []


def test_a_run_that_a_living_process_holds_is_not_claimed(tmp_path):
    holder = _hold(tmp_path, "run")
    try:
        with claim(tmp_path, "run") as mine:
            assert not mine
        assert (tmp_path / "run.claim").exists()
        with claim(tmp_path, "another run") as mine:
            assert mine
    finally:
        _kill(holder)


def test_a_claim_is_removed_when_the_run_fails(tmp_path):
    with pytest.raises(RuntimeError), claim(tmp_path, "run"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_the_next_taker_gets_the_run_of_a_killed_process(tmp_path):
    holder = _hold(tmp_path, "run")
    _kill(holder)
    assert (tmp_path / "run.claim").exists()
    with claim(tmp_path, "run") as mine:
        assert mine
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_that_nobody_waited_for_holds_nothing(tmp_path):
    """Until its parent waits, a killed worker stays in /proc as a zombie, with its number and start time."""
    holder = _hold(tmp_path, "run")
    holder.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
    with claim(tmp_path, "run") as mine:
        assert mine
    _kill(holder)


def test_a_process_that_only_has_a_dead_ones_number_holds_nothing(tmp_path):
    _forge(tmp_path, "run", start=process_start(os.getpid()) + 1)
    with claim(tmp_path, "run") as mine:
        assert mine


def test_another_hosts_claim_is_stale_after_five_minutes_without_a_heartbeat(tmp_path):
    path = _forge(tmp_path, "run", host="elsewhere", pid=1)
    os.utime(path, (time.time() - 290, time.time() - 290))
    with claim(tmp_path, "run") as mine:
        assert not mine
    os.utime(path, (time.time() - 310, time.time() - 310))
    with claim(tmp_path, "run") as mine:
        assert mine


def test_an_unreadable_claim_is_stale_after_five_minutes(tmp_path):
    path = tmp_path / "run.claim"
    path.touch()
    with claim(tmp_path, "run") as mine:
        assert not mine
    os.utime(path, (time.time() - 310, time.time() - 310))
    with claim(tmp_path, "run") as mine:
        assert mine


def test_a_heartbeat_renews_the_claim_by_hand_and_by_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_BEAT_SECONDS", 0.05)
    with claim(tmp_path, "run") as mine:
        path = tmp_path / "run.claim"
        os.utime(path, (0, 0))
        mine.touch()
        assert time.time() - path.stat().st_mtime < 60
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 10
        while path.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert time.time() - path.stat().st_mtime < 60


def test_a_claim_that_was_taken_over_is_neither_renewed_nor_removed_by_its_first_holder(tmp_path):
    with claim(tmp_path, "run") as mine:
        path = _forge(tmp_path, "run", host="elsewhere")
        os.utime(path, (1000, 1000))
        mine.touch()
        assert path.stat().st_mtime == 1000
    assert json.loads(path.read_text())["token"] == "forged"


def test_processes_that_race_for_the_same_runs_make_each_run_once(tmp_path):
    names = [f"{i:016x}" for i in range(60)]
    _run_race(tmp_path, names, workers=6)
    assert _executions(tmp_path, names) == [1] * 60
    assert not list(tmp_path.glob("*claim*"))


def test_of_many_that_find_a_claim_stale_at_once_exactly_one_takes_it_over(tmp_path):
    """Every run starts with the claim of a dead process, every third also with a dead taker's ticket for it."""
    names = [f"{i:016x}" for i in range(60)]
    for i, name in enumerate(names):
        _forge(tmp_path, name, start=1)
        if i % 3 == 0:
            _forge(tmp_path, f"{name}.forged", start=1, token="dead-ticket")
    _run_race(tmp_path, names, workers=6)
    assert _executions(tmp_path, names) == [1] * 60
    assert not list(tmp_path.glob("*claim*"))
