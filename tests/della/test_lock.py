"""A lock is held by one process, ends with it, and is right while its folder comes and goes."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from della.lock import BusyError, Lock

HOLDER = """
import sys, time
from pathlib import Path
from della.lock import Lock
lock = Lock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_a_second_holder_is_refused_and_told_who_holds_it(tmp_path):
    lock = Lock(tmp_path / "work")
    with pytest.raises(BusyError, match=f"process {os.getpid()} on "):
        Lock(tmp_path / "work")
    lock.release()
    assert list(tmp_path.iterdir()) == []
    Lock(tmp_path / "work").release()


def test_what_else_is_in_the_folder_stays_when_the_lock_goes(tmp_path):
    lock = Lock(tmp_path / "work")
    (tmp_path / "work" / "kept").write_text("x")
    lock.release()
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["kept"]


def test_a_killed_process_holds_nothing(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "work")], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(BusyError, match=f"process {process.pid} on "):
            Lock(tmp_path / "work")
        process.send_signal(signal.SIGKILL)
    Lock(tmp_path / "work").release()


def test_never_two_hold_it_while_the_folder_is_made_and_removed_all_the_time(tmp_path):
    """Eight threads, each with its own open file, as processes have: 200 times each, between refusals."""
    inside, crowded = [], []

    def work():
        times = 0
        while times < 200:
            try:
                lock = Lock(tmp_path / "work")
            except BusyError:
                continue
            inside.append(threading.get_ident())
            crowded.append(len(inside))
            inside.pop()
            lock.release()
            times += 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert crowded == [1] * 1600
    assert list(tmp_path.iterdir()) == []
