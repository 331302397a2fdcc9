"""The order of a merge: tensors in sequence, their blocks in threads, results handed on as they are whole.

for done in merge(Merge(base, experts, [Policy(method)], seed=1, family=family), names, MemorySink()):
    done.name, done.arrays[0], done.kept
"""

import collections
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from della.activations import surveyed
from della.checkpoint import Model
from della.engine import blocks, survey
from della.engine.added import add_rows
from della.engine.blocks import BadBlock, Survey, block_ranges
from della.engine.job import Merge
from della.engine.prepare import Tensor, prepare
from della.engine.sinks import Sink
from della.errors import InputError
from della.kernels.bits import CODES
from della.methods import METHODS
from della.policy import Policy

AHEAD = 3  # tensors that are in work at once: one is finished, one is merged, one is surveyed
HELD = 1 << 29  # bytes of results in memory; the next tensor has to wait when it would make them more


@dataclass
class Done:
    """A finished tensor.

    arrays: its values at each point, where the sink keeps them.
    kept: int64 [expert, point]; None for a tensor that was copied from the base.
    """

    name: str
    arrays: list[np.ndarray] = field(default_factory=list)
    kept: np.ndarray | None = None


def merge(job: Merge, names: Sequence[str], sink: Sink, threads: int | None = None) -> Iterator[Done]:
    """Merges tensors, in the order given.

    Args:
        job: what is merged, and how.
        names: of tensors, each in family.merged or family.passed.
        sink: where the results go.
        threads: None: one per core.

    Raises:
        InputError: a value is not finite, or there is no seed.
    """
    shared = _global_cuts(job)
    with ThreadPoolExecutor(threads or len(os.sched_getaffinity(0)), "merge") as pool:
        waiting: collections.deque[_Work] = collections.deque()
        try:
            for name in names:
                waiting.append(_Work(job, name, sink, pool, shared.get(name)))
                while len(waiting) >= AHEAD or sum(work.held for work in waiting) > HELD:
                    yield _first(waiting)
            while waiting:
                yield _first(waiting)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _first(waiting: "collections.deque[_Work]") -> Done:
    """The first tensor, finished; the blocks of the second are handed to the threads before that."""
    waiting[0].submit_blocks()
    if len(waiting) > 1 and not waiting[0].alone and not waiting[1].alone:
        waiting[1].submit_blocks()
    return waiting.popleft().result()


