"""Merge: base + lambda * fuse(elect(prune(delta_t))), one tensor at a time (arXiv 2406.11617, section 2).

    method = make_method("della", drop_rate=0.5, epsilon=0.14)
    for merged in merge_tensors(base, {"lm": lm, "math": math}, method, seed=1):
        merged.name, merged.tensor
    merge_to_folder(base, experts, method, seed=1, out=Path("merged"))

The same bytes come out whatever the device, the thread count, the order of the experts or the shards of the inputs.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import safetensors
import torch
from torch import Tensor

from della.card import write_card
from della.checkpoint import MODEL_FILES, Checkpoint, Model
from della.delta import compute_delta, is_finite
from della.elect import elect
from della.errors import InputError
from della.experts import Family, base_rows, check_family
from della.folder import MAX_SHARD_BYTES, refuse_occupied, staged_folder, write_json, write_weights
from della.fuse import add_to_base, fuse
from della.methods import METHODS, Site, describe
from della.options import Options

MERGE_VERSION = 1  # raise it whenever the bytes of a merge change: results of another version are not comparable

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Merged:
    """One merged tensor.

    tensor: in the output dtype.
    kept: expert -> how many of its deltas were kept; empty for a tensor that was copied from the base.
    """

    name: str
    tensor: Tensor
    kept: dict[str, int]

    @property
    def realised(self) -> dict[str, float]:
        """Expert -> the part of its deltas that was dropped, in [0, 1]."""
        return {expert: 1 - kept / max(1, self.tensor.numel()) for expert, kept in self.kept.items()}


def merge_tensors(
    base: Model,
    experts: Mapping[str, Model],
    method: Options,
    seed: int | None,
    dtype: str | None = None,
    vocab: str = "error",
) -> Iterator[Merged]:
    """Merge experts into a base.

    Args:
        base: the model all experts were fine-tuned from.
        experts: name -> model, at least one. The name is part of what an expert's mask is drawn from.
        method: from `make_method`.
        seed: of the masks; None for a method that is not random.
        dtype: of the output: "float32", "bfloat16" or "float16"; None keeps the base's.
        vocab: "error", or "base_rows" to cut off an expert's extra vocabulary rows.

    Returns:
        The merged tensors in the order of their names. All checks that need no tensor are done when this returns.

    Raises:
        InputError: the experts do not fit the base, an argument is wrong, or (while iterating) a tensor holds NaN or
            Inf.
    """
    if method.is_random and (isinstance(seed, bool) or not isinstance(seed, int)):
        raise InputError(f"method {method.name} drops at random and seed is {seed!r}; write seed=1 or another integer")
    if dtype is not None and dtype not in DTYPES:
        raise InputError(f"dtype is {dtype!r}; write one of {', '.join(DTYPES)}")
    experts = {name: experts[name] for name in sorted(experts)}
    family = check_family(base, experts, vocab)
    return _merge(base, experts, method, seed, DTYPES[dtype] if dtype else None, family)


def _merge(
    base: Model,
    experts: dict[str, Model],
    method: Options,
    seed: int | None,
    dtype: torch.dtype | None,
    family: Family,
) -> Iterator[Merged]:
    row = METHODS[method.name]

    def deltas_of(expert: str) -> Iterator[Tensor]:
        return (_delta(name, base, base.tensor(name), expert, experts[expert]) for name in family.merged)

    cuts = {expert: row.survey(partial(deltas_of, expert), method) for expert in experts}
    for name in sorted(family.merged + family.passed):
        theta = base.tensor(name)
        if name in family.passed:
            yield Merged(name, theta, {})
            continue
        pruned = {
            expert: row.prune(
                _delta(name, base, theta, expert, model), method, Site(seed, expert, name, next(cuts[expert]))
            )
            for expert, model in experts.items()
        }
        deltas = [part.delta for part in pruned.values()]
        fused = fuse(deltas, elect(deltas) if method.elect else None, method.fuse)
        merged = add_to_base(theta, fused, method.lambda_, dtype or theta.dtype)
        if not is_finite(merged):
            raise InputError(
                f"the merged {name} overflows {merged.dtype}; write dtype=bfloat16 or float32, or a smaller lambda_"
            )
        yield Merged(name, merged, {expert: part.kept for expert, part in pruned.items()})


def _delta(name: str, base: Model, theta: Tensor, expert: str, model: Model) -> Tensor:
    theta_t = base_rows(model.tensor(name), theta.shape)
    delta = compute_delta(theta, theta_t)
    if not is_finite(delta):
        culprit = f"the base ({base.label})" if not is_finite(theta) else f"expert {expert} ({model.label})"
        raise InputError(f"{culprit}: {name} holds NaN or Inf, or its delta does; replace the file by a whole one")
    return delta


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

    def counted() -> Iterator[tuple[str, Tensor]]:
        for merged in tensors:
            if merged.kept:
                sizes[merged.name], kept[merged.name] = merged.tensor.numel(), merged.kept
            yield merged.name, merged.tensor
            progress(merged.tensor.numel())

    with staged_folder(out) as folder:
        write_weights(folder, counted(), max_shard_bytes)
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
            "numpy": numpy.__version__,
            "safetensors": safetensors.__version__,
            "torch": torch.__version__,
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
