"""One block: the addresses of its inputs, its scratch memory, the kernel call, and whose fault a bad value is."""

import math
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from della.checkpoint import Model
from della.engine.job import BLOCK_ELEMENTS
from della.engine.prepare import PRUNED, Source, Tensor
from della.errors import InputError
from della.kernels import block, order, passes, rankings, whole
from della.kernels.bits import DELTA, load, subtract
from della.kernels.philox import BLOCK
from della.kernels.philox import words as draw_words
from della.refusals import not_finite, overflows

_local = threading.local()

Result = TypeVar("Result")


def scratch(kind: str, *shape: int, dtype: type = np.float32) -> np.ndarray:
    """An array of this thread that its next call with the same kind may overwrite; zeros at first."""
    held = _local.__dict__.setdefault("held", {})
    size = math.prod(shape)
    if kind not in held or held[kind].size < size:
        held[kind] = np.zeros(size, dtype)
    return held[kind][:size].reshape(shape)


def block_ranges(tensor: Tensor, elements: int = BLOCK_ELEMENTS) -> list[tuple[int, int]]:
    """Start and number of elements of each block: whole rows where these count together or factors are multiplied."""
    columns = max(1, tensor.columns)
    step = max(1, elements // columns) * columns
    if columns > elements and not tensor.by_rows and not any(s.low_rank for s in tensor.experts.values()):
        step = elements
    return [(start, min(step, tensor.size - start)) for start in range(0, tensor.size, step)]


def delta_block(tensor: Tensor, source: Source, start: int, count: int, out: np.ndarray) -> bool:
    """out[:count] = the delta of one expert, as `della.reference.Reference.delta` gives it; whether it is finite."""
    code, address = source_block(tensor, source, start, count, "delta")
    load(code, address, start, count, out)
    if (code < DELTA) != tensor.absolute:  # it needs the base: subtracted, or added to what is given as a delta
        base = scratch("base", count)
        load(tensor.base.code, tensor.base.address, start, count, base)
        if code < DELTA:
            return subtract(base, out, count)
        with np.errstate(over="ignore"):
            out[:count] += base
    return bool(np.isfinite(out[:count]).all())


def weighed(tensor: Tensor, t: int, values: np.ndarray, start: int, count: int) -> np.ndarray:
    """What elements of a delta are compared by: themselves, or scores in an array that the next call overwrites."""
    if not tensor.measured[t]:
        return values
    scores = scratch("scores", count)
    rankings.weigh(values, start, count, tensor.norms[t], scores)
    return scores


def source_block(tensor: Tensor, source: Source, start: int, count: int, kind: str) -> tuple[int, int]:
    """Code and address of a source, as if the whole tensor lay there; factors are multiplied for this block alone."""
    factors = source.low_rank
    if factors is None:
        return source.code, source.address
    product = scratch(f"low rank {kind}", count)
    first, rows = start // tensor.columns, count // tensor.columns
    passes.low_rank(factors.left, factors.right, np.float32(factors.scaling), first, rows, product)
    return DELTA, product.ctypes.data - 4 * start


@dataclass
class Survey:
    """What was found out about the deltas of a tensor, [expert, point] each.

    cuts: magnitude bits that kept deltas exceed (TIES). ties: block -> how many equal ones are kept from there on.
    factors: after pruning, for rescale=l1.
    bounds: [expert, point, 2], the smallest and the largest magnitude of the tensor, where drop probabilities go by
        these; below 0 where they go by those of each row.
    ascending: (expert, point) -> sorted magnitudes as `whole.keep_lower` has them, for ranks over the tensor.
    """

    cuts: np.ndarray
    ties: list[np.ndarray]
    factors: np.ndarray
    bounds: np.ndarray
    ascending: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]]


def merge_block(
    tensor: Tensor,
    survey: Survey,
    index: int,
    start: int,
    count: int,
    out_code: int,
    addresses: np.ndarray,
    origin: int,
) -> np.ndarray:
    """Merges a block and returns how many deltas were kept, int64 [expert, point].

    Args:
        index: of the block.
        out_code: dtype of the result.
        addresses: int64 [point], where to write.
        origin: the element that stands at the address.

    Raises:
        BadBlock: a value is not finite; the caller knows the models and says it with `refuse`.
    """
    experts, points = tensor.prunes.shape
    sources, prunes, ranked = _sources(tensor, survey, start, count)
    thresholds, keeps, scaled, table, windows = tensor.tables
    kept = np.zeros((experts, points), np.int64)
    failed = block.merge_block(
        start,
        count,
        max(1, tensor.columns),
        np.array([tensor.base.code, tensor.base.address, tensor.absolute], np.int64),
        sources,
        tensor.streams,
        (thresholds, keeps, scaled, table, survey.factors, windows, survey.bounds, tensor.norms),
        (prunes, tensor.elects, tensor.means, tensor.lambdas, tensor.weights, survey.cuts, survey.ties[index].copy()),
        (out_code, addresses, origin),
        _kernel_scratch(tensor, experts, count),
        kept,
    )
    if failed:
        raise BadBlock(failed, tensor)
    for t, counted in ranked.items():
        kept[t] = counted
    return kept


