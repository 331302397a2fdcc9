"""The filter of system calls, executed here as the kernel does."""

import os
import struct

import pytest

from eval import sandbox_filter as filters
from eval.sandbox_filter import ALLOW, ARCHITECTURES, REFUSE, REFUSED, build

MACHINE = os.uname().machine
needs_machine = pytest.mark.skipif(MACHINE not in ARCHITECTURES, reason="no filter for this architecture")
PID = 4321


def answer(program: bytes, number: int, first: int = 0, architecture: int | None = None) -> int:
    """What the filter says of a call: the five instructions that it uses, by <linux/filter.h>."""
    architecture = ARCHITECTURES[MACHINE][1] if architecture is None else architecture
    data = struct.pack("=IIQQ", number, architecture, 0, first & (2**64 - 1))
    code, at, loaded = list(struct.iter_unpack("=HBBI", program)), 0, 0
    while True:
        kind, if_true, if_false, operand = code[at]
        at += 1
        if kind == filters.LOAD:
            loaded = struct.unpack_from("=I", data, operand)[0]
        elif kind == filters.RETURN:
            return operand
        else:
            holds = loaded == operand if kind == filters.EQUAL else loaded >= operand
            at += if_true if holds else if_false


@needs_machine
@pytest.mark.parametrize("isolated", [True, False])
def test_the_calls_named_are_refused_and_no_other(isolated):
    """With namespaces the first table; without, also the second, and the third unless on oneself."""
    place, program = ARCHITECTURES[MACHINE][0], build(isolated, PID)
    tables = [REFUSED] if isolated else [REFUSED, filters.WITHOUT_NAMESPACES, filters.ON_ITSELF]
    named = {numbers[place] for table in tables for numbers in table.values()}
    refused = {number for number in range(500) if answer(program, number, first=1) != ALLOW}
    assert refused == named
    assert {answer(program, number, first=1) for number in named} == {REFUSE}


@needs_machine
def test_a_signal_to_oneself_passes_and_to_another_does_not():
    place, program = ARCHITECTURES[MACHINE][0], build(False, PID)
    for numbers in filters.ON_ITSELF.values():
        assert [answer(program, numbers[place], first) for first in (0, PID)] == [ALLOW] * 2
        assert [answer(program, numbers[place], first) for first in (1, PID + 1, -1, -PID)] == [REFUSE] * 4


@needs_machine
def test_calls_by_another_architectures_numbers_are_refused():
    program = build(True, PID)
    assert answer(program, 1, architecture=0x40000003) == REFUSE
    if MACHINE == "x86_64":
        assert answer(program, filters.X32 + 1) == REFUSE


def test_another_machine_has_no_filter(monkeypatch):
    class Other:
        machine = "riscv64"

    monkeypatch.setattr(filters.os, "uname", Other)
    assert not filters.is_supported()
