"""How a model's tensors are laid out in safetensors files, to the byte, before any of them is there.

    shards = plan_shards({"norm.weight": Header((4096,), "bfloat16"), ...}, max_bytes=5_000_000_000)
    shards[0].start["norm.weight"]      # where in shards[0].file its data begins

Several threads can then write blocks of tensors at their places, in any order. The files are those that safetensors'
own writer makes of the same tensors: a little-endian 64-bit length, JSON of that length, padded with spaces to 8 bytes,
then the data without gaps, larger elements first, so that every tensor lies on a multiple of its element size.
"""

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

from della.checkpoint import SINGLE
from della.headers import SAFETENSORS, Header

_CODES = {name: code for code, name in SAFETENSORS.items()}
# safetensors' own order of tensors in a file; names decide between equals.
_ORDER = ("int64", "float64", "float32", "int32", "bfloat16", "float16", "int16", "int8", "uint8", "bool")


@dataclass(frozen=True)
class Shard:
    """One file of weights.

    file: its name: model.safetensors, or model-00001-of-00003.safetensors.
    headers: of its tensors, in the order they have in the file.
    start: the byte of the file where each tensor's data begins; it ends `Header.nbytes` later.
    prefix: what stands before the data, a multiple of 8 bytes.
    size: bytes of the whole file.
    """

    file: str
    headers: dict[str, Header]
    start: dict[str, int]
    prefix: bytes
    size: int


def plan_shards(headers: Mapping[str, Header], max_bytes: int) -> list[Shard]:
    """Split tensors over files, in the order given: a file is full when the next tensor would exceed `max_bytes`.

    Args:
        headers: name -> header of every tensor.
        max_bytes: of the data of one file; a file is larger only if one tensor is.

    Returns:
        At least one shard; the same for the same arguments.
    """
    groups: list[list[str]] = [[]]
    size = 0
    for name, header in headers.items():
        if groups[-1] and size + header.nbytes > max_bytes:
            groups.append([])
            size = 0
        groups[-1].append(name)
        size += header.nbytes
    count = len(groups)
    files = [f"model-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]
    files = files if count > 1 else [SINGLE]
    return [_shard(file, {name: headers[name] for name in names}) for file, names in zip(files, groups, strict=True)]


def build_index(shards: Sequence[Shard]) -> dict[str, Any]:
    """What model.safetensors.index.json holds: the file of each tensor, and the bytes of all."""
    return {
        "metadata": {"total_size": sum(header.nbytes for shard in shards for header in shard.headers.values())},
        "weight_map": {name: shard.file for shard in shards for name in shard.headers},
    }


def _shard(file: str, headers: Mapping[str, Header]) -> Shard:
    ordered = dict(sorted(headers.items(), key=lambda item: (_ORDER.index(item[1].dtype), item[0])))
    bounds = list(accumulate((header.nbytes for header in ordered.values()), initial=0))
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    for (name, header), (start, stop) in zip(ordered.items(), pairwise(bounds), strict=True):
        entries[name] = {"dtype": _CODES[header.dtype], "shape": list(header.shape), "data_offsets": [start, stop]}
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    prefix = struct.pack("<Q", len(text)) + text
    starts = {name: len(prefix) + start for name, start in zip(ordered, bounds, strict=False)}
    return Shard(file, ordered, starts, prefix, len(prefix) + bounds[-1])
