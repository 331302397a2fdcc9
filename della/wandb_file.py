"""Reads the file that W&B writes offline, `run-<id>.wandb`: to know that a mirrored run is whole, and for tests.

The file is a log in LevelDB's layout: a header of 7 bytes, then blocks of 32 KiB. A block holds chunks of a 4-byte
checksum, a 2-byte length, a 1-byte type (1 whole, 2 first, 3 middle, 4 last part of a record) and the data; fewer
than 7 bytes at a block's end are padding. A record is a protobuf message, wandb_internal_pb2.Record.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_BLOCK = 32 * 1024
_FILE_HEADER = _CHUNK_HEADER = 7
_WHOLE, _LAST = 1, 4


def records(path: Path) -> Iterator[Any]:
    """The protobuf records of the file, in order; a record that was cut off, and all after it, are left out."""
    from wandb.proto import wandb_internal_pb2

    for message in _messages(path.read_bytes()):
        record = wandb_internal_pb2.Record()  # type: ignore[attr-defined]  # protobuf makes it at import
        record.ParseFromString(message)
        yield record


def is_whole(path: Path) -> bool:
    """Whether the file ends as a finished run's does: its exit record is there, and nothing was cut off before it."""
    return any(record.HasField("exit") for record in records(path))


def contents(path: Path) -> dict[str, Any]:
    """What a person would see of the run: {"run": its protobuf, "config", "summary", "history": rows, "exit_code"}."""
    run, exit_code, history = None, None, []
    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    for record in records(path):
        if record.HasField("run"):
            run = record.run
            config |= {item.key: json.loads(item.value_json) for item in run.config.update}
        elif record.HasField("config"):
            config |= {item.key: json.loads(item.value_json) for item in record.config.update}
        elif record.HasField("summary"):
            summary |= {_name(item): json.loads(item.value_json) for item in record.summary.update}
        elif record.HasField("history"):
            history.append({_name(item): json.loads(item.value_json) for item in record.history.item})
        elif record.HasField("exit"):
            exit_code = record.exit.exit_code
    return {"run": run, "config": config, "summary": summary, "history": history, "exit_code": exit_code}


def _name(item: Any) -> str:
    return item.key or ".".join(item.nested_key)


def _messages(data: bytes) -> Iterator[bytes]:
    at, message = _FILE_HEADER, b""
    while at + _CHUNK_HEADER <= len(data):
        room = _BLOCK - at % _BLOCK
        if room < _CHUNK_HEADER:
            at += room
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        at += _CHUNK_HEADER
        if at + length > len(data):
            return
        message += data[at : at + length]
        at += length
        if kind in (_WHOLE, _LAST):
            yield message
            message = b""