def _sources(tensor: Tensor, survey: Survey, start: int, count: int) -> tuple[np.ndarray, np.ndarray, dict[int, int]]:
    """Sources and prune codes of a block for the kernel. What is ranked over the whole tensor is pruned here already:
    expert -> how many of its deltas are kept."""
    sources = np.empty((len(tensor.experts), 2), np.int64)
    prunes = tensor.prunes.copy()
    pruned = {t: scratch(f"pruned {t}", count) for t, _ in survey.ascending}

    def prune(t: int) -> int:
        return _prune_ranked(tensor, survey, t, start, count, pruned[t])

    ranked = dict(zip(pruned, each(prune, pruned), strict=True))
    for t, source in enumerate(tensor.experts.values()):
        if t in ranked:
            sources[t] = DELTA, pruned[t].ctypes.data - 4 * start
            prunes[t] = PRUNED
        else:
            sources[t] = source_block(tensor, source, start, count, str(t))
    return sources, prunes, ranked


def each(do: Callable[[int], Result], experts: Iterable[int], at_once: int | None = None) -> list[Result]:
    """What `do` returns for each expert, each in a thread of its own, so many at once (None: all)."""
    experts = list(experts)
    if not experts:
        return []
    with ThreadPoolExecutor(at_once or len(experts)) as pool:
        return list(pool.map(do, experts))


def prune_block(
    tensor: Tensor, t: int, p: int, start: int, count: int, bounds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Delta and pruned delta, not yet scaled, of expert t at point p, in arrays that the next call overwrites.

    bounds: as `Survey` has them.
    """
    source = list(tensor.experts.values())[t]
    delta, pruned = scratch("one delta", count), scratch("one pruned", count)
    thresholds, keeps, scaled, table, windows = tensor.tables
    streams, rank_streams, by_random = tensor.streams
    one, one_float = np.zeros((1, 1), np.int64), np.ones((1, 1), np.float32)
    failed = block.prune_block(
        start,
        count,
        max(1, tensor.columns),
        np.array([tensor.base.code, tensor.base.address, tensor.absolute], np.int64),
        np.array([source_block(tensor, source, start, count, "one")], np.int64),
        (streams[t : t + 1], rank_streams[t : t + 1], by_random[t : t + 1]),
        (
            thresholds,
            keeps,
            scaled,
            table[t : t + 1, p : p + 1].copy(),
            one_float,
            windows,
            bounds[t : t + 1, p : p + 1].copy(),
            tensor.norms[t : t + 1],
        ),
        (
            tensor.prunes[t : t + 1, p : p + 1].copy(),
            one[0],
            one[0],
            one_float[0],
            one_float,
            one.astype(np.uint32),
            one,
        ),
        _kernel_scratch(tensor, 1, count),
        delta,
        pruned,
    )
    if failed:
        raise BadBlock(t + 1, tensor)
    return delta, pruned


def _kernel_scratch(tensor: Tensor, experts: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    group = min(int(block.group_size(max(1, tensor.columns), tensor.by_rows)), max(count, 1))
    group = max(group, 2 * tensor.columns) if tensor.by_rows else group  # rows are ordered two at a time
    return (
        scratch(f"singles of {experts}", 2 * experts + 5, group),
        scratch(f"words of {experts}", 2 * experts + 4, group + 2 * BLOCK, dtype=np.uint32),
        scratch("counters", order.SCRATCH, dtype=np.uint32),
    )


class BadBlock(Exception):
    """A block with NaN or Inf: in the delta of expert `failed` - 1, or in the result where `failed` is negative."""

    def __init__(self, failed: int, tensor: Tensor):
        super().__init__(f"{tensor.name}: {failed}")
        self.tensor = tensor


def refuse(bad: BadBlock, base: Model, experts: dict[str, Model], dtype: str) -> InputError:
    """What is said of a tensor with a bad block: the same whichever block failed first, so all of them are looked at.

    An input is named before the result, the base before the experts, these in the order of their names.
    """
    tensor = bad.tensor
    ranges = block_ranges(tensor)
    sound = _is_finite(tensor, ranges)
    for expert, source in tensor.experts.items():
        needs_base = not tensor.absolute or source.code >= DELTA
        for start, count in ranges:
            if not delta_block(tensor, source, start, count, scratch("checked", count)):
                return not_finite(tensor.name, base, expert, experts[expert], sound or not needs_base)
    if not sound and not tensor.absolute:  # where nothing but factors is added to the base
        return not_finite(tensor.name, base, "", base, False)
    return overflows(tensor.name, dtype)


def _is_finite(tensor: Tensor, ranges: list[tuple[int, int]]) -> bool:
    """Whether the base is, in float32."""
    for start, count in ranges:
        values = scratch("checked", count)
        load(tensor.base.code, tensor.base.address, start, count, values)
        if not np.isfinite(values).all():
            return False
    return True


def _prune_ranked(tensor: Tensor, survey: Survey, t: int, start: int, count: int, pruned: np.ndarray) -> int:
    """MAGPRUNE over the whole tensor, for the next block of it."""
    values = scratch("values", count)
    source = list(tensor.experts.values())[t]
    if not delta_block(tensor, source, start, count, values):
        raise BadBlock(t + 1, tensor)
    words = scratch("ranked words", count + 2 * BLOCK, dtype=np.uint32)
    skipped = draw_words(tensor.streams[0][t], start, count, words)
    keys = scratch("ranked keys", count, dtype=np.uint64)
    whole.keys_of(weighed(tensor, t, values, start, count), count, keys)
    keys.sort()
    options: Any = tensor.options[t][0]
    scaled = options.rescale == "per_parameter"
    return whole.prune_ranked(
        values,
        keys,
        *survey.ascending[t, 0],
        options.drop_rate,
        options.epsilon,
        scaled,
        words[skipped:],
        pruned,
    )
