"""Programs that mean harm: none passes, none harms, none leaves anything behind.

Most are written so that their test holds exactly if the attack worked.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import pytest

from eval.sandbox import RUNNER, Program, _Runner, _Runners, isolation_level, run_programs

RIGHT = Program("def f(x):\n    return x + 1", ["assert f(1) == 2"])
WRONG = "\ndef f(x):\n    return x"

# Programs that try to be counted as passing without running `assert f(1) == 2` to its end.
CHEATS = {
    "exit": "exit(0)",
    "sys.exit": "import sys\nsys.exit(0)",
    "os._exit": "import os\nos._exit(0)",
    "sys.exit inside the function": "import sys\ndef f(x):\n    sys.exit(0)",
    "os._exit inside the function": "import os\ndef f(x):\n    os._exit(0)",
    "SystemExit from another thread": "import os, threading\nthreading.Thread(target=os._exit, args=(0,)).start()"
    + WRONG,
    "atexit": "import atexit, os\natexit.register(os._exit, 0)\natexit.register(print, 'passed')" + WRONG,
    "prints": "import sys\nprint('passed', True, '{\"passed\": true}')\nprint('passed', file=sys.stderr)" + WRONG,
    "exec of another program": "import os\nos.execv('/bin/true', ['true'])",
    "kill itself": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\nos.abort()",
    "replaced names": "import builtins, os, sys\nbuiltins.exec = builtins.compile = lambda *_, **__: None\n"
    "builtins.AssertionError = builtins.BaseException = ZeroDivisionError\nsys.modules['os'] = None" + WRONG,
    "writes to every file": """
import os
def f(x):
    for fd in range(1024):
        for text in b'passed', b'true', b'{"passed": true, "reason": "", "sure": true}\\n', bytes(16):
            try: os.write(fd, text)
            except OSError: pass
    os._exit(0)
""",
    "echoes every file": """
import os
def f(x):
    got = b''
    for fd in range(1024):
        try:
            os.set_blocking(fd, False)
            got += os.read(fd, 16)
        except OSError: pass
    os.write(4, got)
    os._exit(0)
""",
    "calls the runner's report": """
import sys
def f(x):
    frame = sys._getframe()
    while frame:
        for space in frame.f_locals, frame.f_globals:
            if '_report' in space:
                space['_report'](b'passed')
        frame = frame.f_back
    sys.modules['__main__']._report(bytes(16))
""",
    "survives the exception": """
import os
if os.fork() == 0:
    while True:
        try: os.write(4, b'passed' * 1000)
        except BaseException: pass
"""
    + WRONG,
}

# Programs whose test holds only if they did, saw or reached what they must not.
ATTACKS = {
    "deletes a file": "import os\ntry: os.remove({canary!r})\nexcept OSError: pass",
    "overwrites a file": "try: open({canary!r}, 'w').write('harm')\nexcept OSError: pass",
    "writes to the library": "import os\nopen(os.__file__ + '.harm', 'w')",
    "reads a file of this user": "assert open({canary!r}).read()",
    "reads the environment": "import os\nassert 'SECRET' in repr(os.environ) + open('/proc/self/environ').read()",
    "looks at the home folder": "import os\nassert len(os.listdir({home!r})) > 1",
    "reads the system's files": "open('/etc/passwd')",
    "sees processes": "import os\nassert os.listdir('/proc')",
    "reads its own memory": "open('/proc/self/mem', 'rb')",
    "connects to this machine": "import socket\nsocket.create_connection(('127.0.0.1', {port}), 1)",
    "reaches a network": "from socket import *\nsocket(AF_INET, SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 9))",
    "kills its parent": "import os\nassert os.getppid() > 0\nos.kill(os.getppid(), 9)",
    "becomes root": "import os\nos.setuid(0)",
    "makes a user namespace": "import ctypes\nassert ctypes.CDLL(None).unshare(0x10000000) == 0",
    "makes a mount namespace": "import ctypes\nassert ctypes.CDLL(None).unshare(0x20000) == 0",
    "leaves its root": "import os\nos.chroot('.')",
    "makes a device": "import os\nos.mknod('disk', 0o60666, os.makedev(8, 0))",
    "runs what it wrote": "import os\nopen('a', 'w').write('#!/bin/sh')\nos.chmod('a', 0o777)\nos.execv('a', ['a'])",
    "fills the disk": "for i in range(100): open(str(i), 'wb').write(bytes(1 << 20))",
    "writes one large file": "open('large', 'wb').write(bytes(12 << 20))",
    "fork bomb": "import os\nfor _ in range(30): os.fork()",
    "thread bomb": "import threading, time\nfor _ in range(99): threading.Thread(target=time.sleep, args=(9,)).start()",
    "memory bomb": "x = []\nwhile True: x.append(bytearray(10 << 20))",
    "raises its own limits": "import resource\nresource.setrlimit(resource.RLIMIT_NPROC, (10000, 10000))",
    "endless output": "while True: print('passed' * 1000)",
    "refuses to end": """
