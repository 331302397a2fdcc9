"""What a process may see and do on Linux, narrowed by namespaces and limits, with the standard library alone.

Not for hand use: `sandbox_runner.py` imports it, in an interpreter of its own. The first part is called once, by the
runner, for itself; `confine` is called in each child, before the program. Raises OSError where the machine refuses.
"""

import contextlib
import ctypes
import math
import os
import resource
import signal
import sys
import sysconfig
import tempfile
import typing

import sandbox_filter

SCRATCH_BYTES, FILE_BYTES, OPEN_FILES, TASKS = 16 << 20, 8 << 20, 32, 8
LIBRARY_FD = OPEN_FILES - 1  # open in a program only when Python lives where the program's uid can't go

# <sched.h>, <sys/mount.h>, <sys/prctl.h>, <linux/capability.h>
NEWNS, NEWCGROUP, NEWUTS, NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 4096, 16384, 1 << 18, 2
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 4, 36, 38
CAPABILITY_VERSION_3 = 0x20080522

libc = ctypes.CDLL(None, use_errno=True)


class Place(typing.NamedTuple):
    """Where programs run: the folder for theirs; their uid (None: ours); our pid namespace (None: level `rlimits`);
    whether their system calls are filtered."""

    box: str
    uid: int | None
    pid_namespace: int | None
    filtered: bool


def call(name: str, *arguments) -> None:
    """Calls libc's function and raises OSError if it returns non-zero."""
    if getattr(libc, name)(*(os.fsencode(a) if isinstance(a, str) else a for a in arguments)) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    call("mount", source, target, kind, ctypes.c_ulong(flags), data)


