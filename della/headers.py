"""What a weight file says about its tensors, and the read-only memory maps that their bits are seen through.

    file = SafetensorsFile(Path("models/base/model.safetensors"))
    file.headers["lm_head.weight"]      # Header((32000, 4096), "bfloat16")
    file.array("lm_head.weight")        # uint16 [32000, 4096], a view of the file

The safetensors format: a little-endian 64-bit length, then JSON of that length with each tensor's dtype, shape and byte
range after the JSON, then the data (safetensors' own description). Nothing here imports torch.
"""

import json
import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from della.errors import InputError

# dtype names are torch's; numpy has no bfloat16, so that its bits are seen as unsigned 16-bit integers.
NUMPY: dict[str, np.dtype[Any]] = {
    "float64": np.dtype("<f8"),
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype("<u2"),
    "int64": np.dtype("<i8"),
    "int32": np.dtype("<i4"),
    "int16": np.dtype("<i2"),
    "int8": np.dtype("i1"),
    "uint8": np.dtype("u1"),
    "bool": np.dtype("?"),
}
FLOATS = ("float64", "float32", "float16", "bfloat16")
OUTPUTS = ("float32", "bfloat16", "float16")  # what a merge can be written in

SAFETENSORS = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}

_POINTER = b"version https://git-lfs."


@dataclass(frozen=True)
class Header:
    """What a file says about a tensor before it is read.

    dtype: torch's name for it, as "bfloat16".
    """

    shape: tuple[int, ...]
    dtype: str

    @property
    def numel(self) -> int:
        """How many elements it has; 1 for a scalar."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of its data."""
        return self.numel * NUMPY[self.dtype].itemsize


def read_headers(file: Path) -> tuple[dict[str, Header], dict[str, int]]:
    """Header and place of every tensor in a safetensors file, after a check that the file is as long as it says.

    Returns:
        The headers, and the byte in the file where each tensor's data starts.

    Raises:
        InputError: the file is missing, cut short, not safetensors, contradicts itself, or holds a dtype that cannot be
            merged.
    """
    refuse_pointer(file)
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if 8 + length > size:
            raise InputError(f"{file}: cut short at {size} bytes, or not safetensors; download it again")
        text = stream.read(length)
    try:
        entries = json.loads(text)
        entries.pop("__metadata__", None)
        ranges = {name: _range(entry) for name, entry in entries.items()}
        shapes = {name: _shape(entry) for name, entry in entries.items()}
        dtypes = {name: str(entry["dtype"]) for name, entry in entries.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{file}: its header is not that of a safetensors file; download it again") from error
    for name, dtype in dtypes.items():
        if dtype not in SAFETENSORS:
            raise InputError(f"{file}: {name} is {dtype}, which cannot be merged; save the model in bfloat16")
    headers = {name: Header(shapes[name], SAFETENSORS[dtype]) for name, dtype in dtypes.items()}
    data = 8 + length
    end = data + max((stop for _, stop in ranges.values()), default=0)
    if size != end:
        raise InputError(f"{file}: {size} bytes where its header promises {end}, so it is cut short; download it again")
    _check_ranges(file, headers, ranges)
    return headers, {name: data + start for name, (start, _) in ranges.items()}


def _range(entry: Mapping[str, Any]) -> tuple[int, int]:
    start, stop = (_natural(offset) for offset in entry["data_offsets"])
    return start, stop


def _shape(entry: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(_natural(length) for length in entry["shape"])


def _natural(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is not a length")
    return value


def _check_ranges(file: Path, headers: Mapping[str, Header], ranges: Mapping[str, tuple[int, int]]) -> None:
    """Every tensor has as many bytes as its shape needs, and no two share any."""
    for name, header in headers.items():
        start, stop = ranges[name]
        if stop - start != header.nbytes:
            raise InputError(
                f"{file}: {name} is {list(header.shape)} in {header.dtype}, {header.nbytes} bytes, where the header "
                f"gives it bytes {start} to {stop}; download it again"
            )
    ordered = sorted((ranges[name], name) for name in headers if headers[name].numel)
    for ((_, stop), first), ((start, _), second) in pairwise(ordered):
        if start < stop:
            raise InputError(f"{file}: {first} and {second} overlap; download it again")


def refuse_pointer(file: Path) -> None:
    """Raises InputError for a file that is missing, or that a clone without Git LFS left in place of the weights."""
    if not file.is_file():
        raise InputError(f"{file}: no such file; download the folder again")
    with file.open("rb") as stream:
        if stream.read(len(_POINTER)) == _POINTER:
            raise InputError(f"{file}: a pointer of Git LFS, not the weights; run git lfs pull in its folder")


class WeightFile(Protocol):
    """One file of tensors, whatever its format."""

    @property
    def headers(self) -> Mapping[str, Header]:
        """Every tensor's header."""

    def array(self, name: str) -> np.ndarray:
        """A tensor's stored bits in its shape, read-only; bfloat16 as uint16."""


class SafetensorsFile:
    """A safetensors file, mapped read-only into memory as a whole: its pages are read when they are touched.

    Raises:
        InputError: see `read_headers`.
    """

    def __init__(self, file: Path):
        self.file = file
        self.headers, self._starts = read_headers(file)
        self._bytes: mmap.mmap | None = None

    def array(self, name: str) -> np.ndarray:
        """A tensor's stored bits.

        Returns:
            `NUMPY[header.dtype]` array of the header's shape, read-only. It is a view of the map, except that data that
            does not lie on a multiple of its element size (as older tools left it) is copied: compiled code needs it
            aligned.
        """
        if self._bytes is None:  # two threads may both map it; one of the maps is dropped
            with self.file.open("rb") as stream:
                self._bytes = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        header, start = self.headers[name], self._starts[name]
        dtype = NUMPY[header.dtype]
        if header.numel == 0:
            array: np.ndarray = np.empty(header.shape, dtype)
        elif start % dtype.itemsize:
            array = np.frombuffer(self._bytes, np.uint8, header.nbytes, start).copy().view(dtype)
        else:
            array = np.frombuffer(self._bytes, dtype, header.numel, start)
        array.flags.writeable = False
        return array.reshape(header.shape)
