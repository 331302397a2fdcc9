"""The shards of a folder in the making, so that a killed process loses only those it had not finished.

`della/folder.py` is the way in. In the working folder, `files` is what becomes the result by one rename and never holds
half a shard; `FILE.part` is a shard that is being written; `done/FILE.json` is the journal, written when the shard
itself is on the disk. A shard counts when its journal entry is of this very merge and the file is as long as it says.
"""

import errno
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from della.errors import InputError
from della.files import canonical, write_atomically
from della.shards import Shard

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_CANNOT_ALLOCATE = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)
_FLUSH_SECONDS = 0.25  # the disk works while the shard is computed: little is left to wait for at its end


@dataclass
class _Part:
    """A shard on its way: open as FILE.part until it is flushed and renamed."""

    shard: Shard
    descriptor: int
    ended: threading.Event = field(default_factory=threading.Event)
    entry: bytes | None = None  # for the journal, once all bytes are written
    error: Exception | None = None


class Staging:
    """A folder in the making; made by `della.folder.staged`, which holds the lock of its working folder.

    finished: shard file -> the facts given to `finish`, of the shards that an earlier, killed process completed.
    folder: what becomes the result: other files may be written into it.
    """

    def __init__(self, work: Path, key: str, shards: Sequence[Shard]):
        self.folder = work / "files"
        self._work, self._journal, self._key = work, work / "done", key
        self._shards = {shard.file: shard for shard in shards}
        self._parts: dict[str, _Part] = {}
        self._threads: list[threading.Thread] = []
        self.finished: dict[str, Any] = {}
        for shard in shards:
            entry = self._read_entry(shard)
            if entry is not None:
                self.finished[shard.file] = entry["facts"]

    @property
    def resumed(self) -> int:
        """How many shards an earlier process left whole."""
        return len(self.finished)

    def place(self, name: str) -> Path:
        """Where to write a file that is no shard."""
        return self.folder / name

    def begin(self, shard: Shard) -> int:
        """Open a shard for writing, its space allocated and its prefix written.

        Returns:
            A file descriptor for os.pwrite, from any thread, until `finish` or the end of the `with` block. Every byte
            of every tensor has to be written.

        Raises:
            InputError: the disk is full.
        """
        if shard.file in self._parts:
            raise RuntimeError(f"{shard.file} was begun before")
        path = self._part(shard)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            _allocate(descriptor, shard.size)
            os.pwrite(descriptor, shard.prefix, 0)
        except OSError as error:
            os.close(descriptor)
            if error.errno in FULL:
                raise too_small(path, shard.size, shutil.disk_usage(self._work).free) from error
            raise
        part = self._parts[shard.file] = _Part(shard, descriptor)
        thread = threading.Thread(target=self._flush, args=(part,), daemon=True, name=f"flush {shard.file}")
        self._threads.append(thread)
        thread.start()
        return descriptor

    def finish(self, shard: Shard, facts: Any) -> None:
        """Declare a shard written: its descriptor is no longer the caller's. It counts once it is on the disk.

        Args:
            shard: begun before, all its tensors written.
            facts: anything JSON can say; what `finished` holds for it after a kill.

        Raises:
            OSError: this shard or an earlier one could not be written to the disk.
        """
        part = self._parts[shard.file]
        part.entry = canonical({"shard": self._identity(shard), "size": shard.size, "facts": facts}).encode()
        part.ended.set()
        self._raise_errors()

    def prepare(self, out: Path) -> None:
        """Remove what is not of this merge or not whole, and see that the rest fits on the disk.

        Raises:
            InputError: it does not; `out` is what the message names.
        """
        entries = {self._entry(self._shards[file]) for file in self.finished}
        _remove(path for path in _listed(self._journal) if path not in entries)
        _remove(path for path in _listed(self.folder) if path.name not in self.finished)
        _remove(self._work.glob("*.part"))
        needed = sum(shard.size for file, shard in self._shards.items() if file not in self.finished)
        free = shutil.disk_usage(self._work).free
        if needed > free:
            raise too_small(out, needed, free)
        self.folder.mkdir(exist_ok=True)
        self._journal.mkdir(exist_ok=True)

    def settle(self) -> None:
        """Wait until everything is on the disk.

        Raises:
            OSError: something could not be written there.
            RuntimeError: a shard was not finished.
        """
        written = [file for file, part in self._parts.items() if part.entry is not None]
        missing = self._shards.keys() - self.finished.keys() - set(written)
        if missing:
            raise RuntimeError(f"not finished: {', '.join(sorted(missing))}")
        self.stop()
        self._raise_errors()
        for path in self.folder.iterdir():
            if path.name not in self._shards:
                sync(path)
        sync(self.folder)

    def stop(self) -> None:
        """End the threads: finished shards are made whole, others are given up."""
        for part in self._parts.values():
            part.ended.set()
        for thread in self._threads:
            thread.join()

    def discard(self) -> None:
        """Remove everything: nothing is to be resumed from."""
        self.stop()
        _remove([self._journal, self.folder])

    def clean(self) -> None:
        """Remove what a later process has no use for: all but the lock, unless there is a whole shard."""
        with suppress(OSError):  # what cannot be removed now is removed by the next process
            _remove(self._work.glob("*.part"))
            if not any((self.folder / file).exists() for file in self._shards):
                _remove([self._journal, self.folder])

    def _flush(self, part: _Part) -> None:
        """In a thread of its own: keep the disk busy, then make the shard whole and journal it."""
        try:
            while not part.ended.wait(_FLUSH_SECONDS):
                os.fdatasync(part.descriptor)
            if part.entry is not None:
                os.fsync(part.descriptor)
                os.replace(self._part(part.shard), self.folder / part.shard.file)
                # Not before the shard is on the disk: after a power cut its size would be right and its bytes not.
                write_atomically(self._entry(part.shard), part.entry)
        except Exception as error:
            part.error = error
        finally:
            os.close(part.descriptor)

    def _raise_errors(self) -> None:
        for part in self._parts.values():
            if part.error is not None:
                raise part.error

    def _read_entry(self, shard: Shard) -> dict[str, Any] | None:
        """What the journal says of a shard that is there and whole, and of this merge."""
        try:
            entry = json.loads(self._entry(shard).read_bytes())
            whole = (self.folder / shard.file).stat().st_size == shard.size == entry["size"]
            return entry if whole and entry["shard"] == self._identity(shard) and "facts" in entry else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _identity(self, shard: Shard) -> str:
        return hashlib.sha256(canonical([self._key, shard.file]).encode() + shard.prefix).hexdigest()

    def _part(self, shard: Shard) -> Path:
        return self._work / f"{shard.file}.part"

    def _entry(self, shard: Shard) -> Path:
        return self._journal / f"{shard.file}.json"


def too_small(path: Path, needed: int, free: int) -> InputError:
    """The disk is too small for `path`; sizes in bytes."""
    return InputError(f"{path}: needs {needed} bytes and {free} are free; free some, or write out= on a larger disk")


def sync(path: Path) -> None:
    """Flush a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _allocate(descriptor: int, size: int) -> None:
    """Give a file its length, and its space where the file system can."""
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in _CANNOT_ALLOCATE:
            raise
        os.ftruncate(descriptor, size)


def _listed(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _remove(paths: Iterable[Path]) -> None:
    for path in list(paths):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
