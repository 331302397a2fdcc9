"""Many programs leave nothing behind: no process, no file, no mount; and what holds at level `rlimits` too."""

import os
import random
import tempfile
import time
import uuid
from pathlib import Path

import pytest

from eval import sandbox
from eval.sandbox import LEVELS, Program, _Runner, _Runners, isolation_level, run_programs
from tests.eval.hostile import children, leftovers, need, program_uids

MARK = f"left-{uuid.uuid4().hex}"

# What generated programs do besides returning; {n} is the program's number, {mark} a name to look for afterwards.
HABITS = [
    "pass",
    "open('{mark}', 'w').write('x' * {n})",
    "import tempfile\nfolder = tempfile.mkdtemp(prefix='{mark}')\nopen(folder + '/{n}', 'w')",
    "for place in ('/tmp/', '/var/tmp/', '/dev/shm/', '/', '../'):\n    try: open(place + '{mark}', 'w')\n"
    "    except OSError: pass",
    "import os\nos.makedirs('/'.join(['{mark}'] * 50))\nos.chmod('{mark}', 0)",
    "import os\nos.symlink('/', '{mark}')\nos.mkfifo('{mark}-{n}')",
    "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(100)\n    os._exit(0)",
    "import os, time\nif os.fork() == 0:\n    if os.fork() == 0: time.sleep(100)\n    os._exit(0)",
    "import threading, time\nthreading.Thread(target=time.sleep, args=(100,)).start()",
    "import signal, os\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nos.fork()",
    "import socket\na, b = socket.socketpair()\nkept = a",
    "import ctypes\nctypes.CDLL(None).shmget({n} + 1, 4096, 0o1666)",
    "import multiprocessing\nmultiprocessing.get_context('fork').Process(target=print).start()",
    "x = bytearray(50 << 20)",
]
SLOW = [
    "while True: pass",
    "import os\nwhile True:\n    if os.fork(): os._exit(0)",
    "x = []\nwhile True: x.append(x[:] + [1])",
]


def generated(count: int) -> list[tuple[Program, bool | None]]:
    """Programs, the same in every run, and whether each passes: f adds n, or one more. Every tenth never ends: None."""
    draw, out = random.Random(0), []
    for n in range(count):
        right = draw.random() < 0.5
        habit = draw.choice(SLOW if n % 10 == 9 else HABITS).format(n=n, mark=MARK)
        code = f"def f(x):\n    return x + {n if right else n + 1}\n{habit}"
        out.append(
            (Program(code, [f"assert f(1) == {n + 1}", f"assert f(2) == {n + 2}"]), None if n % 10 == 9 else right)
        )
    return out


@pytest.mark.parametrize("count", [30, pytest.param(1000, marks=pytest.mark.full)])
def test_many_generated_programs_leave_no_process_file_or_mount_behind(count, monkeypatch):
    """Afterwards the runners are the only processes that are new, and they go with their owner."""
    need("namespaces")
    runners = _Runners("namespaces", _Runner("namespaces"))
    monkeypatch.setitem(sandbox._runners, os.getpid(), runners)
    programs = generated(count)
    run_programs([Program(f"x = {n}", ["assert True"]) for n in range(20)], workers=2)  # starts the runners
    ours, uids = children(os.getpid()), program_uids()
    before = leftovers(uids)
    verdicts = run_programs([program for program, _ in programs], workers=2, timeout_s=0.5, memory_mb=256)
    told = [
        (n, verdict)
        for n, (verdict, (_, right)) in enumerate(zip(verdicts, programs, strict=True))
        if right is not None
    ]
    assert leftovers(uids | program_uids()) <= before
    assert not [path for folder in places() for path in folder.glob(f"{MARK}*")]
    new = set(children(os.getpid())) - set(ours)
    assert all("sandbox_runner" in Path(f"/proc/{pid}/cmdline").read_text() for pid in new)
    started = {runner._process.pid for runner in runners._idle}
    assert len(started) >= 2
    runners.close()
    assert not started & set(children(os.getpid()))
    assert [(n, v) for n, v in told if v.passed is not programs[n][1]] == []
    assert not any(v.passed for v, (_, right) in zip(verdicts, programs, strict=True) if right is None)


