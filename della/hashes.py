"""SHA-256 of files, in threads, remembered between processes: a large model need not be read again for every merge.

    file_sha256(Path("models/base/model.safetensors"))
    files_sha256([first, second], progress=lambda count: print(count, "bytes more"))

One small JSON file per hashed file lies in `sha256` in the cache folder (della/cache.py). It counts only for a file of
the same path, size, inode, modification and change time. A file touched less than two seconds before it was hashed
is not remembered: it could change again within the same tick of the file system's clock. In the Hugging Face cache a
large file's name is its SHA-256 already, and is taken.
"""

import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from della.cache import cache_folder
from della.errors import InputError
from della.files import canonical, write_atomically

_YOUNG = 2_000_000_000  # nanoseconds: the coarsest clock of a common file system (FAT) ticks every two seconds
_CHUNK = 1 << 20  # bytes read at a time
_BLOB = re.compile("[0-9a-f]{64}")

_known: dict[Path, tuple["Stamp", str]] = {}

Stamp = tuple[int, int, int, int]
Progress = Callable[[int], object]


def file_sha256(file: Path, progress: Progress | None = None) -> str:
    """SHA-256 of a file's content, 64 hexadecimal digits.

    Args:
        file: to be hashed; a link is followed.
        progress: called with the number of bytes done since the last call.

    Raises:
        InputError: the file cannot be read.
    """
    progress = progress or (lambda count: None)
    try:
        resolved = file.resolve(strict=True)
        before = stamp(resolved)
        known = _blob_name(file, resolved) or _recall(resolved, before)
        if known:
            progress(before[0])
            return known
        started = time.time_ns()
        digest = _read(resolved, progress)
        if stamp(resolved) == before and started - max(before[1:3]) >= _YOUNG:
            _remember(resolved, before, digest)
        return digest
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); check its path and permissions") from error


def files_sha256(files: Iterable[Path], progress: Progress | None = None, threads: int | None = None) -> list[str]:
    """SHA-256 of each file, in the order given, hashed in parallel.

    Args:
        files: see `file_sha256`.
        progress: as for `file_sha256`, one call at a time, in any thread.
        threads: how many files are read at once; None for one per core, at most 8.

    Raises:
        InputError: a file cannot be read.
    """
    files = list(files)
    lock = threading.Lock()

    def count(size: int) -> None:
        if progress:
            with lock:
                progress(size)

    with ThreadPoolExecutor(threads or min(8, os.cpu_count() or 1)) as pool:
        largest_first = sorted(set(files), key=lambda file: (-_size(file), file))
        running = {file: pool.submit(file_sha256, file, count) for file in largest_first}
        return [running[file].result() for file in files]


def folder_sha256(
    folder: Path, files: Iterable[str], progress: Progress | None = None, threads: int | None = None
) -> str:
    """A hash over the names and contents of a folder's files, whatever the folder is called.

    Args:
        files: their names, in an order that is the same each time.
        progress, threads: see `files_sha256`.

    Raises:
        InputError: a file cannot be read.
    """
    files = list(files)
    digests = files_sha256([folder / file for file in files], progress, threads)
    lines = (f"{digest}  {file}\n" for digest, file in zip(digests, files, strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0


def stamp(file: Path) -> Stamp:
    """Size, modification and change time, inode. The change time shows what cp -p and touch hide."""
    stat = os.stat(file)
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


def _read(file: Path, progress: Progress) -> str:
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_CHUNK))
    with file.open("rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            digest.update(buffer[:count])
            progress(count)
    return digest.hexdigest()


def _blob_name(file: Path, resolved: Path) -> str | None:
    """The hash in the name that huggingface_hub gives a large file: snapshots/REVISION/NAME links to blobs/SHA256."""
    named = file.is_symlink() and _BLOB.fullmatch(resolved.name) and resolved.parent.name == "blobs"
    return resolved.name if named and (resolved.parent.parent / "snapshots").is_dir() else None


def _entry(file: Path) -> Path | None:
    folder = cache_folder()
    return folder and folder / "sha256" / f"{hashlib.sha256(os.fsencode(file)).hexdigest()[:32]}.json"


def _recall(file: Path, stamp: Stamp) -> str | None:
    """The remembered hash of a file that has not changed since, or None."""
    if file in _known and _known[file][0] == stamp:
        return _known[file][1]
    entry = _entry(file)
    try:
        held = json.loads(entry.read_bytes()) if entry else {}
    except (OSError, ValueError):
        return None
    same = isinstance(held, dict) and (held.get("path"), held.get("stamp")) == (os.fspath(file), list(stamp))
    digest = held.get("sha256") if same else None
    return digest if isinstance(digest, str) and _BLOB.fullmatch(digest) else None


def _remember(file: Path, stamp: Stamp, digest: str) -> None:
    """For this process, and for later ones if the cache folder can be written."""
    _known[file] = (stamp, digest)
    entry = _entry(file)
    if entry is None:
        return
    content = {"path": os.fspath(file), "stamp": stamp, "sha256": digest}
    try:
        entry.parent.mkdir(exist_ok=True)
        write_atomically(entry, canonical(content).encode())
    except (OSError, ValueError):  # a full disk; a path that is not Unicode
        pass