import signal
for number in range(1, 65):
    try: signal.signal(number, lambda *_: None)
    except (OSError, ValueError): pass
while True:
    try:
        while True: pass
    except BaseException: pass
""",
}


def need(level: str) -> None:
    if "namespaces" == level != isolation_level():
        pytest.skip("this machine refuses namespaces")


def leftovers() -> set[str]:
    """Processes of the uids that programs get, and mounts: what must be the same before and after."""
    found = set(Path("/proc/self/mountinfo").read_text().splitlines())
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            uid = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("Uid:"))
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(uid) > 2_000_000_000:
            found.add(f"process of uid {uid}")
    return found


@pytest.mark.parametrize("level", ["namespaces", "rlimits"])
def test_no_cheat_passes(level):
    need(level)
    runners = _Runners(level, _Runner(level))
    answers = {name: runners.judge(Program(code, RIGHT.tests), 1.0, 512, 1.0) for name, code in CHEATS.items()}
    assert [name for name, answer in answers.items() if answer["passed"]] == []
    assert runners.judge(RIGHT, 1.0, 512, 1.0)["passed"]
    runners.close()


def test_no_attack_works_and_nothing_is_left_behind(tmp_path, monkeypatch):
    """The canary keeps its bytes, nobody connects, no process, mount or sandbox folder is new."""
    need("namespaces")
    monkeypatch.setenv("SECRET", "SECRET")
    canary = tmp_path / "canary"
    canary.write_text("alive")
    before, folders = leftovers(), set(Path(tempfile.gettempdir()).glob("sandbox-*"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        port = server.getsockname()[1]
        told = {"canary": str(canary), "home": str(Path.home()), "port": port}
        programs = {name: Program(code.format(**told), ["assert True"]) for name, code in ATTACKS.items()}
        for name in ("deletes a file", "overwrites a file"):
            programs[name] = Program(programs[name].code, [f"assert open({str(canary)!r}).read() != 'alive'"])
        verdicts = dict(
            zip(programs, run_programs(list(programs.values()), workers=2, timeout_s=1.0, memory_mb=128), strict=True)
        )
        assert {name: v for name, v in verdicts.items() if v.passed} == {}
        with pytest.raises(BlockingIOError):
            server.accept()
    assert canary.read_text() == "alive"
    assert leftovers() <= before
    assert set(Path(tempfile.gettempdir()).glob("sandbox-*")) <= folders
    assert verdicts["memory bomb"].reason == "memory"
    assert verdicts["endless output"].reason == verdicts["refuses to end"].reason == "timeout"
    assert run_programs([RIGHT])[0].passed


@pytest.mark.parametrize("level", ["namespaces", "rlimits"])
def test_what_a_right_program_leaves_running_or_lying_about_is_gone_when_its_verdict_is_there(level):
    """It passes: a child that sleeps in a session of its own, a thread, and a file are no fault, but must not stay."""
    need(level)
    mark = f"left-{uuid.uuid4().hex}"
    code = f"""
import os, threading, time
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(100)
        os._exit(0)
threading.Thread(target=time.sleep, args=(100,)).start()
for folder in "/tmp", "/dev/shm", "/var/tmp", ".":
    try: open(folder + "/{mark}", "w")
    except OSError: pass