def places() -> list[Path]:
    folders = {tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm", "/", os.getcwd(), str(Path.home())}
    return [Path(folder) for folder in folders if os.path.isdir(folder)]


DEEP = "import os\nfor _ in range(1000):\n    os.mkdir('d' * 200)\n    os.chdir('d' * 200)\nopen('x', 'w')"


def test_without_namespaces_the_folder_goes_however_deep_and_the_runners_with_it():
    """1,000 folders of 200 letters are fifty times the longest path that the kernel takes."""
    before = set(Path(tempfile.gettempdir()).glob("sandbox-*"))
    runners = _Runners("rlimits", _Runner("rlimits"))
    box = set(Path(tempfile.gettempdir()).glob("sandbox-*")) - before
    assert runners.judge(Program(DEEP, ["assert True"]), 5.0, 512, 5.0)["passed"]
    assert [list(folder.iterdir()) for folder in box if folder.exists()] == [[]] * len(box)
    runners.close()
    assert [folder for folder in box if folder.exists()] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="without root a program at this level may start nothing")
def test_without_namespaces_a_chain_of_forks_is_ended():
    """Each process forks the next and ends; whoever kills them one by one has to be quicker than a fork."""
    chain = "import os\nif os.fork() == 0:\n    while True:\n        if os.fork(): os._exit(0)"
    runners = _Runners("rlimits", _Runner("rlimits"))
    uids = program_uids()
    started = time.monotonic()
    assert runners.judge(Program(chain, ["assert True"]), 2.0, 512, 2.0)["passed"]
    assert time.monotonic() - started < 5
    assert not [name for name in leftovers(uids) if name.startswith("process")]
    runners.close()


REFUSED = {
    "a socket": "import socket\nsocket.socket()",
    "a signal to its parent": "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)",
    "a limit of its parent": "import os, resource\nresource.prlimit(os.getppid(), resource.RLIMIT_CPU, (0, 0))",
    "a trace of its parent": "import ctypes, os\nassert ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0) == 0",
    "its parent's memory": "import os\nopen(f'/proc/{os.getppid()}/mem', 'rb')",
    "its parent's files": "import os\nos.listdir(f'/proc/{os.getppid()}/fd')",
    "memory that no limit counts": "import ctypes\nassert ctypes.CDLL(None).shmget(0, 4096, 0o1600) >= 0",
    "root": "import os\nos.setuid(0)",
    "more processes than allowed": "import os\nfor _ in range(30): os.fork()",
    "another's environment": "import os\nassert b'PATH' in open(f'/proc/{os.getppid()}/environ', 'rb').read()",
}


def test_without_namespaces_too_the_runner_and_the_network_are_out_of_reach():
    runners = _Runners("rlimits", _Runner("rlimits"))
    answers = {name: runners.judge(Program(code, ["assert True"]), 1.0, 512, 1.0) for name, code in REFUSED.items()}
    assert [name for name, answer in answers.items() if answer["passed"]] == []
    assert len(runners._idle) == 1
    runners.close()


def test_a_machine_that_refuses_namespaces_is_told_once(monkeypatch, capsys):
    def refuse(level: str, start=_Runner):
        if level == "namespaces":
            raise sandbox.SandboxError("unshare: Operation not permitted")
        return start(level)

    monkeypatch.setattr(sandbox, "_Runner", refuse)
    monkeypatch.setattr(sandbox, "_runners", {})
    assert isolation_level() == isolation_level() == "rlimits"
    assert run_programs([Program("x = 1", ["assert x == 1"])]) == [(True, "")]
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "isolation level rlimits, for this machine refuses namespaces (unshare: Operation not permitted)" in said
    sandbox._runners.pop(os.getpid()).close()
    assert set(LEVELS) == {"namespaces", "rlimits"}
