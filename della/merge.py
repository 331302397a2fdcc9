"""Merge: base + lambda * fuse(elect(prune(delta_t))), one tensor at a time (arXiv 2406.11617, section 2).

    method = make_method("della", drop_rate=0.5, epsilon=0.14)
    for merged in merge_tensors(base, {"lm": lm, "math": math}, method, seed=1):
        merged.name, merged.tensor

The same bytes come out whatever the device, the thread count, the order of the experts or the shards of the inputs.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from della.activations import Activations, check_activations
from della.checkpoint import Model
from della.engine.job import BLOCK_ELEMENTS, Merge
from della.engine.run import Done, merge
from della.engine.sinks import MemorySink
from della.errors import InputError
from della.experts import check_family
from della.headers import OUTPUTS
from della.options import Options
from della.policy import Policy

if TYPE_CHECKING:
    from torch import Tensor

MERGE_VERSION = 1  # raise it whenever the bytes of a merge change: results of another version are not comparable

Result = TypeVar("Result")


@dataclass(frozen=True)
class Merged:
    """One merged tensor.

    tensor: in the output dtype.
    kept: expert -> how many of its deltas were kept; empty for a tensor that was copied from the base.
    deltas: how many each expert has here; rows that vocab=union added have none.
    """

    name: str
    tensor: "Tensor"
    kept: dict[str, int]
    deltas: int

    @property
    def realised(self) -> dict[str, float]:
        """Expert -> the part of its deltas that was dropped, in [0, 1]."""
        return {expert: 1 - kept / max(1, self.deltas) for expert, kept in self.kept.items()}


def merge_tensors(
    base: Model,
    experts: Mapping[str, Model],
    method: Options | Policy,
    seed: int | None,
    dtype: str | None = None,
    vocab: str = "error",
    *,
    device: str = "cpu",
    threads: int | None = None,
    block_elements: int = BLOCK_ELEMENTS,
    activations: Mapping[str, Activations] | None = None,
) -> Iterator[Merged]:
    """Merge experts into a base.

    Args:
        base: the model all experts were fine-tuned from.
        experts: name -> model or adapter, at least one. The name is part of what an expert's mask is drawn from.
        method: from `make_method`, or a `Policy` with weights and options per tensor.
        seed: of the masks; None for a method that is not random.
        dtype: of the output: "float32", "bfloat16" or "float16"; None keeps the base's.
        vocab: rows of an expert's vocabulary that the base does not have: "error", "base_rows" to cut them off, or
            "union" to add them.
        device: "cpu" (della/engine, in blocks) or "cuda" (della/reference.py, whole tensors): the bytes are the same.
        threads: of the CPU engine; None: one per core.
        block_elements: about how many elements the CPU engine takes at once.
        activations: expert -> its input activations, for rank_by=wanda (della/activations.py).

    Returns:
        The merged tensors in the order of their names. All checks that need no tensor are done when this returns.

    Raises:
        InputError: the experts do not fit the base, an argument is wrong, or (while iterating) a tensor holds NaN or
            Inf.
    """
    job = make_job(base, experts, [Policy.of(method)], seed, dtype, vocab, activations)
    job = dataclasses.replace(job, elements=block_elements, device=device)
    return _in_memory(job, threads, lambda done: _merged(job, 0, done))


def merge_points(
    base: Model,
    experts: Mapping[str, Model],
    methods: Sequence[Options | Policy],
    seed: int | None,
    dtype: str | None = None,
    vocab: str = "error",
    *,
    threads: int | None = None,
    activations: Mapping[str, Activations] | None = None,
) -> Iterator[list[Merged]]:
    """Merge the same experts at several points of a sweep in one pass over the inputs.

    Deltas, random words and ranks are made once and serve every point; points that follow each other and differ in
    lambda alone also share what is pruned and fused.

    Args:
        methods: the points, options of one method; the rest as in `merge_tensors`.

    Returns:
        For each tensor, in the order of the names, one `Merged` per point: what `merge_tensors` gives at that point.

    Raises:
        InputError: as `merge_tensors`; or the points are of several methods, or rank by different things.
    """
    policies = [Policy.of(method) for method in methods]
    kinds = {(p.method.name, getattr(p.method, "rank_by", ""), getattr(p.method, "rank_over", "")) for p in policies}
    if len(kinds) != 1:
        raise InputError("the points of one pass must have one method, rank_by and rank_over; merge them in several")
    job = make_job(base, experts, policies, seed, dtype, vocab, activations)
    return _in_memory(job, threads, lambda done: [_merged(job, point, done) for point in range(len(policies))])


def make_job(
    base: Model,
    experts: Mapping[str, Model],
    policies: Sequence[Policy],
    seed: int | None,
    dtype: str | None,
    vocab: str,
    activations: Mapping[str, Activations] | None = None,
) -> Merge:
    """What is merged, checked."""
    if dtype is not None and dtype not in OUTPUTS:
        raise InputError(f"dtype is {dtype!r}; write one of {', '.join(OUTPUTS)}")
    experts = {name: experts[name] for name in sorted(experts)}
    family = check_family(base, experts, vocab)
    for policy in policies:
        policy.check(family.merged, experts)
        if policy.is_random(family.merged, experts) and (isinstance(seed, bool) or not isinstance(seed, int)):
            name = policy.method.name
            raise InputError(f"method {name} drops at random and seed is {seed!r}; write seed=1 or another integer")
    needing = {expert for policy in policies for expert in policy.by_activations(family.merged, experts)}
    check_activations(activations or {}, base.headers, sorted(needing))
    used = {expert: held for expert, held in (activations or {}).items() if expert in needing}
    return Merge(base, experts, policies, seed, family, dtype, activations=used)


def names_of(job: Merge) -> list[str]:
    """Every tensor of the result, sorted."""
    return sorted(job.family.merged + job.family.passed)


def _in_memory(job: Merge, threads: int | None, finish: Callable[[Done], Result]) -> Iterator[Result]:
    """What is made of each tensor; none is held here once it was given, so that its memory can be used again."""
    for done in merge(job, names_of(job), MemorySink(len(job.policies)), threads):
        given = [finish(done)]
        del done
        yield given.pop()


def _merged(job: Merge, point: int, done: Done) -> Merged:
    """A finished tensor as torch's."""
    import torch

    tensor = torch.from_numpy(done.arrays[point]).view(getattr(torch, job.dtype_of(done.name)))
    return Merged(done.name, tensor, kept_of(done, point, job), job.base.headers[done.name].numel)


def kept_of(done: Done, point: int, job: Merge) -> dict[str, int]:
    """Expert -> how many deltas of a finished tensor were kept at a point; empty for a copied tensor."""
    if done.kept is None:
        return {}
    return {expert: int(count) for expert, count in zip(job.experts, done.kept[:, point], strict=True)}
