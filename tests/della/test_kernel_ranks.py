"""Row ranks and ranks over a whole tensor, by the kernels, against della/prune.py which defines them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from della.kernels import order, whole
from della.prune import magnitude_bits, magprune, ranks
from della.random import uniform_words
from tests.della.bitwise import KINDS, draw

FAST = settings(max_examples=100, deadline=None, derandomize=True)
WORD = st.integers(0, 2**32 - 1)

# Row ranks


def ordered(scores: np.ndarray) -> np.ndarray:
    """Ranks of each row by the kernel, its buffers full of rubbish: the same by one pass and by two."""
    rows, n = scores.shape
    ranked = []
    for patience in (0, 1, 1000):  # one pass at once; after one pair of rows; never
        order_of, pairs, spare = (np.full(size, 7, np.uint32) for size in (scores.size, 2 * n, 2 * n))
        counters = np.full(order.SCRATCH, 7, np.uint32)
        counters[order.PATIENCE] = patience
        order.order_rows(scores.reshape(-1), n, rows, order_of, pairs, counters, spare)
        ranked.append(np.empty((rows, n), np.int64))
        np.put_along_axis(ranked[-1], order_of.reshape(rows, n).astype(np.int64), np.arange(n)[None], 1)
    assert all(np.array_equal(ranked[0], other) for other in ranked[1:])
    return ranked[0]


def rows_of(kind: str, rows: int, n: int) -> np.ndarray:
    rng = np.random.default_rng(n * 31 + rows)
    if kind == "words":
        return rng.integers(0, 2**32, (rows, n), dtype=np.uint32)
    if kind == "lower bits":  # the upper 22 are equal: the first two passes say nothing
        return (rng.integers(0, 1024, (rows, n), dtype=np.uint32)) | np.uint32(0xABCDE400)
    if kind == "rising lower bits":  # the worst for insertion
        return np.broadcast_to((np.arange(n) % 1024).astype(np.uint32), (rows, n)).copy()
    if kind == "octaves":  # one pass tells those of eight octaves apart, and puts all smaller ones together
        return (2.0 ** rng.uniform(-40, 0, (rows, n))).astype(np.float32).view(np.uint32) << np.uint32(1)
    if kind == "ends":
        return rng.choice(np.array([0, 1, 1023, 1024, 2**21 - 1, 2**21, 2**32 - 1], np.uint32), (rows, n))
    return draw(rng, (rows, n), kind).view(np.uint32) << np.uint32(1)


LENGTHS = [1, 2, 47, 48, 49, 1000, 65_535, 65_536, 65_537, 200_000]


@pytest.mark.parametrize("kind", [*KINDS, "words", "lower bits", "rising lower bits", "octaves", "ends"])
@pytest.mark.parametrize("n", LENGTHS)
def test_rows_are_ranked_as_defined(n, kind):
    for rows in (1, 2, 5) if n < 65_536 else (1, 3):
        scores = rows_of(kind, rows, n)
        assert np.array_equal(ordered(scores), ranks(torch.from_numpy(scores.astype(np.int64))).numpy()), rows


def test_one_pass_is_tried_again_after_a_while():
    """Spread over forty octaves, rows are left in disorder by one pass: the next 64 pairs of rows take two."""
    scores = rows_of("octaves", 160, 300)
    assert np.array_equal(ordered(scores), ranks(torch.from_numpy(scores.astype(np.int64))).numpy())
    counters = np.zeros(order.SCRATCH, np.uint32)
    buffers = [np.zeros(size, np.uint32) for size in (scores.size, 600, 600)]
    order.order_rows(scores[:2].reshape(-1), 300, 2, buffers[0][:600], buffers[1], counters, buffers[2])
    assert counters[order.PATIENCE] == 64
    order.order_rows(scores[2:132].reshape(-1), 300, 130, buffers[0][:39000], buffers[1], counters, buffers[2])
    assert counters[order.PATIENCE] == 64  # 64 pairs by two passes, then one by one pass, with the same outcome


@given(st.lists(st.sampled_from([0, 1, 2, 1023, 1024, 1025, 2**21, 2**32 - 1]) | WORD, min_size=1, max_size=130))
@FAST
def test_any_row_is_ranked_as_defined(row):
    for scores in (np.array([row], np.uint32), np.array([row, row[::-1], row], np.uint32)):
        assert np.array_equal(ordered(scores), ranks(torch.from_numpy(scores.astype(np.int64))).numpy())


# Ranks over a whole tensor


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", [(1,), (2,), (500,), (1, 3, 996), (1024, 1024, 7), (40_000, 40_000, 7)])
@pytest.mark.parametrize(("drop_rate", "epsilon"), [(0.5, 0.14), (0.3, 0.6), (0.9, 0.0)])
def test_pruning_by_ranks_over_the_tensor_block_by_block(kind, sizes, drop_rate, epsilon):
    """Of 80,007 zeros the second block begins with 40,000 that have their ranks: more than 15 bits count."""
    count = sum(sizes)
    values = draw(np.random.default_rng(count), (count,), kind)
    words = uniform_words(3, "lm", "w", 0, count)
    for scaled in (True, False):
        rescale = "per_parameter" if scaled else "none"
        delta = torch.from_numpy(values)
        theirs = magprune(delta, words, drop_rate, epsilon, rescale=rescale, rank_over="tensor")
        lower, starts = np.empty(count, np.uint16), np.empty(whole.BUCKETS + 1, np.int64)
        whole.keep_lower(np.sort(magnitude_bits(delta).numpy().astype(np.uint32)), lower, starts)
        ours, kept, at = np.empty(count, np.float32), 0, 0
        for size in sizes:
            drawn = words[at : at + size].numpy().astype(np.uint32)
            keys = np.empty(size, np.uint64)
            whole.keys_of(values[at:], size, keys)
            keys.sort()
            kept += whole.prune_ranked(
                values[at:], keys, lower, starts, drop_rate, epsilon, scaled, drawn, ours[at : at + size]
            )
            at += size
        assert torch.equal(torch.from_numpy(ours), theirs.delta)
        assert kept == theirs.kept
