"""A merge on disk: a folder that transformers and vLLM open, written shard by shard, taken up again after a kill.

    merge_to_folder(base, experts, make_method("della"), seed=1, out=Path("merged"))

Weights, config, generation config, tokenizer, `merge.json` (configuration, inputs, realised drop rates, versions) and a
model card. A killed merge goes on after its last whole shard when the same merge is asked for again; the bytes are the
same as if it had never stopped.
"""

import dataclasses
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from della.activations import Activations
from della.card import write_card
from della.checkpoint import Checkpoint, Header
from della.engine.job import Merge
from della.engine.run import Done, merge
from della.engine.sinks import FileSink
from della.errors import InputError
from della.folder import MAX_SHARD_BYTES, refuse_occupied, staged, write_json
from della.merge import MERGE_VERSION, kept_of, make_job, names_of
from della.methods import METHODS, describe
from della.options import Options
from della.policy import Policy
from della.resume import Experts, check_unchanged, merge_key, stamps
from della.shards import Shard, plan_shards
from della.staging import Staging
from della.tokenizer import copy_tokenizer, find_tokenizer_problems, write_union_tokenizer

CONFIG, GENERATION = "config.json", "generation_config.json"


def merge_to_folder(
    base: Checkpoint,
    experts: Experts,
    method: Options | Policy,
    seed: int | None,
    out: Path,
    *,
    dtype: str | None = None,
    vocab: str = "error",
    tokenizer: str = "base",
    config: Mapping[str, Any] | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    threads: int | None = None,
    device: str = "cpu",
    progress: Callable[[int], object] = lambda parameters: None,
    told: Callable[[str], object] = lambda line: None,
    activations: Mapping[str, Activations] | None = None,
) -> dict[str, Any]:
    """Merge into a folder.

    Args:
        base, experts, method, seed, dtype, vocab, threads, device, activations: see `della.merge.merge_tensors`.
        out: the folder to make; absent or empty.
        tokenizer: where tokenizer and chat template come from: "base" or an expert's name.
        config: the resolved configuration as the user sees it, kept in merge.json.
        max_shard_bytes: weights larger than this are split; what a killed merge loses is at most one shard.
        progress: called with a number of parameters that are done; told: with a line for the user.

    Returns:
        What merge.json holds.

    Raises:
        InputError: as `merge_tensors`, or `out` cannot be used. Nothing is left behind then.
    """
    refuse_occupied(out)
    job = make_job(base, experts, [policy := Policy.of(method)], seed, dtype, vocab, activations)
    _refuse_tokenizer(tokenizer, base, experts, vocab)
    shards = plan_shards({name: _header(job, name) for name in names_of(job)}, max_shard_bytes)
    before = stamps(base, experts)
    with staged(out, merge_key(job, policy, before, shards), shards) as staging:
        if staging.resumed:
            told(f"going on with a merge that was stopped: {staging.resumed} of {len(shards)} shards are whole")
        kept = _write_shards(job, shards, staging, threads, device, progress)
        check_unchanged(before, base, experts)
        _write_files(staging, base, experts, job, vocab, tokenizer)
        facts = _facts(base, experts, policy, job, config or {}, tokenizer) | _drop_rates(job, kept)
        write_json(staging.place("merge.json"), facts)
        write_card(staging.place("README.md"), facts)
    return facts


def _refuse_tokenizer(tokenizer: str, base: Checkpoint, experts: Experts, vocab: str) -> None:
    """Raises InputError for a tokenizer that the merge cannot have."""
    if problems := find_tokenizer_problems(tokenizer, base, experts, vocab):
        raise InputError("; ".join(problems))


def _header(job: Merge, name: str) -> Header:
    """Of a tensor in the result."""
    shape = job.base.headers[name].shape
    more = len(job.family.added.get(name, ()))
    return Header((shape[0] + more, *shape[1:]) if more else shape, job.dtype_of(name))


