"""Memory that is used again as soon as nobody holds what was in it: fresh pages cost as much as merging into them."""

import bisect
import math
import mmap
import weakref

import numpy as np

_SMALL = 1 << 20  # bytes; below, numpy's own memory is as good


class Pool:
    """Gives out arrays; the memory of one that is gone, with all its views, goes to the next that fits into it."""

    def __init__(self) -> None:
        self._free: list[mmap.mmap] = []  # the smallest first

    def array(self, shape: tuple[int, ...], dtype: np.dtype | type | str) -> np.ndarray:
        """An array whose values are whatever was there."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if size < _SMALL:
            return np.empty(shape, dtype)
        fits = bisect.bisect_left(self._free, size, key=len)
        memory = self._free.pop(fits) if fits < len(self._free) else _pages(size)
        whole = np.frombuffer(memory, np.uint8)  # every view keeps this array alive: its memory is no array's
        weakref.finalize(whole, self._take_back, memory).atexit = False
        return whole[:size].view(dtype).reshape(shape)

    def _take_back(self, memory: mmap.mmap) -> None:
        bisect.insort(self._free, memory, key=len)


def _pages(size: int) -> mmap.mmap:
    memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory
