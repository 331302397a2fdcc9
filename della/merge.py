"""Merge: base + lambda * fuse(elect(prune(delta_t))), one tensor at a time (arXiv 2406.11617, section 2).

    method = make_method("della", drop_rate=0.5, epsilon=0.14)
    for merged in merge_tensors(base, {"lm": lm, "math": math}, method, seed=1):
        merged.name, merged.tensor
    merge_to_folder(base, experts, method, seed=1, out=Path("merged"))

The same bytes come out whatever the device, the thread count, the order of the experts or the shards of the inputs.
"""

import dataclasses
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from della.card import write_card
from della.checkpoint import MODEL_FILES, Checkpoint, MemoryCheckpoint, Model
from della.engine.blocks import BLOCK_ELEMENTS
from della.engine.run import Done, Merge, merge
from della.engine.sinks import MemorySink
from della.errors import InputError
from della.experts import check_family
from della.folder import MAX_SHARD_BYTES, refuse_occupied, staged_folder, write_json, write_weights
from della.methods import describe
from della.options import Options
from della.policy import Policy

if TYPE_CHECKING:
    from torch import Tensor

MERGE_VERSION = 1  # raise it whenever the bytes of a merge change: results of another version are not comparable

DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Merged:
    """One merged tensor.

    tensor: in the output dtype.
    kept: expert -> how many of its deltas were kept; empty for a tensor that was copied from the base.
    """

    name: str
    tensor: "Tensor"
    kept: dict[str, int]

    @property
    def realised(self) -> dict[str, float]:
        """Expert -> the part of its deltas that was dropped, in [0, 1]."""
        return {expert: 1 - kept / max(1, self.tensor.numel()) for expert, kept in self.kept.items()}


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
        device: "cpu" (the engine of della/engine) or "cuda" (della/reference.py, whole tensors); the bytes are the same.
        threads: of the CPU engine; None: one per core.
        block_elements: about how many elements the CPU engine takes at once.

    Returns:
        The merged tensors in the order of their names. All checks that need no tensor are done when this returns.

    Raises:
        InputError: the experts do not fit the base, an argument is wrong, or (while iterating) a tensor holds NaN or
            Inf.
    """
    policy = Policy.of(method)
    job = _job(base, experts, [policy], seed, dtype, vocab)
    if device != "cpu":
        return _on_device(job, policy, device)
    job = dataclasses.replace(job, elements=block_elements)
    return (_merged(done, 0, job) for done in _in_memory(job, threads))


def merge_points(
    base: Model,
    experts: Mapping[str, Model],
    methods: Sequence[Options | Policy],
    seed: int | None,
    dtype: str | None = None,
    vocab: str = "error",
    *,
    threads: int | None = None,
) -> Iterator[list[Merged]]:
    """Merge the same experts at several points of a sweep in one pass over the inputs.

    Deltas, random words and ranks are made once and serve every point: ten points of DELLA cost less than three merges.

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
    job = _job(base, experts, policies, seed, dtype, vocab)
    return ([_merged(done, p, job) for p in range(len(policies))] for done in _in_memory(job, threads))


def _job(
    base: Model,
    experts: Mapping[str, Model],
    policies: Sequence[Policy],
    seed: int | None,
    dtype: str | None,
    vocab: str,
) -> Merge:
    """What is merged, checked."""
    random = next((policy.method.name for policy in policies if policy.is_random), None)
    if random and (isinstance(seed, bool) or not isinstance(seed, int)):
        raise InputError(f"method {random} drops at random and seed is {seed!r}; write seed=1 or another integer")
    if dtype is not None and dtype not in DTYPES:
        raise InputError(f"dtype is {dtype!r}; write one of {', '.join(DTYPES)}")
    experts = {name: experts[name] for name in sorted(experts)}
    family = check_family(base, experts, vocab)
    for policy in policies:
        policy.check(family.merged, experts)
    return Merge(base, experts, policies, seed, family, dtype)


def _names(job: Merge) -> list[str]:
    return sorted(job.family.merged + job.family.passed)


def _in_memory(job: Merge, threads: int | None) -> Iterator[Done]:
    return merge(job, _names(job), MemorySink(len(job.policies)), threads)


def _merged(done: Done, point: int, job: Merge) -> Merged:
    """A finished tensor as torch's."""
    import torch

    tensor = torch.from_numpy(done.arrays[point]).view(getattr(torch, job.dtype_of(done.name)))
    return Merged(done.name, tensor, _kept(done, point, job))


