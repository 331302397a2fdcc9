"""Cuts found by counting, wherever the guess of their range lies, against the definition in della/prune.py."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from della.checkpoint import MemoryCheckpoint
from della.counts import kept_count
from della.engine import survey
from della.engine.blocks import block_ranges
from della.engine.prepare import prepare
from della.methods import make_method
from della.policy import Policy
from della.prune import find_cut, share_cut
from tests.della.bitwise import KINDS, check, draw

RATES = (0.0, 0.1, 0.5, 0.8, 0.999)


def prepared(values: np.ndarray, drop_rate: float = 0.5):
    """The engine's tensor of one expert with these deltas from a base of zeros, and its blocks."""
    base = MemoryCheckpoint({"w": torch.zeros(values.shape)})
    expert = MemoryCheckpoint({"w": torch.from_numpy(values)})
    tensor = prepare("w", base, {"lm": expert}, [Policy(make_method("ties", drop_rate=drop_rate))], None)
    return tensor, block_ranges(tensor, 100)


def cut_of(values: np.ndarray, wanted: int, size: int = 100) -> survey.Found:
    blocks = [(values[at : at + size], len(values[at : at + size])) for at in range(0, len(values), size)]
    return survey.find_cut(lambda: blocks, wanted)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 2, 99, 100, 101, 2500])
def test_a_cut_is_the_one_that_is_defined(kind, count):
    values = draw(np.random.default_rng(count), (count,), kind)
    for drop_rate in RATES:
        theirs = find_cut(lambda: [torch.from_numpy(values)], drop_rate)
        ours = cut_of(values, kept_count(count, drop_rate))
        assert (ours.bits, ours.ties) == (theirs.bits, theirs.ties)
        assert ours.equal == np.count_nonzero((values.view(np.uint32) & 0x7FFFFFFF) == theirs.bits)


@pytest.mark.parametrize("kind", KINDS)
@given(low=st.integers(0, 2**31 - 1), width=st.integers(0, 2**31), drop_rate=st.sampled_from(RATES))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_guess_of_the_range_gives_the_same_cut(kind, low, width, drop_rate):
    values = draw(np.random.default_rng(1), (700,), kind)
    tensor, ranges = prepared(values, drop_rate)
    (source,) = tensor.experts.values()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(survey, "_guess", lambda *_: (low, min(low + width, 2**31)))
        guessed = survey.tensor_cut(tensor, 0, source, ranges, drop_rate)
    assert guessed[:3] == cut_of(values, kept_count(values.size, drop_rate))[:3]
    magnitudes = values.view(np.uint32) & 0x7FFFFFFF
    equal = [np.count_nonzero(magnitudes[at : at + size] == guessed.bits) for at, size in ranges]
    assert guessed.by_block in (None, equal)


@pytest.mark.parametrize("kind", ["normal", "ties", "misleading", "zeros where sampled"])
def test_a_sample_that_misleads_changes_nothing(kind):
    """1.1 million deltas are enough for a guess from 64 pieces of 1,024; each begins at a multiple of the 64th part of
    them: there, values are a thousand times as large as elsewhere, or 0."""
    count = 1_100_000
    values = draw(np.random.default_rng(4), (count,), "ties" if kind == "ties" else "normal")
    if kind not in ("normal", "ties"):
        sampled = np.arange(count) % (count // 64) < 1024
        values[sampled] *= np.float32(1000 if kind == "misleading" else 0)
    tensor, ranges = prepared(values)
    (source,) = tensor.experts.values()
    assert survey._guess(tensor, 0, source, count // 2) is not None
    for drop_rate in (0.2, 0.8, 0.99):
        theirs = find_cut(lambda: [torch.from_numpy(values)], drop_rate)
        ours = survey.tensor_cut(tensor, 0, source, ranges, drop_rate)
        assert (ours.bits, ours.ties) == (theirs.bits, theirs.ties)
    base = MemoryCheckpoint({"w": torch.zeros(count)})
    check(base, {"lm": MemoryCheckpoint({"w": torch.from_numpy(values)})}, make_method("ties"), block_elements=300_001)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("drop_rate", RATES)
def test_the_parts_of_a_cut_over_several_tensors_are_those_that_are_defined(kind, drop_rate):
    """Ties go to the earlier tensors: `ties` is only of interest where fewer than all equal ones are kept."""
    rng = np.random.default_rng(5)
    parts = [draw(rng, shape, kind) for shape in ((30, 7), (0,), (211,), (1,), (5, 40))]
    deltas = [torch.from_numpy(part) for part in parts]
    theirs = list(share_cut(deltas, find_cut(lambda: deltas, drop_rate)))
    ours = list(survey.shared_cuts([prepared(part) for part in parts], 0, drop_rate))
    assert [cut.bits for cut in ours] == [cut.bits for cut in theirs]
    for part, one, other in zip(parts, ours, theirs, strict=True):
        equal = np.count_nonzero((part.view(np.uint32) & 0x7FFFFFFF) == one.bits)
        assert min(one.ties, equal) == other.ties


def test_no_tensor_has_no_cut():
    assert list(survey.shared_cuts([], 0, 0.5)) == []
    (found,) = survey.shared_cuts([prepared(np.zeros((0, 3), np.float32))], 0, 0.5)
    assert found.bits == 0
