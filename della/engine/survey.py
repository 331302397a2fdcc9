"""What must be known of a whole delta before its first block is merged: TIES's cut, L1 norms, sorted magnitudes.

Where deltas are compared by WANDA's scores, "magnitudes" are these.

Cuts are found by counting magnitudes, first by their upper bits, then by the lower ones. In large tensors a sample
guesses a range that the cut lies in, and only what is inside is counted; where the guess is wrong, everything is. The
result is exact either way: `della.prune.find_cut` and `share_cut` define it.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from della.counts import kept_count
from della.engine.blocks import BadBlock, Survey, delta_block, each, prune_block, scratch, weighed
from della.engine.prepare import Source, Tensor
from della.kernels import block, passes, rankings, whole

if TYPE_CHECKING:
    from della.prune import Cut

_BINS = 65536
_LOWER = 15  # bits of a magnitude that the second pass counts
_SAMPLES = 64  # of 1,024 elements each
_MORE = 18  # large tensors have one for 2**18 elements: so a narrower range, and about as many inside it
_SIGMAS = 4.0

Deltas = Callable[[], Iterable[tuple[np.ndarray, int]]]


class Found(NamedTuple):
    """A cut: the bits of the smallest kept magnitude, how many equal ones are kept, and how many there are.

    by_block: how many of these each block has, where that is known.
    """

    bits: int
    ties: int
    equal: int
    by_block: list[int] | None = None

    @property
    def cut(self) -> "Cut":
        """As `della.prune.top_k` takes it."""
        from della.prune import MAX_ROW, Cut

        return Cut(self.bits, MAX_ROW if self.ties == self.equal else self.ties)


def survey(tensor: Tensor, ranges: list[tuple[int, int]], shared: dict[tuple[int, int], Found] | None = None) -> Survey:
    """Surveys one tensor.

    Args:
        ranges: its blocks.
        shared: (expert, point) -> the tensor's part of a cut over the whole expert.

    Raises:
        BadBlock: a delta is not finite.
    """
    experts, points = tensor.prunes.shape
    cuts = np.zeros((experts, points), np.uint32)
    ties = [np.zeros((experts, points), np.int64) for _ in ranges]
    factors = np.ones((experts, points), np.float32)
    bounds = _bounds(tensor, ranges)
    for t, source in enumerate(tensor.experts.values()):
        known: dict[float, Found] = {}
        for p in range(points):
            options: Any = tensor.options[t][p]
            if tensor.prunes[t, p] == block.TOP_K and tensor.size:
                found = (shared or {}).get((t, p))
                if found is None:
                    found = known.get(options.drop_rate) or tensor_cut(tensor, t, source, ranges, options.drop_rate)
                    known[options.drop_rate] = found
                cuts[t, p] = _place_ties(tensor, t, p, source, ranges, found, ties)
            elif tensor.prunes[t, p] == block.TOP_ROWS:
                cuts[t, p] = kept_count(tensor.columns, options.drop_rate)
            elif getattr(options, "rescale", "") == "l1" and tensor.prunes[t, p] != block.KEEP_ALL:
                factors[t, p] = _l1_factor(tensor, t, p, ranges, bounds)
    over_tensor = [t for t in range(experts) if tensor.whole(t, 0)]
    ascending = dict(
        zip([(t, 0) for t in over_tensor], each(lambda t: _sorted(tensor, t, ranges), over_tensor, 2), strict=True)
    )
    return Survey(cuts, ties, factors, bounds, ascending)


def magnitudes_of(
    tensor: Tensor, t: int, source: Source, ranges: list[tuple[int, int]]
) -> Iterator[tuple[np.ndarray, int]]:
    """What the delta of expert t is compared by, block by block, in an array that the next block overwrites.

    Raises BadBlock.
    """
    for start, count in ranges:
        out = scratch("surveyed", count)
        if not delta_block(tensor, source, start, count, out):
            raise BadBlock(t + 1, tensor)
        yield weighed(tensor, t, out, start, count), count


def _bounds(tensor: Tensor, ranges: list[tuple[int, int]]) -> np.ndarray:
    """The smallest and the largest magnitude of each delta whose drop probabilities go by them."""
    experts, points = tensor.prunes.shape
    bounds = np.full((experts, points, 2), -1, np.float32)
    for t, source in enumerate(tensor.experts.values()):
        asked = [p for p in range(points) if tensor.prunes[t, p] == block.PROPORTIONAL and tensor.over_tensor(t, p)]
        if asked and tensor.size:
            found = [rankings.extremes(values, count) for values, count in magnitudes_of(tensor, t, source, ranges)]
            bounds[t, asked] = min(low for low, _ in found), max(high for _, high in found)
    return bounds


def tensor_cut(tensor: Tensor, t: int, source: Source, ranges: list[tuple[int, int]], drop_rate: float) -> Found:
    """The cut of one delta."""
    wanted = kept_count(tensor.size, drop_rate)
    guess = _guess(tensor, t, source, wanted)
    if guess is not None:
        above, parts = _inside(tensor, t, source, ranges, *guess)
        if above < wanted <= above + sum(map(len, parts)):
            return _cut_inside(parts, wanted - above)
    return find_cut(lambda: magnitudes_of(tensor, t, source, ranges), wanted)


def _inside(
    tensor: Tensor, t: int, source: Source, ranges: list[tuple[int, int]], low: int, high: int
) -> tuple[int, list[np.ndarray]]:
    """How many magnitudes lie above a range of bits, and those inside by block; none where there are too many."""
    above, held, parts = 0, 0, []
    for values, count in magnitudes_of(tensor, t, source, ranges):
        bits = scratch("inside", count, dtype=np.uint32)
        more, found = passes.collect_range(values, count, np.uint32(low), np.uint32(high), bits)
        above, held = above + more, held + found
        if held > tensor.size // 8:
            return 0, []
        parts.append(bits[:found].copy())
    return above, parts


def _cut_inside(parts: list[np.ndarray], wanted: int) -> Found:
    """The cut where the magnitudes around it are at hand."""
    held = np.concatenate(parts)
    held.partition(len(held) - wanted)
    bits = held[len(held) - wanted]
    by_block = [int(np.count_nonzero(part == bits)) for part in parts]
    return Found(int(bits), wanted - int(np.count_nonzero(held > bits)), sum(by_block), by_block)


def find_cut(deltas: Deltas, wanted: int) -> Found:
    """The magnitude of which, with all larger ones, `wanted` can be had.

    Args:
        deltas: gives the blocks, the same at every call.
        wanted: how many to keep, from 1 to all.
    """
    low = 0
    for shift, bins in ((_LOWER, _BINS), (0, 1 << _LOWER)):
        histogram, above = np.zeros(bins, np.int64), 0
        for values, count in deltas():
            above += passes.count_range(values, count, np.uint32(low), np.uint32(shift), histogram)
        from_top = above + np.cumsum(histogram[::-1])
        place = int(np.searchsorted(from_top, wanted))
        chosen = bins - 1 - place
        before = int(from_top[place - 1]) if place else above
        low += chosen << shift
    return Found(low, wanted - before, int(histogram[chosen]))


def _guess(tensor: Tensor, t: int, source: Source, wanted: int) -> tuple[int, int] | None:
    """A range of magnitude bits in which the cut very probably lies; None where counting all is as good."""
    step = max(1, tensor.size // max(_SAMPLES, tensor.size >> _MORE))
    if source.low_rank is not None or tensor.size < 16 * _SAMPLES * 1024:
        return None
    out = scratch("sampled", 1024)
    parts = []
    for start in range(0, tensor.size - 1024, step):
        delta_block(tensor, source, start, 1024, out)
        parts.append(weighed(tensor, t, out, start, 1024).view(np.uint32) & np.uint32(0x7FFFFFFF))
    bits = np.sort(np.concatenate(parts))
    share = 1 - wanted / tensor.size
    spread = _SIGMAS * (share * (1 - share) * len(bits)) ** 0.5 + 8  # neighbours in a row are alike: allow for more
    low = int(bits[max(0, int(share * len(bits) - 2 * spread))])
    high = int(bits[min(len(bits) - 1, int(share * len(bits) + 2 * spread))]) + 1
    return low, high


def _place_ties(
    tensor: Tensor, t: int, p: int, source: Source, ranges: list[tuple[int, int]], found: Found, ties: list[np.ndarray]
) -> int:
    """The bits that a kept magnitude exceeds; sets how many equal ones each block may keep."""
    if found.ties == found.equal and found.bits > 0:
        return found.bits - 1  # all of them: no need to count
    left = found.ties
    for index, equal in enumerate(found.by_block or _equal_ones(tensor, t, source, ranges, found.bits)):
        ties[index][t, p] = left
        left -= equal
        if left <= 0:
            break
    return found.bits


def _equal_ones(tensor: Tensor, t: int, source: Source, ranges: list[tuple[int, int]], bits: int) -> Iterator[int]:
    """How many magnitudes with these bits each block has."""
    for values, count in magnitudes_of(tensor, t, source, ranges):
        yield passes.count_equal(values, count, np.uint32(bits))


def _l1_factor(tensor: Tensor, t: int, p: int, ranges: list[tuple[int, int]], bounds: np.ndarray) -> float:
    """`della.prune.drop` with rescale=l1: what kept deltas are multiplied by, so that the tensor keeps its norm."""
    sums = [(np.zeros(passes.SUM_BLOCK), np.zeros(2)) for _ in range(2)]
    for start, count in ranges:
        delta, pruned = prune_block(tensor, t, p, start, count, bounds)
        for values, (held, state) in zip((delta, pruned), sums, strict=True):
            passes.add_norms(values, count, held, state)
    before, after = (passes.finish_norm(held, state) for held, state in sums)
    return float(np.float32(before / after)) if after > 0 else 1.0


def _sorted(tensor: Tensor, t: int, ranges: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """The sorted magnitudes of a delta, as `whole.keep_lower` has them."""
    source = list(tensor.experts.values())[t]
    magnitudes = np.empty(tensor.size, np.uint32)
    at = 0
    for values, count in magnitudes_of(tensor, t, source, ranges):
        whole.magnitudes(values, count, magnitudes[at : at + count])
        at += count
    magnitudes.sort()
    starts = np.empty(whole.BUCKETS + 1, np.int64)
    whole.keep_lower(magnitudes, magnitudes.view(np.uint16)[: tensor.size], starts)
    magnitudes.resize((tensor.size + 1) // 2, refcheck=False)  # gives the other half back
    return magnitudes.view(np.uint16)[: tensor.size], starts


def shared_cuts(tensors: Iterable[tuple[Tensor, list[tuple[int, int]]]], t: int, drop_rate: float) -> Iterator[Found]:
    """The part of each tensor in a cut over all of an expert's deltas (trim_over=global), in the given order."""
    tensors = list(tensors)
    sources = [list(tensor.experts.values())[t] for tensor, _ in tensors]

    def deltas() -> Iterator[tuple[np.ndarray, int]]:
        for (tensor, ranges), source in zip(tensors, sources, strict=True):
            yield from magnitudes_of(tensor, t, source, ranges)

    total = sum(tensor.size for tensor, _ in tensors)
    found = find_cut(deltas, kept_count(total, drop_rate)) if total else Found(0, 0, 0)
    left = found.ties
    for (tensor, ranges), source in zip(tensors, sources, strict=True):
        if found.ties == found.equal:
            yield Found(found.bits, tensor.size, tensor.size)  # however many are equal, all of them are kept
            continue
        equal = sum(_equal_ones(tensor, t, source, ranges, found.bits))
        ties = min(left, equal)
        left -= ties
        yield Found(found.bits, ties, equal)
