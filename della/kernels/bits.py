"""Stored values at a memory address as float32, and back.

float16 and bfloat16 are taken apart by their bits, since numba has no such types; every conversion rounds to nearest,
ties to even, as IEEE 754 and torch do.
"""

import numpy as np
from numba import carray, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

FLAGS = {"nogil": True, "cache": True, "error_model": "numpy"}


def named(name):
    """Decorates a closure that is to be compiled: its name tells it from its sisters.

    numba calls compiled closures of one function alike but for a number, which it counts anew in each process. Code
    that another process kept could be joined with a sister of the same number that was compiled here, and run it.
    """

    def rename(function):
        function.__name__ = name
        function.__qualname__ = name
        return function

    return rename


FLOAT32, BFLOAT16, FLOAT16, FLOAT64, DELTA, ABSENT = range(6)
CODES = {"float32": FLOAT32, "bfloat16": BFLOAT16, "float16": FLOAT16, "float64": FLOAT64}

_EXPONENT = np.uint32(0x7F800000)
_HALF_SCALE = np.float32(2.0**112)  # moves a half's exponent, read as a float's, to where it belongs


@intrinsic
def pointer(typing_context, address):
    """An integer address as a pointer that `carray` takes."""
    signature = types.voidptr(address)

    def build(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return signature, build


@njit(**FLAGS)
def load(code, address, start, count, out):
    """out[:count] = elements start .. start + count - 1 of the array at `address`, as float32."""
    if code in (FLOAT32, DELTA):
        single = carray(pointer(address + 4 * start), count, np.float32)
        for i in range(count):
            out[i] = single[i]
    elif code == BFLOAT16:
        halves = carray(pointer(address + 2 * start), count, np.uint16)
        raw = out.view(np.uint32)
        for i in range(count):
            raw[i] = np.uint32(halves[i]) << np.uint32(16)
    elif code == FLOAT16:
        halves = carray(pointer(address + 2 * start), count, np.uint16)
        raw = out.view(np.uint32)
        for i in range(count):
            half = np.uint32(halves[i])
            raw[i] = (half & np.uint32(0x7FFF)) << np.uint32(13)
            value = out[i] * _HALF_SCALE
            out[i] = value
            top = np.uint32(_EXPONENT if (half & np.uint32(0x7C00)) == np.uint32(0x7C00) else 0)
            raw[i] = raw[i] | top | ((half & np.uint32(0x8000)) << np.uint32(16))
    elif code == FLOAT64:
        double = carray(pointer(address + 8 * start), count, np.float64)
        for i in range(count):
            out[i] = np.float32(double[i])
    else:
        for i in range(count):
            out[i] = np.float32(0)


@njit(**FLAGS)
def store(code, values, address, start, count):
    """Writes float32 values[:count] at `address` in the dtype of `code`; whether all of them are finite there."""
    top = np.uint32(0)
    raw = values.view(np.uint32)
    if code == FLOAT32:
        single = carray(pointer(address + 4 * start), count, np.float32)
        for i in range(count):
            single[i] = values[i]
            top = max(top, raw[i] & _EXPONENT)
        return top != _EXPONENT
    if code == FLOAT64:
        double = carray(pointer(address + 8 * start), count, np.float64)
        for i in range(count):
            double[i] = np.float64(values[i])
            top = max(top, raw[i] & _EXPONENT)
        return top != _EXPONENT
    halves = carray(pointer(address + 2 * start), count, np.uint16)
    if code == BFLOAT16:
        for i in range(count):
            rounded = (raw[i] + np.uint32(0x7FFF) + ((raw[i] >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
            halves[i] = np.uint16(rounded)
            top = max(top, max(raw[i] & _EXPONENT, (rounded << np.uint32(16)) & _EXPONENT))
        return top != _EXPONENT
    for i in range(count):
        half = _to_half(raw[i])
        halves[i] = np.uint16(half)
        top = max(top, half & np.uint32(0x7C00))
    return top != np.uint32(0x7C00)


@njit(**FLAGS)
def _to_half(bits):
    """The bits of a float32 as those of the nearest float16."""
    magnitude = bits & np.uint32(0x7FFFFFFF)
    sign = (bits >> np.uint32(16)) & np.uint32(0x8000)
    # normal: add what rounds the 13 dropped bits to even, and move the exponent from bias 127 to 15
    odd = (magnitude >> np.uint32(13)) & np.uint32(1)
    normal = (magnitude - np.uint32(112 << 23) + np.uint32(0xFFF) + odd) >> np.uint32(13)
    if magnitude >= np.uint32(0x47800000):  # 65,536 and above, infinity, NaN
        return sign | np.uint32(0x7C00)
    if magnitude >= np.uint32(0x38800000):  # 2**-14, the smallest normal half
        return sign | normal
    # denormal: multiples of 2**-24; the shift leaves the implicit one and rounds half to even by hand
    if magnitude < np.uint32(0x33000000):  # below half of the smallest denormal (2**-25), which itself rounds to 0
        return sign
    shift = np.uint32(126) - (magnitude >> np.uint32(23))
    whole = (magnitude & np.uint32(0x007FFFFF)) | np.uint32(0x00800000)
    kept = whole >> shift
    rest = whole & ((np.uint32(1) << shift) - np.uint32(1))
    middle = np.uint32(1) << (shift - np.uint32(1))
    up = np.uint32(1) if rest > middle or (rest == middle and (kept & np.uint32(1)) != np.uint32(0)) else np.uint32(0)
    return sign | (kept + up)


@njit(**FLAGS)
def subtract(base, values, count):
    """values -= base, in float32; whether every delta is finite."""
    raw = values.view(np.uint32)
    top = np.uint32(0)
    for i in range(count):
        values[i] = values[i] - base[i]
    for i in range(count):
        top = max(top, raw[i] & _EXPONENT)
    return top != _EXPONENT
