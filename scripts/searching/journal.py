"""A search's journal file: Optuna's, with a lock that holds on NFS.

The lock is a link beside it (`sweep.search.lock`): both kinds are atomic on NFS, `symlink` also before version 3;
neither needs fcntl, which many NFS servers do not honour. A lock left by a killed worker is broken after 30 s. The path
is absolute: a relative link would point nowhere, and a stale one would then never be found old.
"""

import os
from pathlib import Path

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalFileSymlinkLock


def open_storage(path: Path, lock: str) -> JournalStorage:
    """The journal file as a storage; what a power cut left of a line at its end is taken away first."""
    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    held = JournalFileSymlinkLock(str(path)) if lock == "symlink" else JournalFileOpenLock(str(path))
    held.acquire()
    try:
        _mend(path)
    finally:
        held.release()
    return JournalStorage(JournalFileBackend(str(path), lock_obj=held))


def _mend(path: Path) -> None:
    if not path.exists():
        return
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        if size and file.read(1) != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