def _write_shards(
    job: Merge,
    shards: list[Shard],
    staging: Staging,
    threads: int | None,
    device: str,
    progress: Callable[[int], object],
) -> dict[str, dict[str, int]]:
    """Writes the shards that are not whole yet; tensor -> expert -> how many deltas were kept."""
    shard_of = {name: shard for shard in shards for name in shard.headers}
    descriptors: dict[str, int] = {}

    def place(name: str) -> tuple[int, int]:
        shard = shard_of[name]
        if shard.file not in descriptors:
            descriptors[shard.file] = staging.begin(shard)
        return descriptors[shard.file], shard.start[name]

    kept: dict[str, dict[str, int]] = {}
    for shard in shards:
        kept |= staging.finished.get(shard.file, {})
        if shard.file in staging.finished:
            progress(sum(job.base.headers[name].numel for name in shard.headers))
    left = [name for shard in shards if shard.file not in staging.finished for name in shard.headers]
    waiting = {shard.file: len(shard.headers) for shard in shards}
    job = dataclasses.replace(job, progress=progress, device=device)
    for done in merge(job, left, FileSink(place), threads):
        shard = shard_of[done.name]
        waiting[shard.file] -= 1
        kept |= _entry(done, job)
        if waiting[shard.file] == 0:
            staging.finish(shard, {name: kept[name] for name in shard.headers if name in kept})
    return kept


def _entry(done: Done, job: Merge) -> dict[str, dict[str, int]]:
    counts = kept_of(done, 0, job)
    return {done.name: counts} if counts else {}


def _write_files(staging: Staging, base: Checkpoint, experts: Experts, job: Merge, vocab: str, tokenizer: str) -> None:
    """Config and tokenizer, beside the merged weights."""
    origin = base.folder if tokenizer == "base" else experts[tokenizer].folder
    shutil.copyfile(base.folder / CONFIG, staging.place(CONFIG))
    for folder in (origin, base.folder):  # says which tokens end an answer: it goes with the tokenizer
        if (folder / GENERATION).is_file():
            shutil.copyfile(folder / GENERATION, staging.place(GENERATION))
            break
    changed: dict[str, Any] = {}
    if vocab == "union":
        changed["vocab_size"] = write_union_tokenizer(staging.folder, base, experts, tokenizer)
    else:
        copy_tokenizer(origin, staging.folder)
    if job.dtype is not None:
        # torch_dtype until transformers 4.56, then dtype
        keys = [key for key in ("dtype", "torch_dtype") if key in base.config] or ["dtype"]
        changed |= dict.fromkeys(keys, job.dtype)
    if changed:
        write_json(staging.place(CONFIG), _nested(base.config, changed))


def _nested(config: Mapping[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    """The config with keys changed at the top, or where its text_config has them (models that also see images)."""
    text = config.get("text_config")
    inner = {key: value for key, value in changed.items() if isinstance(text, dict) and key in text}
    top = {key: value for key, value in changed.items() if key in config or key not in inner}
    return {**config, **top, **({"text_config": {**text, **inner}} if isinstance(text, dict) else {})}


def _facts(
    base: Checkpoint,
    experts: Experts,
    policy: Policy,
    job: Merge,
    config: Mapping[str, Any],
    tokenizer: str,
) -> dict[str, Any]:
    """What went into a merge."""
    method = describe(policy.method)
    more = {name: value for name, value in asdict(policy).items() if name in ("weights", "include", "exclude")}
    measured = {name: {"sha256": held.sha256, **held.facts} for name, held in sorted(job.activations.items())}
    return {
        "config": dict(config),
        "method": {**method, **{name: value for name, value in more.items() if value}},
        "paper": METHODS[policy.method.name].paper,
        "seed": job.seed if policy.is_random(job.family.merged, job.experts) else None,
        "tokenizer": tokenizer,
        "inputs": {
            "base": {"path": base.label, "sha256": base.sha256()},
            "experts": {
                name: {"path": expert.label, "sha256": expert.sha256()} for name, expert in sorted(experts.items())
            },
            **({"activations": measured} if measured else {}),
        },
        "versions": {"merge": MERGE_VERSION, **{name: version(name) for name in ("numba", "numpy", "torch")}},
    }


def _drop_rates(job: Merge, kept: dict[str, dict[str, int]]) -> dict[str, Any]:
    """The realised drop rate of each expert, over all tensors and in each."""
    sizes = {name: job.base.headers[name].numel for name in sorted(kept)}

    def dropped(expert: str, tensors: Iterable[str]) -> float:
        tensors = list(tensors)
        return 1 - sum(kept[name][expert] for name in tensors) / max(1, sum(sizes[name] for name in tensors))

    return {
        "drop_rate": {expert: dropped(expert, sizes) for expert in job.experts},
        "drop_rate_per_tensor": {name: {expert: dropped(expert, [name]) for expert in job.experts} for name in sizes},
    }
