"""Where merged blocks go: into arrays in memory, or into a file at their place."""

import os
from collections.abc import Callable
from typing import Protocol

import numpy as np

from della.engine.blocks import scratch
from della.engine.pool import Pool

STORAGE = {"float64": np.float64, "float32": np.float32, "float16": np.float16, "bfloat16": np.uint16}


class Target(Protocol):
    """One tensor of the result."""

    dtype: str
    arrays: list[np.ndarray]

    def begin(self, start: int, count: int) -> tuple[np.ndarray, int]:
        """Where a thread may write elements start .. start + count - 1: an address per point, and the element that
        stands there."""

    def finish(self, start: int, count: int) -> None:
        """The same thread has written them."""

    def write(self, point: int, start: int, values: np.ndarray) -> None:
        """Elements from `start` on, as stored bits."""


class Sink(Protocol):
    """Gives each tensor its target."""

    def open(self, name: str, shape: tuple[int, ...], dtype: str) -> Target:
        """The target of a tensor."""


class MemorySink:
    """New arrays, one per point; bfloat16 as uint16."""

    def __init__(self, points: int = 1):
        self.points = points
        self.pool = Pool()

    def open(self, name: str, shape: tuple[int, ...], dtype: str) -> "MemoryTarget":
        return MemoryTarget([self.pool.array(shape, STORAGE.get(dtype, dtype)) for _ in range(self.points)], dtype)


class MemoryTarget:
    """A tensor in memory."""

    def __init__(self, arrays: list[np.ndarray], dtype: str):
        self.arrays, self.dtype = arrays, dtype
        self.addresses = np.array([array.ctypes.data for array in arrays], np.int64)

    def begin(self, start: int, count: int) -> tuple[np.ndarray, int]:
        return self.addresses, 0

    def finish(self, start: int, count: int) -> None:
        pass

    def write(self, point: int, start: int, values: np.ndarray) -> None:
        self.arrays[point].reshape(-1)[start : start + values.size] = values.reshape(-1)


class FileSink:
    """One point, written into open files.

    Args:
        place: tensor name -> file descriptor and byte offset.
    """

    def __init__(self, place: Callable[[str], tuple[int, int]]):
        self.place = place

    def open(self, name: str, shape: tuple[int, ...], dtype: str) -> "FileTarget":
        return FileTarget(*self.place(name), dtype)


class FileTarget:
    """A tensor in a file."""

    def __init__(self, descriptor: int, offset: int, dtype: str):
        self.descriptor, self.offset, self.dtype = descriptor, offset, dtype
        self.arrays: list[np.ndarray] = []

    def begin(self, start: int, count: int) -> tuple[np.ndarray, int]:
        return np.array([self._buffer(count).ctypes.data], np.int64), start

    def finish(self, start: int, count: int) -> None:
        self.write(0, start, self._buffer(count))

    def write(self, point: int, start: int, values: np.ndarray) -> None:
        data = memoryview(values.reshape(-1).view(np.uint8))  # type: ignore[arg-type]
        at = self.offset + start * values.itemsize
        while data:
            written = os.pwrite(self.descriptor, data, at)
            data, at = data[written:], at + written

    def _buffer(self, count: int) -> np.ndarray:
        return scratch(f"out {self.dtype}", count, dtype=STORAGE[self.dtype])
