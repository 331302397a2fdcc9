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

from eval.sandbox import LEVELS, RUNNER, Program, _Runner, _Runners, run_programs
from tests.eval.attacks import ATTACKS
from tests.eval.hostile import CHEATS, RIGHT, UNTOLD, leftovers, need, program_uids
from tests.eval.introspection import INSIDE


@pytest.mark.parametrize("level", LEVELS)
def test_no_cheat_passes(level):
    need(level)
    runners = _Runners(level, _Runner(level))
    programs = CHEATS | INSIDE
    answers = {name: runners.judge(Program(code, RIGHT.tests), 0.5, 512, 0.5) for name, code in programs.items()}
    assert [name for name, answer in answers.items() if answer["passed"]] == []
    assert runners.judge(RIGHT, 1.0, 512, 1.0)["passed"]
    runners.close()


def test_no_attack_works_and_nothing_is_left_behind(tmp_path, monkeypatch):
    """The canary keeps its bytes, nobody connects, no process, mount or sandbox folder is new."""
    need("namespaces")
    monkeypatch.setenv("SECRET", "SECRET")
    canary = tmp_path / "canary"
    canary.write_text("alive")
    run_programs([RIGHT, *(Program(RIGHT.code + f"\n# {i}", RIGHT.tests) for i in range(8))], workers=2)
    uids = program_uids()
    before, folders = leftovers(uids), set(Path(tempfile.gettempdir()).glob("sandbox-*"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        port = server.getsockname()[1]
        told = {"canary": str(canary), "home": str(Path.home()), "port": port}
        programs = {name: Program(code.format(**told), ["assert True"]) for name, code in ATTACKS.items()}
        for name in ("deletes a file", "overwrites a file"):
            programs[name] = Program(programs[name].code, [f"assert open({str(canary)!r}).read() != 'alive'"])
        verdicts = dict(
            zip(programs, run_programs(list(programs.values()), workers=2, timeout_s=0.5, memory_mb=128), strict=True)
        )
        assert {name: v for name, v in verdicts.items() if v.passed} == {}
        with pytest.raises(BlockingIOError):
            server.accept()
    assert canary.read_text() == "alive"
    assert leftovers(uids) <= before
    assert set(Path(tempfile.gettempdir()).glob("sandbox-*")) <= folders
    assert verdicts["memory bomb"].reason == "memory"
    assert verdicts["endless output"].reason == verdicts["refuses to end"].reason == "timeout"
    assert run_programs([RIGHT])[0].passed


TRACE = """
import sys
def jump(frame, event, _):
    if event == 'line' and frame.f_code.co_filename == 'tests' and frame.f_lineno < 3:
        frame.f_lineno = 3
    return jump
sys.settrace(jump)
def f(x): return 0
"""


def test_a_trace_function_cannot_skip_tests():
    """It sends the tests' frame from their first line to their third, which holds; to the runner all are one line."""
    need("namespaces")
    assert not run_programs([Program(TRACE, ["assert f(1) == 2", "assert f(2) == 3", "assert True"])])[0].passed


FORKS = "import os\nfirst = os.fork()\nif first: os.waitpid(first, 0)\n"


@pytest.mark.parametrize(
    ("body", "passes"),
    [
        ("return x + 1", True),
        ("return x", False),
        ("return x + 1 if first else x", False),
        ("return x + (not first)", False),
    ],
    ids=["both right", "both wrong", "one right", "the other right"],
)
def test_a_program_that_goes_on_in_two_processes_passes_only_if_both_do(body, passes):
    """Both say so over one pipe; two right answers are no failure of the sandbox."""
    need("namespaces")
    assert run_programs([Program(f"{FORKS}def f(x):\n    {body}", RIGHT.tests)])[0].passed is passes


@pytest.mark.parametrize("name", UNTOLD)
def test_some_wrong_programs_pass_and_the_documentation_says_so(name):
    """Each returns something for f(1) that it did not compute: x is 1, and nothing in the programs says 2."""
    need("namespaces")
    assert run_programs([Program(UNTOLD[name], RIGHT.tests)])[0].passed


@pytest.mark.parametrize("level", LEVELS)
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
    runners = _Runners(level, _Runner(level))
    uids = program_uids()
    before = leftovers(uids)
    started = time.monotonic()
    alone = level == "rlimits" and os.geteuid() != 0  # then a program may start nothing at all
    assert runners.judge(Program(code, ["assert True"]), 5.0, 512, 5.0)["passed"] is not alone
    assert time.monotonic() - started < 3
    assert level == "rlimits" or leftovers(uids) <= before
    assert {name for name in leftovers(uids) - before if name.startswith("process")} == set()
    runners.close()
    for folder in ("/tmp", "/dev/shm", "/var/tmp", "."):
        assert level == "rlimits" or not Path(folder, mark).exists()
        Path(folder, mark).unlink(missing_ok=True)


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
        for name, code in (CHEATS | INSIDE).items():
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
