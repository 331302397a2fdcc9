"""One process at a time in a folder, by a lock that ends with its holder however that one ends, SIGKILL included.

    lock = Lock(folder)     # BusyError: another process is in there
    ...
    lock.release()

The lock is flock's on the file `lock` in the folder; the file says who holds it. Whoever holds the lock may remove the
rest of the folder; `release` removes the lock file last, and the folder if it is empty then.
"""

import fcntl
import os
import socket
from contextlib import suppress
from pathlib import Path

from della.errors import InputError


class BusyError(InputError):
    """Another process holds the lock; the message says which."""


class Lock:
    """A held lock.

    Args:
        folder: made if missing; its parent exists.

    Raises:
        BusyError: another process, or another part of this one, holds it.
        OSError: the folder cannot be made or written to, or its file system has no locks.
    """

    def __init__(self, folder: Path):
        self._folder, self._path = folder, folder / "lock"
        while True:
            with suppress(FileExistsError):  # exist_ok would look again, and the folder may be gone by then
                folder.mkdir()
            try:
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            except FileNotFoundError:
                continue  # its last holder has just removed the folder
            if self._take():
                break
            os.close(self._descriptor)
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)

    def _take(self) -> bool:
        """False if the file that was opened is no longer the one there: its last holder removed it meanwhile."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return os.path.samestat(os.fstat(self._descriptor), os.stat(self._path))
        except BlockingIOError:
            holder = os.pread(self._descriptor, 200, 0).decode(errors="replace") or "another process"
            os.close(self._descriptor)
            raise BusyError(holder) from None
        except FileNotFoundError:
            return False
        except OSError:
            os.close(self._descriptor)
            raise

    def release(self) -> None:
        """Give the lock back, and remove the folder if only the lock is in it."""
        self._path.unlink(missing_ok=True)  # while it is held: who opened it before sees that it is gone
        with suppress(OSError):
            self._folder.rmdir()
        os.close(self._descriptor)
