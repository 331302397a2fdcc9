"""A model's weights: read from a Hugging Face folder one tensor at a time, or held in memory.

    base = Checkpoint("models/base")
    base.headers["lm_head.weight"].shape    # from the file headers, no tensor is read
    base.tensor("lm_head.weight")

Weights are safetensors, in one file or in shards with an index. The header format: a little-endian 64-bit length, then
JSON with each tensor's dtype, shape and byte range (safetensors' own description).
"""

import hashlib
import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import safetensors
import torch
from torch import Tensor

from della.errors import InputError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"

# What makes a folder a model beside its weights, copied as it is into a merged folder.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "chat_template.jinja",
    "chat_template.json",
)
MODEL_FILES = ("config.json", "generation_config.json", *TOKENIZER_FILES)

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Header:
    """What a file says about a tensor before it is read."""

    shape: tuple[int, ...]
    dtype: torch.dtype


class Model(Protocol):
    """What merging needs of a model, on disk or in memory."""

    @property
    def label(self) -> str:
        """How errors call it."""

    @property
    def config(self) -> Mapping[str, Any]:
        """config.json, or nothing."""

    @property
    def headers(self) -> Mapping[str, Header]:
        """Every tensor's header."""

    def tensor(self, name: str) -> Tensor:
        """One tensor in its stored dtype, on the CPU or wherever the model is."""


class MemoryCheckpoint:
    """A model held in memory: a dict of tensors under the names that safetensors files use."""

    def __init__(self, tensors: Mapping[str, Tensor], label: str = "memory", config: Mapping[str, Any] | None = None):
        self.label = label
        self.config = config or {}
        self._tensors = dict(tensors)
        self.headers = {name: Header(tuple(t.shape), t.dtype) for name, t in tensors.items()}

    def tensor(self, name: str) -> Tensor:
        return self._tensors[name]


class Checkpoint:
    """A Hugging Face folder with safetensors weights.

    Args:
        folder: holds config.json and model.safetensors, or shards and model.safetensors.index.json.

    Raises:
        InputError: a file is missing, cut short or not what it should be, or a dtype cannot be merged.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        self.label = str(folder)
        if not self.folder.is_dir():
            raise InputError(f"{folder}: no such folder; write the path of a folder with a config.json and safetensors")
        self.config = _read_json(self.folder / "config.json")
        self.headers: dict[str, Header] = {}
        self._file_of: dict[str, str] = {}
        for file in self._weight_files():
            for name, header in read_headers(self.folder / file).items():
                if name in self.headers:
                    raise InputError(f"{folder}: {name} is both in {self._file_of[name]} and in {file}; remove one")
                self.headers[name] = header
                self._file_of[name] = file
        self._check_index()
        self._open: dict[str, Any] = {}

    def tensor(self, name: str) -> Tensor:
        """One tensor in its stored dtype, on the CPU."""
        file = self._file_of[name]
        try:
            if file not in self._open:
                self._open[file] = safetensors.safe_open(self.folder / file, framework="pt")
            return self._open[file].get_tensor(name)
        except safetensors.SafetensorError as error:
            raise InputError(f"{self.folder / file}: {name} cannot be read ({error}); download it again") from error

    def in_memory(self) -> MemoryCheckpoint:
        """The same model with all its tensors read, for many merges of one small family."""
        return MemoryCheckpoint({name: self.tensor(name) for name in self.headers}, self.label, self.config)

    def sha256(self) -> str:
        """A hash over the content of every file that matters: weights, config and tokenizer, by name."""
        lines = (f"{file_sha256(self.folder / file)}  {file}\n" for file in self.files())
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def files(self) -> list[str]:
        """Names of the files that make up the model, sorted."""
        present = [file for file in (*MODEL_FILES, INDEX) if (self.folder / file).is_file()]
        return sorted({*present, *self._file_of.values()})

    def _weight_files(self) -> list[str]:
        if (self.folder / INDEX).is_file():
            return sorted(set(self._weight_map().values()))
        if (self.folder / SINGLE).is_file():
            return [SINGLE]
        hint = (
            "save it again with transformers' save_pretrained" if any(self.folder.glob("*.bin")) else "check the path"
        )
        raise InputError(f"{self.folder}: neither {SINGLE} nor {INDEX} is there; {hint}")

    def _weight_map(self) -> dict[str, str]:
        weight_map = _read_json(self.folder / INDEX).get("weight_map")
        if not isinstance(weight_map, dict) or any(Path(str(file)).name != file for file in weight_map.values()):
            raise InputError(f"{self.folder / INDEX}: has no weight_map of file names; download the file again")
        return weight_map

    def _check_index(self) -> None:
        if not (self.folder / INDEX).is_file():
            return
        for name, file in self._weight_map().items():
            if self._file_of.get(name) != file:
                raise InputError(f"{self.folder / INDEX}: {name} is not in {file}; download the folder again")


def read_headers(file: Path) -> dict[str, Header]:
    """The header of every tensor in a safetensors file, after a check that the file is as long as it says.

    Raises:
        InputError: the file is missing, cut short, not safetensors, or holds a dtype that cannot be merged.
    """
    if not file.is_file():
        raise InputError(f"{file}: no such file; download the folder again")
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if 8 + length > size:
            raise InputError(f"{file}: cut short at {size} bytes, or not safetensors; download it again")
        try:
            entries = json.loads(stream.read(length))
            entries.pop("__metadata__", None)
            end = 8 + length + max((entry["data_offsets"][1] for entry in entries.values()), default=0)
            headers = {name: _header(file, name, entry) for name, entry in entries.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{file}: its header is not that of a safetensors file; download it again") from error
    if size != end:
        raise InputError(f"{file}: {size} bytes where its header promises {end}, so it is cut short; download it again")
    return headers


def _header(file: Path, name: str, entry: Mapping[str, Any]) -> Header:
    if entry["dtype"] not in DTYPES:
        raise InputError(f"{file}: {name} is {entry['dtype']}, which cannot be merged; save the model in bfloat16")
    return Header(tuple(entry["shape"]), DTYPES[entry["dtype"]])


_known_hashes: dict[Path, tuple[int, int, str]] = {}


def file_sha256(file: Path) -> str:
    """SHA-256 of a file, kept in memory for as long as its size and modification time stay the same."""
    file = file.resolve()
    stat = os.stat(file)
    known = _known_hashes.get(file)
    if known is None or known[:2] != (stat.st_size, stat.st_mtime_ns):
        with file.open("rb") as stream:
            known = (stat.st_size, stat.st_mtime_ns, hashlib.file_digest(stream, "sha256").hexdigest())
        _known_hashes[file] = known
    return known[2]


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{file}: no such file; write the path of a Hugging Face model folder") from None
    except ValueError as error:
        raise InputError(f"{file}: not valid JSON ({error}); download it again") from error
    if not isinstance(content, dict):
        raise InputError(f"{file}: not a JSON object; download it again")
    return content
