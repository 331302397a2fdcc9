"""A merged model as a folder that transformers and vLLM open: all of it at once or nothing; a kill loses little.

    shards = plan_shards(headers, max_bytes)
    with staged(out, key, shards) as staging:
        for shard in shards:
            if shard.file not in staging.finished:
                descriptor = staging.begin(shard)
                ...                             # os.pwrite(descriptor, block, shard.start[name] + offset), any thread
                staging.finish(shard, facts)
        write_json(staging.place("merge.json"), ...)

The work is done in the hidden folder `.NAME.merging` beside `out`, by one process at a time; everything is flushed to
the disk before it gets its name.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from della.checkpoint import INDEX, Model
from della.errors import InputError
from della.lock import BusyError, Lock
from della.shards import Shard, build_index, plan_shards
from della.staging import FULL, Staging, sync

MAX_SHARD_BYTES = 5_000_000_000


@contextmanager
def staged(out: Path, key: str, shards: Sequence[Shard]) -> Iterator[Staging]:
    """Make the folder `out`: it is there when the block ends without an exception, and not before.

    Whole shards stay for the next call with the same arguments when the process is killed or interrupted (Ctrl-C), or
    when somebody occupied `out` meanwhile. After an exception of another kind nothing stays. Threads that write to a
    shard have to end before the block does.

    Args:
        out: absent or an empty folder.
        key: names all that the shards' bytes depend on: what was left under another key is removed.
        shards: from `plan_shards`; with more than one, their index is written too.

    Raises:
        InputError: `out` is occupied, cannot be created or is being written by another process, or the disk is full.
    """
    out = Path(os.path.realpath(out))
    refuse_occupied(out)
    work = out.with_name(f".{out.name}.merging")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        lock = Lock(work)
    except BusyError as error:
        raise InputError(f"{out}: {error} is merging into it; wait for that one, or write another out=") from error
    except OSError as error:
        raise _cannot_create(out, error) from error
    staging = Staging(work, key, shards)
    try:
        refuse_occupied(out)  # by who held the lock before
        staging.prepare(out)
        try:
            if len(shards) > 1:
                write_json(staging.place(INDEX), build_index(shards))
            yield staging
            staging.settle()
        except Exception as error:
            staging.discard()
            if isinstance(error, OSError) and error.errno in FULL:
                raise InputError(f"{out}: {error.strerror} while writing it; write out= on a larger disk") from error
            raise
        _publish(staging.folder, out)
    finally:
        # Should a second Ctrl-C break off the first call, the lock stays: a shard may still be about to be renamed.
        staging.stop()
        staging.clean()
        lock.release()


def _publish(folder: Path, out: Path) -> None:
    try:
        refuse_occupied(out)
        folder.rename(out)
    except (InputError, OSError) as error:
        raise InputError(f"{out}: was occupied while it was merged; remove it and run the command again") from error
    with suppress(OSError):  # it is there: only a power cut right now could take the name away again
        sync(out.parent)


@contextmanager
def staged_folder(out: Path) -> Iterator[Path]:
    """A folder to write into that becomes `out` when the block ends without an exception, and vanishes otherwise.

    Raises:
        InputError: as `staged`.
    """
    with staged(out, "", ()) as staging:
        yield staging.folder


def refuse_occupied(out: Path) -> None:
    """Raises InputError if `out` is a file, a folder with something in it, or one that cannot be replaced."""
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InputError(f"{out}: is there already and not an empty folder; write another out=, or remove it first")
    except OSError as error:
        raise _cannot_create(out, error) from error
    if os.path.ismount(out):
        raise InputError(f"{out}: is a mount point, which no folder can replace; write out={out}/NAME")


def write_weights(folder: Path, model: Model, max_shard_bytes: int = MAX_SHARD_BYTES) -> None:
    """Write a model's tensors as model.safetensors, or as shards with an index if they exceed `max_shard_bytes`.

    Args:
        folder: an existing folder.
        model: its tensors are read one by one.
        max_shard_bytes: see `plan_shards`.
    """
    shards = plan_shards(model.headers, max_shard_bytes)
    for shard in shards:
        with open(folder / shard.file, "wb") as stream:
            stream.write(shard.prefix)
            for name in shard.headers:
                stream.write(model.array(name).data)
    if len(shards) > 1:
        write_json(folder / INDEX, build_index(shards))


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON, keys sorted."""
    path.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _cannot_create(out: Path, error: OSError) -> InputError:
    return InputError(f"{out}: cannot be created ({error.strerror}); write a path you may write to")