def _kept(done: Done, point: int, job: Merge) -> dict[str, int]:
    if done.kept is None:
        return {}
    return {expert: int(count) for expert, count in zip(job.experts, done.kept[:, point], strict=True)}


def _on_device(job: Merge, policy: Policy, device: str) -> Iterator[Merged]:
    """The torch reference on a device, and the copied tensors, in the order of the names."""
    import torch

    from della.reference import merge_reference

    dtype = getattr(torch, job.dtype) if job.dtype else None
    merged = merge_reference(job.base, job.experts, policy, job.seed, job.family, dtype, device)
    for name in _names(job):
        if name in job.family.passed:
            yield Merged(name, job.base.tensor(name), {})
        else:
            yield Merged(*next(merged))


def merge_to_folder(
    base: Checkpoint,
    experts: Mapping[str, Checkpoint],
    method: Options,
    seed: int | None,
    out: Path,
    *,
    dtype: str | None = None,
    vocab: str = "error",
    config: Mapping[str, Any] | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    progress: Callable[[int], object] = lambda parameters: None,
) -> dict[str, Any]:
    """Merge into a folder that transformers and vLLM open: weights, config, tokenizer, merge.json, README.md.

    Args:
        base, experts, method, seed, dtype, vocab: see `merge_tensors`.
        out: the folder to make; absent or empty.
        config: the resolved configuration as the user sees it, kept in merge.json.
        max_shard_bytes: weights larger than this are split.
        progress: called after each tensor with its number of parameters.

    Returns:
        What merge.json holds.

    Raises:
        InputError: as `merge_tensors`, or `out` cannot be used. Nothing is left behind then.
    """
    refuse_occupied(out)
    tensors = merge_tensors(base, experts, method, seed, dtype, vocab)
    sizes: dict[str, int] = {}
    kept: dict[str, dict[str, int]] = {}

    def counted() -> Iterator[tuple[str, "Tensor"]]:
        for merged in tensors:
            if merged.kept:
                sizes[merged.name], kept[merged.name] = merged.tensor.numel(), merged.kept
            yield merged.name, merged.tensor
            progress(merged.tensor.numel())

    with staged_folder(out) as folder:
        write_weights(folder, MemoryCheckpoint(dict(counted())), max_shard_bytes)
        _copy_files(base, folder, dtype)
        facts = _facts(base, experts, method, seed, config or {}) | _drop_rates(sorted(experts), sizes, kept)
        write_json(folder / "merge.json", facts)
        write_card(folder / "README.md", facts)
    return facts


def _copy_files(base: Checkpoint, folder: Path, dtype: str | None) -> None:
    """The base's config and tokenizer, beside the merged weights."""
    for file in MODEL_FILES:
        if (base.folder / file).is_file():
            shutil.copyfile(base.folder / file, folder / file)
    if dtype is not None:
        write_json(folder / "config.json", _with_dtype(base.config, dtype))


def _facts(
    base: Checkpoint, experts: Mapping[str, Checkpoint], method: Options, seed: int | None, config: Mapping[str, Any]
) -> dict[str, Any]:
    """What went into a merge."""
    return {
        "config": dict(config),
        "method": describe(method),
        "seed": seed if method.is_random else None,
        "inputs": {
            "base": {"path": base.label, "sha256": base.sha256()},
            "experts": {
                name: {"path": expert.label, "sha256": expert.sha256()} for name, expert in sorted(experts.items())
            },
        },
        "versions": {
            "merge": MERGE_VERSION,
            "numba": version("numba"),
            "numpy": version("numpy"),
        },
    }


def _drop_rates(experts: list[str], sizes: dict[str, int], kept: dict[str, dict[str, int]]) -> dict[str, Any]:
    """The realised drop rate of each expert, over all tensors and in each."""

    def dropped(expert: str, tensors: Iterable[str]) -> float:
        tensors = list(tensors)
        return 1 - sum(kept[name][expert] for name in tensors) / max(1, sum(sizes[name] for name in tensors))

    return {
        "drop_rate": {expert: dropped(expert, sizes) for expert in experts},
        "drop_rate_per_tensor": {name: {expert: dropped(expert, [name]) for expert in experts} for name in sizes},
    }


def _with_dtype(config: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """config.json with the output's dtype, under the key it uses: torch_dtype until transformers 4.56, then dtype."""
    keys = [key for key in ("dtype", "torch_dtype") if key in config] or ["dtype"]
    return {**config, **dict.fromkeys(keys, dtype)}
