"""The rows that vocab=union puts after the base's: one for each new token, the mean of the experts that know it."""

from collections.abc import Mapping

import numpy as np

from della.checkpoint import Model
from della.engine.sinks import STORAGE, Target
from della.experts import Family
from della.kernels.bits import CODES, load, store
from della.refusals import not_finite, overflows


def add_rows(name: str, base: Model, experts: Mapping[str, Model], family: Family, target: Target) -> None:
    """Writes the added rows of a tensor, the same at every point.

    Raises:
        InputError: a row is not finite.
    """
    shape = base.headers[name].shape
    width = int(np.prod(shape[1:], dtype=np.int64))
    start = shape[0] * width
    for members in family.added[name]:
        total, row = np.zeros(width, np.float32), np.empty(width, np.float32)
        for expert, place in members:
            header, array = experts[expert].headers[name], np.ascontiguousarray(experts[expert].array(name))
            load(CODES[header.dtype], array.ctypes.data, place * width, width, row)
            if not np.isfinite(row).all():
                raise not_finite(name, base, expert, experts[expert], True)
            total += row
        total /= np.float32(len(members))
        stored = np.empty(width, STORAGE[target.dtype])
        if not store(CODES[target.dtype], total, stored.ctypes.data, 0, width):
            raise overflows(name, target.dtype)
        for point in range(max(1, len(target.arrays))):
            target.write(point, start, stored)
        start += width
