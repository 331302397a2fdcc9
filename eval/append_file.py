"""A file of JSON lines that several processes of one machine read and add to, and that no kill can spoil.

Each entry is one O_APPEND write, which Linux never interleaves with another. An entry that a kill or a full disk cut
short is skipped by every reader, as if it had never been written. `claim` keeps two processes from working on the same
entry: a lock that ends with the process that holds it. On a network file system such writes are not whole: give each
machine its own file.

    file = AppendFile(Path("judge.jsonl"))
    file.add({"key": "a", "verdict": 1.0})
    file.refresh()                         # [{"key": "a", "verdict": 1.0}], and what others added meanwhile
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eval.errors import InputError


class AppendFile:
    """The entries of one file in the order of their writing; what was handed out once is not handed out again."""

    def __init__(self, path: Path):
        """Raises InputError if the file can't be made or written."""
        self.path = path
        self._read = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}; name a folder that you may write to") from None

    def refresh(self) -> list[dict]:
        """The whole entries that were added since the last call, by whomever."""
        size = os.fstat(self._file).st_size
        if size < self._read:  # emptied by somebody
            self._read = 0
        added = os.pread(self._file, size - self._read, self._read)
        whole = added[: added.rfind(b"\n") + 1]
        self._read += len(whole)
        entries = []
        for line in whole.splitlines():
            try:
                entry = json.loads(line)
            except ValueError:  # cut short
                continue
            if isinstance(entry, dict):
                entries.append(entry)
        return entries

    def is_current(self) -> bool:
        """Whether the path still leads to the file that was opened."""
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self._file))
        except FileNotFoundError:
            return False

    def add(self, entry: dict, sync: bool = True) -> None:
        """Adds an entry. Raises InputError if the disk does not take it whole.

        sync: when this returns it is on the disk; else the kernel has it, and a machine that stops may lose it.
        """
        # The newline before it ends a line that somebody's death may have left open.
        line = f"\n{json.dumps(entry)}\n".encode()
        try:
            whole = os.write(self._file, line) == len(line)
            if sync:
                os.fsync(self._file)
        except OSError as error:
            raise InputError(f"{self.path}: {error.strerror}; make room and run the same command again") from None
        if not whole:
            raise InputError(f"{self.path}: the disk is full; make room and run the same command again")

    @contextmanager
    def claim(self, name: str) -> Iterator[bool]:
        """Whether `name` is this process's for the length of the block; another process's death frees its own.

        Not meant for threads: what one thread of a process holds, another can have too.
        """
        place = int(hashlib.sha256(name.encode()).hexdigest()[:15], 16)  # a byte that exists for the lock alone
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except (BlockingIOError, PermissionError):
            yield False
            return
        try:
            yield True
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, place)

    def close(self) -> None:
        """Closes the file, which also gives up every claim of this process."""
        os.close(self._file)
