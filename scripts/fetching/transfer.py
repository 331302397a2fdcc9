"""One file from the hub, resumed where it was cut off and compared with the hash that the hub says.

fetch_file(listing.source, remote, folder, count=bar.update, stop=threading.Event())

huggingface_hub's own downloads go on after a cut connection, but begin anew in the next process (a partial file has a
name of its own there and is removed). Here it stays, named after the content it belongs to: a killed fetch of ten
gigabytes goes on at the byte it had reached. The requests themselves are huggingface_hub's.
"""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any, BinaryIO

from tqdm import tqdm

from della.errors import InputError
from della.staging import FULL
from scripts.fetching.hub import ATTEMPTS, LATER, Remote, client_errors, refusal, status_of
from scripts.fetching.sources import Source

FIRST_WAIT_S = 1.0
_CHUNK = 1 << 20


class Stopped(Exception):
    """Another file could not be had: this one is left as far as it came."""


class Silent(tqdm):
    """No bar of huggingface_hub's own: bytes are counted where they are written."""

    def __init__(self, *arguments: Any, **settings: Any):
        super().__init__(*arguments, **{**settings, "disable": True})


class Counted:
    """A file that tells how many bytes came to it, less those that were taken back; breaks off when told to stop."""

    def __init__(self, stream: BinaryIO, count: Callable[[int], object], stop: Event):
        self._stream, self._count, self._stop = stream, count, stop
        self.written = 0

    def write(self, data: bytes) -> int:
        if self._stop.is_set():
            raise Stopped
        self._stream.write(data)
        self.written += len(data)
        self._count(len(data))
        return len(data)

    def seek(self, position: int) -> int:
        return self._stream.seek(position)

    def tell(self) -> int:
        return self._stream.tell()

    def truncate(self) -> int:
        """Everything after the position is given back: the server sends the file from its beginning."""
        position = self._stream.tell()
        self._stream.seek(0, 2)
        self._count(position - self._stream.tell())
        self._stream.seek(position)
        return self._stream.truncate()


def partial_of(folder: Path, file: Remote) -> Path:
    """Where a file lies while it is not whole."""
    return folder / f".{file.name}.{(file.sha256 or file.blob)[:16]}.incomplete"


def fetch_file(source: Source, file: Remote, folder: Path, count: Callable[[int], object], stop: Event) -> None:
    """Makes folder/NAME, whole and with the hub's hash.

    Args:
        source: the repository at a commit.
        count: called with numbers of bytes as they come; those of a partial file that is gone on with are not.
        stop: set by the caller when another file failed.

    Raises:
        InputError: it cannot be had, has another hash (it is removed then), or the disk is full.
        Stopped: as asked for.
    """
    partial = partial_of(folder, file)
    try:
        with partial.open("ab") as stream:
            counted = Counted(stream, count, stop)
            if stream.tell() > file.bytes:
                stream.truncate(0)
            _fill(source, file, counted)
    except client_errors() as error:
        if getattr(error, "errno", None) in FULL:
            raise InputError(
                f"{folder}: the disk is full; free some, or write experts.path=DIR on a larger one"
            ) from None
        told = refusal(error, source)
        raise InputError(f"{file.name} of {source}: {told}; what has come is kept, the same command goes on") from None
    found = sha256_checked(partial, file)
    if found is None:
        partial.unlink()
        raise InputError(
            f"{file.name} of {source}: what came has another hash than the hub says; it was removed, fetch it again"
        )
    partial.replace(folder / file.name)


def _fill(source: Source, file: Remote, stream: Counted) -> None:
    """Downloads the rest of a file; tries again after what passes, as long as bytes come or ATTEMPTS are left."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    url = hf_hub_url(source.repo, file.name, revision=source.revision)
    # Compressed, a text file would come without its size.
    headers = {**build_hf_headers(library_name="della"), "Accept-Encoding": "identity"}
    failures = 0
    while True:
        before = stream.written
        target: Any = stream
        try:
            http_get(
                url, target, resume_size=stream.tell(), headers=headers, expected_size=file.bytes, tqdm_class=Silent
            )
            return
        except client_errors() as error:
            failures = 1 if stream.written > before else failures + 1
            if not passes(error) or failures >= ATTEMPTS:
                raise
            time.sleep(FIRST_WAIT_S * 2 ** (failures - 1))


def passes(error: Exception) -> bool:
    """Whether trying again may help: the hub says "later", or the line was cut."""
    status = status_of(error)
    return status in LATER if status is not None else getattr(error, "errno", None) not in FULL


def sha256_checked(path: Path, file: Remote) -> str | None:
    """SHA-256 (hex) of a file's content; None where the hub says another, or for small files another SHA-1 of git's."""
    sha256, blob = hashlib.sha256(), hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            sha256.update(chunk)
            if file.sha256 is None:
                blob.update(chunk)
    same = sha256.hexdigest() == file.sha256 if file.sha256 else blob.hexdigest() == file.blob
    return sha256.hexdigest() if same else None
