"""What a merge needs of the machine and what is there: disk, memory, and how much of the inputs is in memory already.

free_disk(Path("merged"))           # bytes that may be written for this folder
available_memory()                  # bytes that this process may still take
uncached(files)                     # bytes that must first be read from the disk
"""

import ctypes
import mmap
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np

NO_LIMIT = 2**60  # control groups of version 1 say "no limit" with a number near 2**63
_LOOKED_AT = 2**28  # of each file, its first bytes say whether it has been read


def existing_parent(out: Path) -> Path:
    """The nearest folder above `out` that exists."""
    return next(path for path in Path(os.path.realpath(out)).parents if path.exists())


def free_disk(out: Path) -> int:
    """Bytes free on the file system where `out` will be, and where its unfinished folder lies beside it.

    What an interrupted merge into `out` left there counts as free: it is gone on with, or removed first.
    """
    parent = existing_parent(out)
    target = Path(os.path.realpath(out))
    unfinished = target.with_name(f".{target.name}.merging")
    left = sum(path.stat().st_size for path in unfinished.rglob("*") if path.is_file())
    return shutil.disk_usage(parent).free + left


def available_memory(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes that this process may still take: what the machine has and its control groups allow; None if unknown.

    Cached file pages count as available, as they make room.
    """
    known = [] if (free := _machine_memory(proc)) is None else [free]
    for line in _read(proc / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, files = groups, ("memory.max", "memory.current", ("inactive_file", "active_file"))
        elif "memory" in controllers.split(","):
            root = groups / "memory"
            files = ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file"))
        else:
            continue
        group = root / path.lstrip("/")
        while group != root.parent:  # a group has what each of the groups above it has left, too
            if (left := _left_in_group(group, *files)) is not None:
                known.append(left)
            group = group.parent
    return min(known, default=None)


def _machine_memory(proc: Path) -> int | None:
    fields = dict(line.split(":", 1) for line in _read(proc / "meminfo").splitlines() if ":" in line)
    return int(fields["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in fields else None


def _left_in_group(group: Path, limit: str, used: str, cached: tuple[str, str]) -> int | None:
    allowed, taken = _read(group / limit).strip(), _read(group / used).strip()
    if not allowed.isdigit() or int(allowed) >= NO_LIMIT or not taken.isdigit():
        return None
    stat = dict(line.split(" ", 1) for line in _read(group / "memory.stat").splitlines() if " " in line)
    return max(0, int(allowed) - int(taken) + sum(int(stat.get(name, 0)) for name in cached))


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""


def uncached(files: Iterable[Path]) -> int:
    """Bytes of some files that are not in the page cache, as told by the first part of each; 0 where nobody can say."""
    return sum(_uncached(file) for file in files)


def _uncached(file: Path) -> int:
    size = file.stat().st_size
    length = min(size, _LOOKED_AT)
    if not length:
        return 0
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), length, access=mmap.ACCESS_READ) as mapped:
        view = np.frombuffer(mapped, np.uint8)
        resident = np.zeros(-(-length // mmap.PAGESIZE), np.uint8)
        try:
            mincore = ctypes.CDLL(None, use_errno=True).mincore
        except (OSError, AttributeError):
            return 0
        failed = mincore(
            ctypes.c_void_p(view.ctypes.data), ctypes.c_size_t(length), ctypes.c_void_p(resident.ctypes.data)
        )
        del view  # a map cannot be closed while an array looks at it
    return 0 if failed else round(size * (1 - float((resident & 1).mean())))