class _Work:
    """One tensor on its way: first its survey, then its blocks."""

    def __init__(
        self,
        job: Merge,
        name: str,
        sink: Sink,
        pool: ThreadPoolExecutor,
        shared: dict[tuple[int, int], survey.Found] | None,
    ):
        self.job, self.name, self.pool, self.shared = job, name, pool, shared
        shape = job.base.headers[name].shape
        more = len(job.family.added.get(name, ()))
        self.target = sink.open(name, (shape[0] + more, *shape[1:]) if more else shape, job.dtype_of(name))
        self.held = sum(array.nbytes for array in self.target.arrays)
        self.futures: list[Future[np.ndarray | None]] = []
        self.submitted = False
        self.alone = False  # whether it holds so much memory that no other tensor may do so at the same time
        self.tensor: Tensor | None = None
        if name in job.family.passed:
            self.first: Future = pool.submit(self._copy)
        elif job.device != "cpu" or needs_torch(job.policies, name, job.experts):
            self.first = pool.submit(self._whole)
        else:
            self.tensor = prepare(name, job.base, job.experts, job.policies, job.seed, job.activations)
            self.ranges = block_ranges(self.tensor, job.elements)
            self.alone = any(self.tensor.whole(t, 0) for t in range(len(job.experts)))
            if not self.alone:
                self.first = pool.submit(survey.survey, self.tensor, self.ranges, shared)

    def submit_blocks(self) -> None:
        """Hands the blocks to the threads, once the survey is there."""
        if self.submitted:
            return
        self.submitted = True
        if self.alone:
            self.futures = [self.pool.submit(self._ranked)]
            return
        self.futures = [self.first]  # all there is without blocks; and `result` says what is wrong in its turn
        if self.tensor is not None and not isinstance(self.first.exception(), BadBlock):
            found = self.first.result()
            self.futures = [self.pool.submit(self._block, found, index) for index in range(len(self.ranges))]

    def result(self) -> Done:
        """Waits for the blocks; raises what went wrong in any of them."""
        self.submit_blocks()
        try:
            counts = [future.result() for future in self.futures]
        except BadBlock as bad:
            raise _refusal(self.job, bad) from None
        if self.name in self.job.family.added:
            add_rows(self.name, self.job.base, self.job.experts, self.job.family, self.target)
        kept = None
        if self.name in self.job.family.merged:
            shape = (len(self.job.experts), len(self.job.policies))
            kept = sum((count for count in counts if count is not None), np.zeros(shape, np.int64))
        return Done(self.name, self.target.arrays, kept)

    def _block(self, found: Survey, index: int) -> np.ndarray:
        assert self.tensor is not None
        start, count = self.ranges[index]
        code = CODES[self.target.dtype]
        addresses, origin = self.target.begin(start, count)
        kept = blocks.merge_block(self.tensor, found, index, start, count, code, addresses, origin)
        self.target.finish(start, count)
        self.job.progress(count)
        return kept

    def _ranked(self) -> np.ndarray:
        """A tensor with ranks over all of it: equal magnitudes are counted on from block to block."""
        assert self.tensor is not None
        found = survey.survey(self.tensor, self.ranges, self.shared)
        return np.sum([self._block(found, index) for index in range(len(self.ranges))], axis=0)

    def _copy(self) -> None:
        """A tensor that is not merged, as the base has it."""
        for point in range(max(1, len(self.target.arrays))):
            self.target.write(point, 0, np.ascontiguousarray(self.job.base.array(self.name)))
        self.job.progress(self.job.base.headers[self.name].numel)

    def _whole(self) -> np.ndarray:
        """A tensor whose method, or combination of options, has no kernel."""
        from della.engine.whole import merge_whole

        kept = merge_whole(self.job, self.name, self.target, self.shared or {})
        self.job.progress(self.job.base.headers[self.name].numel)
        return kept


def needs_torch(policies: Sequence[Policy], name: str, experts: Mapping[str, Model]) -> bool:
    """Whether `della.reference` merges a tensor, whole: its method has no kernel, or its options none together."""
    for policy, expert in itertools.product(policies, experts):
        options = policy.options(name, expert)
        if METHODS[options.name].kernel is None:
            return True
        if getattr(options, "rank_by", "") == "proportional":
            continue  # needs the largest and the smallest magnitude of a tensor, and no order
        if getattr(options, "rank_over", "row") == "tensor" and (
            options.rescale == "l1" or options.rank_by == "random" or len(policies) > 1  # type: ignore[attr-defined]
        ):
            return True
    return False


def _global_cuts(job: Merge) -> dict[str, dict[tuple[int, int], survey.Found]]:
    """TIES over all deltas of an expert (trim_over=global): tensor -> (expert, point) -> its part of the cut."""
    points = [p for p, policy in enumerate(job.policies) if getattr(policy.method, "trim_over", "tensor") == "global"]
    if not points:
        return {}
    names = job.family.merged
    tensors = [prepare(name, job.base, job.experts, job.policies, job.seed, job.activations) for name in names]
    ranged = {tensor.name: (tensor, block_ranges(tensor, job.elements)) for tensor in tensors}

    def of_expert(t: int) -> dict[int, dict[str, survey.Found]]:
        rates: dict[int, float] = {p: job.policies[p].method.drop_rate for p in points}  # type: ignore[attr-defined]
        expert, method = list(job.experts)[t], job.policies[points[0]].method
        together = surveyed(names, expert, method, job.activations)
        cut = {p: survey.shared_cuts([ranged[name] for name in together], t, rate) for p, rate in rates.items()}
        return {p: dict(zip(together, found, strict=True)) for p, found in cut.items()}

    try:
        parts = blocks.each(of_expert, range(len(job.experts)))
    except BadBlock as bad:
        raise _refusal(job, bad) from None
    return {
        name: {(t, p): found[name] for t, part in enumerate(parts) for p, found in part.items() if name in found}
        for name in names
    }


def _refusal(job: Merge, bad: BadBlock) -> InputError:
    return blocks.refuse(bad, job.base, job.experts, job.dtype_of(bad.tensor.name))
