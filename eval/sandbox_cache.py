"""A file of verdicts that several processes of one machine read and add to.

One JSON line per verdict, added by a single O_APPEND write, which Linux never interleaves with another. A line that a
kill or a full disk cut short is skipped by every reader, and its verdict is computed again. On a network file system
such writes are not whole: give each machine its own file.
"""

import json
import os
from pathlib import Path
from typing import NamedTuple

from eval.errors import InputError


class Verdict(NamedTuple):
    """Whether a program passed all its tests; if not, why: `assertion`, `error: NameError`, `timeout`, `memory` (it
    asked for more than its limit), or `no verdict` (it ended without an exception before its tests did)."""

    passed: bool
    reason: str


class VerdictFile:
    """The verdicts of one file by key, those that other processes add included as soon as `refresh` is called."""

    def __init__(self, path: Path):
        """Raises InputError if the file can't be made or written."""
        self.path = path
        self.known: dict[str, Verdict] = {}
        self._read = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        except OSError as error:
            raise InputError(f"verdict cache {path}: {error.strerror}; give a file in a folder you can write") from None

    def is_current(self) -> bool:
        """Whether the path still leads to the file that was opened."""
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self._file))
        except FileNotFoundError:
            return False

    def refresh(self) -> None:
        """Reads what was added since the last call."""
        size = os.fstat(self._file).st_size
        if size < self._read:  # emptied by somebody
            self._read = 0
        added = os.pread(self._file, size - self._read, self._read)
        whole = added[: added.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            try:
                entry = json.loads(line)
                self.known[entry["key"]] = Verdict(entry["passed"], entry["reason"])
            except (ValueError, KeyError, TypeError):  # cut short
                continue

    def add(self, key: str, verdict: Verdict) -> None:
        """Remembers a verdict here and, in one write, in the file."""
        self.known[key] = verdict
        line = json.dumps({"key": key, **verdict._asdict()})
        # The newline before it ends a line that somebody's death may have left open.
        os.write(self._file, f"\n{line}\n".encode())

    def close(self) -> None:
        """Closes the file."""
        os.close(self._file)
