"""Each CPU kernel against the torch function that defines it, bit for bit."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from della.delta import l1_norm
from della.kernels import bits, passes, philox, prune
from della.lora import LowRank, product, product_torch
from della.prune import drop_probabilities, magnitude_bits, magprune, ranks
from della.random import keep_threshold, uniform_words
from della.streams import stream_words
from tests.della.bitwise import KINDS, draw

FAST = settings(max_examples=100, deadline=None, derandomize=True)
WORD = st.integers(0, 2**32 - 1)


# Stored values


def loaded(stored: np.ndarray, dtype: str, start: int = 0) -> np.ndarray:
    out = np.empty(stored.size - start, np.float32)
    bits.load(bits.CODES[dtype], stored.ctypes.data, start, out.size, out)
    return out


def stored(values: np.ndarray, dtype: str) -> tuple[np.ndarray, bool]:
    """The bits of float32 values in a dtype, and whether the kernel says that all of them are finite."""
    out = np.zeros(values.size, {"float32": np.uint32, "float64": np.uint64}.get(dtype, np.uint16))
    return out, bool(bits.store(bits.CODES[dtype], values, out.ctypes.data, 0, values.size))


def by_torch(values: np.ndarray, dtype: str) -> np.ndarray:
    tensor = torch.from_numpy(values).to(getattr(torch, dtype))
    return tensor.view({2: torch.uint16, 4: torch.uint32, 8: torch.uint64}[tensor.element_size()]).numpy()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_each_of_the_65536_patterns_is_read_as_torch_reads_it(dtype):
    patterns = np.arange(2**16, dtype=np.uint16)
    theirs = torch.from_numpy(patterns.copy()).view(getattr(torch, dtype)).to(torch.float32).numpy()
    ours = loaded(patterns, dtype)
    number = ~np.isnan(theirs)
    assert np.array_equal(np.isnan(ours), ~number)
    assert np.array_equal(ours[number].view(np.uint32), theirs[number].view(np.uint32))
    assert np.array_equal(loaded(patterns, dtype, 1000).view(np.uint32), ours[1000:].view(np.uint32))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_values_between_two_neighbours_round_as_in_torch(dtype):
    """Every finite value, every midpoint of two neighbours (ties to even), and the float32 on either side of both.

    The midpoint above the largest finite value is where overflow begins.
    """
    end = {"float16": 0x7C00, "bfloat16": 0x7F80}[dtype]
    places = loaded(np.arange(end, dtype=np.uint16), dtype).astype(np.float64)
    step = places[-1] - places[-2]
    middles = (places + np.append(places[1:], places[-1] + step)) / 2  # exact in float32
    exact = np.concatenate([places, middles]).astype(np.float32)
    values = np.concatenate([exact, np.nextafter(exact, np.float32(np.inf)), np.nextafter(exact, np.float32(-np.inf))])
    values = np.concatenate([values, -values])
    theirs = by_torch(values, dtype)
    assert np.array_equal(stored(values, dtype)[0], theirs)
    finite = (theirs & 0x7FFF) < end
    assert stored(values[finite], dtype)[1]
    assert not any(stored(values[i : i + 1], dtype)[1] for i in np.flatnonzero(~finite))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_random_patterns_of_float32_are_written_as_torch_writes_them(dtype):
    values = np.random.default_rng(0).integers(0, 2**32, 2**20, dtype=np.uint32).view(np.float32)
    values = values[np.isfinite(values)]
    assert np.array_equal(stored(values, dtype)[0], by_torch(values, dtype))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@given(pattern=WORD, place=st.integers(0, 4))
@FAST
def test_one_value_that_is_not_finite_is_told(dtype, pattern, place):
    """NaN of any payload too: where the lower bits are all ones, rounding to bfloat16 carries into the sign."""
    for word in (pattern, pattern | 0x7F800000, pattern | 0x7FFF8000):
        values = np.ones(5, np.float32)
        values.view(np.uint32)[place] = word
        finite = bool(torch.from_numpy(values).to(getattr(torch, dtype)).isfinite().all())
        assert stored(values, dtype)[1] == finite


def test_float64_is_rounded_once_when_it_is_read():
    """Midpoints of float32 neighbours in float64, and one unit of float64 on either side."""
    single = np.random.default_rng(1).integers(0, 0x7F7FFFFF, 100_000, dtype=np.uint32).view(np.float32)
    middles = (single.astype(np.float64) + np.nextafter(single, np.float32(np.inf)).astype(np.float64)) / 2
    values = np.concatenate([middles, np.nextafter(middles, np.inf), np.nextafter(middles, 0), [1e300, -1e-300, -0.0]])
    theirs = torch.from_numpy(values).to(torch.float32).numpy()
    assert np.array_equal(loaded(values, "float64").view(np.uint32), theirs.view(np.uint32))


# Random words


@given(st.integers(0, 2**44), st.integers(0, 5000), st.integers(-5, 2**63))
@FAST
def test_words_of_any_stretch_are_those_of_the_definition(start, count, seed):
    """2**44 elements are 2**42 counters: more than 32 bits."""
    stream = np.array(stream_words(seed, "lm", "w"), np.uint64)
    out = np.zeros(count + 2 * philox.BLOCK, np.uint32)
    place = philox.words(stream, start, count, out)
    assert np.array_equal(out[place : place + count], uniform_words(seed, "lm", "w", start, count).numpy())


# Keep or drop


def dropped(delta: np.ndarray, drawn: np.ndarray, drop_rate: float, epsilon: float, scaled: bool):
    """A row pruned by MAGPRUNE with the words given, one expert, one point; how many are kept."""
    n = delta.size
    keep = 1 - drop_probabilities(n, drop_rate, epsilon).numpy()
    thresholds = (np.ceil(keep * 2.0**32).astype(np.int64) - 1).astype(np.uint32)
    singles, words = np.full((7, n), np.nan, np.float32), np.zeros((6, n), np.uint32)
    singles[5], words[4] = delta, drawn
    words[5] = np.argsort(ranks(magnitude_bits(torch.from_numpy(delta))[None])[0].numpy())
    one, code = np.zeros((1, 1), np.int64), np.full((1, 1), prune.MAGPRUNE)
    factors = np.ones((1, 1), np.float32)
    points = (code, one[0], one[0], factors[0], factors, one.astype(np.uint32), one)
    unused = np.zeros((1, 2)), np.full((1, 1, 2), -1, np.float32), np.empty((1, 0), np.float32)
    tables = (thresholds[None], keep.astype(np.float32)[None], np.array([scaled]), one, factors, *unused)
    kept = prune.prune(0, 0, n, n, points, tables, singles, words)
    return singles[6], kept


@pytest.mark.parametrize(
    ("drop_rate", "epsilon"), [(0.5, 0.14), (0.3, 0.6), (0.9, 0.19), (0.0001, 0.0002), (0.999, 0.0)]
)
@pytest.mark.parametrize("offset", [-700, -513, -512, -257, -256, -255, -2, -1, 0, 1, 2, 255, 256, 257, 600])
def test_a_word_next_to_its_threshold_is_kept_exactly_where_it_is_below(drop_rate, epsilon, offset):
    """All words at the same distance from ceil(keep 2**32): kept where that is below 0, however the kernel compares."""
    delta = draw(np.random.default_rng(7), (999,), "normal")
    rank = ranks(magnitude_bits(torch.from_numpy(delta))[None])[0]
    threshold = keep_threshold(1 - drop_probabilities(999, drop_rate, epsilon))[rank].numpy()
    drawn = np.clip(threshold + offset, 0, 2**32 - 1)
    for scaled in (True, False):
        rescale = "per_parameter" if scaled else "none"
        theirs = magprune(torch.from_numpy(delta), torch.from_numpy(drawn), drop_rate, epsilon, rescale=rescale)
        ours, kept = dropped(delta, drawn.astype(np.uint32), drop_rate, epsilon, scaled)
        assert torch.equal(torch.from_numpy(ours), theirs.delta)
        assert kept == theirs.kept
        assert kept == np.count_nonzero(drawn < threshold)


@pytest.mark.parametrize("offset", [-513, -512, -511, -257, -256, -255, -128, -1, 0, 1, 127, 128, 255, 256, 257])
def test_one_word_next_to_its_threshold(offset):
    """Alone in its row: the kernel takes thresholds themselves for all of a row where one word is in doubt."""
    for drop_rate in np.random.default_rng(8).uniform(0.0001, 0.9999, 400).tolist():
        keep = 1 - drop_rate
        word = int(np.clip(math.ceil(keep * 2**32) + offset, 0, 2**32 - 1))
        ours, kept = dropped(np.ones(1, np.float32), np.array([word], np.uint32), drop_rate, 0.0, True)
        assert kept == (word / 2**32 < keep), drop_rate
        assert ours[0] == (np.float32(1) / np.float32(keep) if kept else 0)


# Passes over a whole delta


@given(st.lists(st.integers(0, 3000), max_size=6), st.sampled_from(["normal", "outlier", "denormal"]))
@FAST
def test_the_l1_norm_does_not_depend_on_the_blocks(sizes, kind):
    values = draw(np.random.default_rng(sum(sizes)), (sum(sizes),), kind)
    held, state = np.full(passes.SUM_BLOCK, np.nan), np.zeros(2)
    start = 0
    for size in sizes:
        passes.add_norms(values[start:], size, held, state)
        start += size
    assert passes.finish_norm(held, state) == l1_norm(torch.from_numpy(values))


@pytest.mark.parametrize("kind", KINDS)
def test_counts_above_inside_and_equal(kind):
    """Against numpy: magnitudes above low + bins 2**shift, a histogram of those inside, and those that are equal."""
    values = draw(np.random.default_rng(2), (5000,), kind)
    magnitudes = (values.view(np.uint32) & 0x7FFFFFFF).astype(np.int64)
    one = int(magnitudes[17])
    ranges = [(one - 16, 0, 16), (one, 0, 16), (1000, 10, 64), (0, 15, 65536), (2**31 - 4, 0, 16)]  # `one` at both ends
    for low, shift, bins in (item for item in ranges if item[0] >= 0):
        histogram = np.zeros(bins, np.int64)
        above = passes.count_range(values, values.size, np.uint32(low), np.uint32(shift), histogram)
        inside = magnitudes[(magnitudes >= low) & (magnitudes < low + (bins << shift))]
        assert above == np.count_nonzero(magnitudes >= low + (bins << shift))
        assert np.array_equal(histogram, np.bincount((inside - low) >> shift, minlength=bins))
    for wanted in (0, int(magnitudes[17]), 2**31 - 1):
        equal = passes.count_equal(values, values.size, np.uint32(wanted))
        assert equal == np.count_nonzero(magnitudes == wanted)


@pytest.mark.parametrize(("rows", "rank", "columns"), [(1, 1, 1), (7, 3, 5), (64, 16, 33), (5, 0, 4)])
def test_factors_are_multiplied_in_the_one_order(rows, rank, columns):
    rng = np.random.default_rng(rank)
    left, right = (rng.normal(0, 1, shape).astype(np.float32) for shape in ((rows, rank), (rank, columns)))
    factors = LowRank(left, right, 5 / 3)
    whole_delta = product(factors, 0, rows)
    assert torch.equal(product_torch(factors, 0, rows), torch.from_numpy(whole_delta))
    for first in range(0, rows, 3):
        count = min(3, rows - first)
        out = np.full(count * columns, np.nan, np.float32)
        passes.low_rank(left, right, np.float32(5 / 3), first, count, out)
        assert out.tobytes() == whole_delta[first : first + count].tobytes()