def prepare(level: str) -> Place:
    """Isolates this process for good, at level `namespaces` or `rlimits`."""
    if level not in ("namespaces", "rlimits"):
        raise OSError(f"unknown level {level}")
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("900")  # if the machine runs out of memory, let it be this that dies
    uid = _unused_uid()
    namespace = _enter_namespaces() if level == "namespaces" else None
    box = "/tmp" if level == "namespaces" else _use_plain_limits(uid)
    call("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0)  # nobody but root may trace us or open our files under /proc
    return Place(box, uid, namespace, sandbox_filter.is_supported())


def _unused_uid() -> int | None:
    """As root, a uid (and gid) that nothing else uses, this runner's programs apart; else None.

    Above what systemd and container runtimes hand out, made unique by our pid; in a container that maps fewer ids, from
    the range that Debian leaves free.
    """
    if os.geteuid() != 0:
        return None
    with open("/proc/self/uid_map") as file:
        spans = [(int(start), int(count)) for start, _, count in map(str.split, file)]
    uid = 2_000_000_000 + os.getpid()
    return uid if any(start <= uid < start + count for start, count in spans) else 60_000 + os.getpid() % 1_000


def _enter_namespaces() -> int:
    """Moves this process into its own namespaces and root; returns a descriptor of its pid namespace.

    The process that was started stays outside and waits. The one that returns is process 1 of the new pid namespace,
    so that nothing outlives it, and dies with the first.
    """
    uid, gid = os.geteuid(), os.getegid()
    call("unshare", (0 if uid == 0 else NEWUSER) | NEWNS | NEWPID | NEWNET | NEWIPC | NEWUTS | NEWCGROUP)
    if uid != 0:
        for name, text in (("setgroups", "deny"), ("uid_map", f"65534 {uid} 1"), ("gid_map", f"65534 {gid} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    child = os.fork()
    if child:
        os.closerange(0, 256)
        os.waitpid(child, 0)
        os._exit(0)
    call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    own = os.open("/proc/self/ns/pid", os.O_RDONLY)
    _build_root()
    return own


def _build_root() -> None:
    """A read-only root that holds the `box`, which programs see as /: libraries, three devices and an empty /tmp."""
    _mount(None, "/", None, MS_REC | MS_PRIVATE)
    # /proc is the one folder that exists everywhere and holds nothing that must be bound below.
    _mount("root", "/proc", "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755")
    bound: list[str] = []
    for path in _needed_paths():
        if not os.path.exists(path) or any(path == done or path.startswith(done + "/") for done in bound):
            continue
        target = "/proc/box" + path
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if path in ("/lib", "/lib64") and os.path.islink(path):
            os.symlink(os.readlink(path), target)
            continue
        if os.path.isdir(path):
            os.mkdir(target)
        else:
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY))
        _bind_read_only(path, target)
        bound.append(path)
    os.makedirs("/proc/box/tmp")
    os.chdir("/proc")
    call("pivot_root", ".", ".")  # stacks the old root on the new one; the next line takes it off
    call("umount2", ".", MNT_DETACH)
    _mount(None, "/", None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)
    os.chroot("/box")  # the kernel refuses user namespaces to a process in a chroot
    os.chdir("/")


def _needed_paths() -> list[str]:
    libraries = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache"]
    python = [os.path.join(sys.base_prefix, "lib"), sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")]
    return libraries + python + ["/dev/null", "/dev/zero", "/dev/urandom"]


def _bind_read_only(source: str, target: str) -> None:
    try:
        _mount(source, target, None, MS_BIND)
    except OSError:  # in a user namespace a folder that holds other mounts is bound whole or not at all
        _mount(source, target, None, MS_BIND | MS_REC)
    kept = os.statvfs(source).f_flag & MS_NOEXEC  # a user namespace may not take a flag away
    narrower = 0 if source.startswith("/dev/") else MS_RDONLY | MS_NODEV
    _mount(None, target, None, MS_REMOUNT | MS_BIND | MS_NOSUID | kept | narrower)


def _use_plain_limits(uid: int | None) -> str:
    """Without namespaces: makes strays our children, keeps the library readable; returns a folder for theirs."""
    call("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    box = tempfile.mkdtemp(prefix="sandbox-")
    if uid is not None:
        os.chmod(box, 0o711)
        os.dup2(os.open(sysconfig.get_path("stdlib"), os.O_RDONLY), LIBRARY_FD)
        sys.path[:] = [f"/proc/self/fd/{LIBRARY_FD}{end}" for end in ("", "/lib-dynload")]
        sys.path_importer_cache.clear()
    return box


def make_folder(place: Place) -> str:
    """Without namespaces: a scratch folder for one program, which `end_strays` removes."""
    box = tempfile.mkdtemp(dir=place.box)
    if place.uid is not None:
        os.chown(box, place.uid, place.uid)
    return box


def end_strays(box: str) -> None:
    """Without a pid namespace: kills all that a program left running, then removes its folder."""
    while pids := _children():
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    remove(box)


def _children() -> list[int]:
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return [int(pid) for pid in file.read().split()]


def remove(folder: str) -> None:
    """Removes a folder, however deep: what lies two levels down is moved up one until there is nothing left.

    (A walk down would meet the longest path that the kernel takes.) Leaves what this user may not remove.
    """
    moved = 0
    with contextlib.suppress(OSError):
        while found := list(os.scandir(folder)):
            for entry in found:
                if not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.path)
                    continue
                os.chmod(entry.path, 0o700)
                for inner in list(os.scandir(entry.path)):
                    if inner.is_dir(follow_symlinks=False):
                        os.chmod(inner.path, 0o700)
                        moved += 1
                        os.rename(inner.path, f"{folder}/.removed-{os.getpid()}-{moved}")
                    else:
                        os.unlink(inner.path)
                os.rmdir(entry.path)
        os.rmdir(folder)


def confine(place: Place, box: str, seconds: float, memory_mb: int) -> None:
    """In a child that is to become a program: an own folder, the limits, and no rights left."""
    if place.pid_namespace is not None:
        call("unshare", NEWNS | NEWIPC)
        options = f"size={SCRATCH_BYTES},nr_inodes=1k,mode=1777"
        _mount("scratch", box, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options)
    os.chdir(box)
    os.environ["HOME"] = box
    os.setsid()
    if place.uid is not None:
        os.setgroups([])
        os.setresgid(place.uid, place.uid, place.uid)
        os.setresuid(place.uid, place.uid, place.uid)
    # Processes are counted per uid and user namespace; our own uid may have thousands already, so then allow no new.
    tasks = 1 if place.uid is None and place.pid_namespace is None else TASKS
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_FSIZE: FILE_BYTES,
        resource.RLIMIT_NPROC: tasks,
        resource.RLIMIT_CPU: math.ceil(seconds) + 1,  # should the runner's clock not end it
        resource.RLIMIT_AS: memory_mb << 20,
    }
    for limit, value in limits.items():
        allowed = resource.getrlimit(limit)[1]  # a scheduler may have set a lower one, which can't be raised
        value = value if allowed == resource.RLIM_INFINITY else min(value, allowed)
        resource.setrlimit(limit, (value, value))
    call("capset", (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)())
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if place.pid_namespace is None:  # else the namespace ends with it
        call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if place.filtered:
        sandbox_filter.install(isolated=place.pid_namespace is not None)
