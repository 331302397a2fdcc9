"""Philox 4x32-10, as `della.random.uniform_words` defines it, written to consecutive addresses."""

import numpy as np
from numba import njit

from della.kernels.bits import FLAGS

BLOCK = 1024
LANE = 256
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)


@njit(**FLAGS)
def words(stream, start, count, out):
    """Words of the elements start .. start + count - 1 of a stream.

    Args:
        stream: uint64 [4], from `della.random.stream_words`.
        start, count: element index and number.
        out: uint32, at least count + 2 * BLOCK long: whole blocks are written.

    Returns:
        The place in `out` of element `start`.
    """
    first = start // BLOCK
    last = (start + count + BLOCK - 1) // BLOCK
    for block in range(first, last):
        at = (block - first) * BLOCK
        low = np.uint64(block) * np.uint64(LANE)
        _block(stream, low, out[at : at + BLOCK])
    return start - first * BLOCK


@njit(**FLAGS)
def _block(stream, low, out):
    upper0, upper1 = stream[2], stream[3]
    for j in range(LANE):
        counter = low + np.uint64(j)
        c0, c1 = counter & _LOW, counter >> _SHIFT
        c2, c3 = upper0, upper1
        k0, k1 = stream[0], stream[1]
        for _ in range(10):
            p0 = _M0 * c0
            p1 = _M1 * c2
            c0 = (p1 >> _SHIFT) ^ c1 ^ k0
            c2 = (p0 >> _SHIFT) ^ c3 ^ k1
            c1 = p1 & _LOW
            c3 = p0 & _LOW
            k0 = (k0 + _W0) & _LOW
            k1 = (k1 + _W1) & _LOW
        out[j] = np.uint32(c0)
        out[LANE + j] = np.uint32(c1)
        out[2 * LANE + j] = np.uint32(c2)
        out[3 * LANE + j] = np.uint32(c3)