assert os.path.exists("{mark}")
"""
    before = leftovers()
    runners = _Runners(level, _Runner(level))
    started = time.monotonic()
    alone = level == "rlimits" and os.geteuid() != 0  # then a program may start nothing at all
    assert runners.judge(Program(code, ["assert True"]), 5.0, 512, 5.0)["passed"] is not alone
    assert time.monotonic() - started < 3
    assert leftovers() <= before
    runners.close()
    if level == "namespaces":
        assert not any(Path(folder, mark).exists() for folder in ("/tmp", "/dev/shm", "/var/tmp", "."))


SEARCH = """
import gc, sys
def reachable(wanted):
    todo, seen = gc.get_objects() + list(sys._current_frames().values()), set()
    frame = sys._getframe()
    while frame:
        todo += [frame, frame.f_locals, frame.f_globals, frame.f_builtins, frame.f_code]
        frame = frame.f_back
    while todo:
        thing = todo.pop()
        if id(thing) in seen: continue
        seen.add(id(thing))
        if isinstance(thing, bytes) and list(thing) == [wanted] * 16: return True
        todo += gc.get_referents(thing)
    return False
def hide(number):
    secret = bytes([number] * 16)
    return lambda: secret
kept, in_global = hide(1), bytes([2] * 16)
def f():
    in_frame = bytes([3] * 16)
    return [number for number in (1, 2, 3, 4, 84) if reachable(number)]
"""


def start_runner(command: list[str], **settings) -> subprocess.Popen:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, **pipes, **settings)
    assert json.loads(process.stdout.readline()) == {"ready": True}
    return process


def ask(process: subprocess.Popen, code: str, *tests: str) -> tuple[bool, str]:
    request = {"code": code, "setup": "", "tests": tests, "seconds": 2.0, "wall": 2.0, "memory_mb": 512}
    process.stdin.write(json.dumps(request) + "\n")
    process.stdin.flush()
    answer = json.loads(process.stdout.readline())
    return answer["passed"], answer["reason"]


def test_the_token_is_in_nothing_that_a_program_can_walk_to():
    """Every token of this runner is sixteen times the letter T, number 84. The search through frames and all that the
    garbage collector knows finds what was hidden in a closure (1), a global (2) and a frame (3): not 4, which nobody
    hid, and not 84."""
    need("namespaces")
    fixed = f"import os, runpy\nos.urandom = lambda n: b'T' * n\nrunpy.run_path({str(RUNNER)!r}, run_name='__main__')"
    process = start_runner([sys.executable, "-S", "-s", "-P", "-c", fixed, "namespaces"])
    assert ask(process, SEARCH, "assert f() == [1, 2, 3]") == (True, "")
    forged = "import os\nos.write(4, b'T' * 16)\nos._exit(0)"
    assert ask(process, forged, "assert False") == (True, "")  # it is indeed this token that counts
    process.communicate()


def test_without_root_the_same_holds_inside_a_user_namespace():
    """The runner as a user that owns nothing, in a Python that such a user can start."""
    need("namespaces")
    other = {"user": 64_999, "group": 64_999, "extra_groups": []} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o755)
        for file in RUNNER.parent.glob("sandbox_*.py"):
            shutil.copy(file, folder)
        pythons = [sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"]
        test = "import sys; sys.exit(sys.version_info < (3, 11))"
        python = next((p for p in pythons if can_run([p, "-c", test], **other)), None)
        if python is None:
            pytest.skip("no Python 3.11 that another user can start")
        process = start_runner([python, "-S", "-s", "-P", str(folder / RUNNER.name), "namespaces"], **other)
        assert ask(process, RIGHT.code, *RIGHT.tests) == (True, "")
        for name, code in CHEATS.items():
            assert (name, ask(process, code, *RIGHT.tests)[0]) == (name, False)
        for name, code in ATTACKS.items():
            code = code.format(canary=str(folder / RUNNER.name), home="/home", port=9)
            if "a file" not in name:
                assert (name, ask(process, code, "assert True")[0]) == (name, False)
        process.communicate()
    finally:
        shutil.rmtree(folder)


def can_run(command: list[str], **settings) -> bool:
    try:
        return subprocess.run(command, check=False, **settings).returncode == 0
    except PermissionError:
        return False
