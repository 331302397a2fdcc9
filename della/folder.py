"""A merged model as a folder that transformers and vLLM open: all of it appears at once, or nothing.

    with staged_folder(out) as folder:
        write_weights(folder, tensors)
        ...

Files are written to a hidden folder beside the target, flushed to disk and renamed when all are there, so that a killed
merge never leaves a folder that looks finished.
"""

import json
import os
import shutil
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from della.checkpoint import INDEX, SINGLE
from della.errors import InputError

MAX_SHARD_BYTES = 5_000_000_000


@contextmanager
def staged_folder(out: Path) -> Iterator[Path]:
    """A folder to write into that becomes `out` when the block ends without an exception, and vanishes otherwise.

    Raises:
        InputError: `out` is a file or a folder that is not empty, or cannot be created.
    """
    out = Path(os.path.abspath(out))
    refuse_occupied(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(out)
        folder = out.with_name(f".{out.name}.{socket.gethostname()}.{os.getpid()}.{_start_time(os.getpid())}.tmp")
        folder.mkdir()
    except OSError as error:
        raise InputError(f"{out}: cannot be created ({error.strerror}); write a path you may write to") from error
    try:
        yield folder
        for path in (*folder.iterdir(), folder):
            _flush(path)
        refuse_occupied(out)
        folder.rename(out)
        _flush(out.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def refuse_occupied(out: Path) -> None:
    """Raises InputError if `out` is a file or a folder with something in it."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: is there already and not an empty folder; write another out=, or remove it first")


def write_weights(folder: Path, tensors: Iterable[tuple[str, Tensor]], max_shard_bytes: int = MAX_SHARD_BYTES) -> None:
    """Write tensors as model.safetensors, or as shards with an index if they exceed `max_shard_bytes`.

    Holds one shard in memory at a time.

    Args:
        folder: an existing folder.
        tensors: name and tensor, in the order they are written.
        max_shard_bytes: a shard is larger only if one tensor is.
    """
    files: list[list[str]] = []
    total = 0
    for number, shard in enumerate(_shards(tensors, max_shard_bytes)):
        safetensors.torch.save_file(shard, folder / f"{number}.part", metadata={"format": "pt"})
        (folder / f"{number}.part").chmod(folder.stat().st_mode & 0o666)  # safetensors makes private files
        files.append(list(shard))
        total += sum(tensor.nbytes for tensor in shard.values())
    if len(files) == 1:
        (folder / "0.part").rename(folder / SINGLE)
        return
    weight_map: dict[str, str] = {}
    for number, names in enumerate(files):  # named last: each name tells how many there are
        file = f"model-{number + 1:05}-of-{len(files):05}.safetensors"
        (folder / f"{number}.part").rename(folder / file)
        weight_map |= dict.fromkeys(names, file)
    write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})


def _shards(tensors: Iterable[tuple[str, Tensor]], max_bytes: int) -> Iterator[dict[str, Tensor]]:
    shard: dict[str, Tensor] = {}
    size = 0
    for name, tensor in tensors:
        if shard and size + tensor.nbytes > max_bytes:
            yield shard
            shard, size = {}, 0
        shard[name] = tensor.contiguous()
        size += tensor.nbytes
    yield shard


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON, keys sorted."""
    path.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _remove_stale(out: Path) -> None:
    """Remove what dead processes of this machine left beside `out`; another machine's cannot be judged from here."""
    prefix = f".{out.name}.{socket.gethostname()}."
    for path in out.parent.iterdir():
        if path.name.startswith(prefix) and path.name.endswith(".tmp"):
            pid, _, start = path.name.removeprefix(prefix).removesuffix(".tmp").partition(".")
            if pid.isdecimal() and _start_time(int(pid)) != start:
                shutil.rmtree(path, ignore_errors=True)


def _start_time(pid: int) -> str:
    """When a process started, in clock ticks since boot; "gone" if there is no such process, "0" without /proc."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return "gone" if Path("/proc/self/stat").exists() else "0"
    return stat.rpartition(")")[2].split()[19]  # the name before it may hold spaces and brackets


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
