"""Which tensors of a base and its experts are merged, and a clear answer when the experts do not fit the base.

Everything is found from the file headers and config.json before a tensor is read, except whether a stored output layer
is a plain copy of the embeddings. Names are those of the architectures that transformers writes: Llama, Mistral, Qwen,
Gemma, Phi, GPT-NeoX, GPT-2 and their mixtures of experts, alone or inside a model that also sees images.

    family = check_family(base, {"lm": lm, "math": math}, vocab="error")
    for problem in find_problems(base, {"lm": lm, "math": math}, vocab="error"): ...
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from della.checkpoint import FLOATS, Header, Model
from della.errors import InputError
from della.vocabulary import EMBEDDINGS, OUTPUTS, Union, has_token_rows, is_named, unite

VOCAB = ("error", "base_rows", "union")

# Float tensors that old files hold and transformers computes: never merged, and no matter where they are absent.
_CONSTANTS = ("inv_freq", "masked_bias", "embed_positions", "embed_scale", "cos_cached", "sin_cached", "position_ids")
_MASKS = ("attn.bias", "attention.bias")  # of GPT-2 and GPT-NeoX, four dimensions; a real bias has one
_PACKED = ("weight", "qweight", "weight_packed")  # integers here are weights, packed

# A model that differs here computes something else with the same shapes: it comes from another base.
_SAME_CONFIG = (
    "model_type",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "rope_theta",
    "rotary_pct",
    "partial_rotary_factor",
    "use_parallel_residual",
)
_SHOWN = 4
_BLOCK = 1 << 24  # bytes


@dataclass(frozen=True)
class Family:
    """The tensors of a merge.

    merged: names to merge, sorted.
    passed: names that are copied from the base (integers, masks, constants), sorted.
    added: with vocab=union, names of merged tensors that get rows after the base's, one for each new token. A row
        is the float32 mean, in this order, of the rows (expert, row) that it names, rounded once to the output dtype.
    """

    merged: tuple[str, ...]
    passed: tuple[str, ...]
    added: Mapping[str, tuple[tuple[tuple[str, int], ...], ...]] = field(default_factory=dict)


def check_family(base: Model, experts: Mapping[str, Model], vocab: str = "error") -> Family:
    """Find every mismatch between the experts and the base.

    Args:
        base: the model all experts were fine-tuned from.
        experts: name -> model, or adapter (della/lora.py).
        vocab: what to do with rows of an expert's embeddings and output layer that the base does not have: "error",
            "base_rows" to cut them off, or "union" to keep those that stand for tokens.

    Raises:
        InputError: one line with every mismatch, by expert and tensor, and what to do about it.
    """
    family, problems = _examine(base, experts, vocab)
    if problems:
        raise InputError("; ".join(problems))
    return family


def find_problems(base: Model, experts: Mapping[str, Model], vocab: str = "error") -> list[str]:
    """Every mismatch of every expert, one sentence each; arguments as `check_family`'s."""
    return _examine(base, experts, vocab)[1]


def base_rows(tensor: Any, shape: tuple[int, ...]) -> Any:
    """The expert's tensor or array without the vocabulary rows that the base does not have.

    Args:
        tensor: an expert's tensor, its first dimension at least that of the base.
        shape: the base's.
    """
    return tensor[: shape[0]] if tuple(tensor.shape) != tuple(shape) else tensor


def _examine(base: Model, experts: Mapping[str, Model], vocab: str) -> tuple[Family, list[str]]:
    if vocab not in VOCAB:
        return Family((), ()), [f"vocab is {vocab!r}; write one of {', '.join(VOCAB)}"]
    if not experts:
        return Family((), ()), ["no expert to merge is named; write experts.models.NAME=FOLDER for each"]
    names = sorted(base.headers)
    if base.config.get("tie_word_embeddings") is not False and (copy := _tied_copy(base)) is not None and _ties(base):
        names.remove(copy)  # tied weights are written once
    headers = {name: base.headers[name] for name in names}
    passed = [name for name, header in headers.items() if header.dtype not in FLOATS or _is_constant(name, header)]
    problems = packed_base = _packed(base, f"the base ({base.label})")
    for name in sorted(experts):
        who = f"expert {name} ({experts[name].label})"
        packed = _packed(experts[name], who)
        fitting = [] if packed or packed_base else _mismatches(headers, who, experts[name], vocab)
        problems = [*problems, *_other_settings(base, who, experts[name]), *packed, *fitting]
    added: dict[str, tuple[tuple[tuple[str, int], ...], ...]] = {}
    if vocab == "union":
        try:
            added, lacking = _added(unite(base, experts), headers, experts)
            problems += lacking
        except InputError as error:
            problems.append(str(error))
    merged = tuple(name for name in names if name not in set(passed))
    return Family(merged, tuple(passed), added), problems


def _added(
    union: Union, headers: Mapping[str, Header], experts: Mapping[str, Model]
) -> tuple[dict[str, tuple[tuple[tuple[str, int], ...], ...]], list[str]]:
    """The rows of the new tokens in each tensor that has one row per token."""
    added = {}
    problems = []
    for name in filter(has_token_rows, headers if union.tokens else ()):
        rows = {expert: model.headers[name].shape[0] for expert, model in experts.items() if name in model.headers}
        added[name] = tuple(
            tuple((expert, row) for expert, row in token.sources if row < rows.get(expert, 0)) for token in union.tokens
        )
        if lacking := [token.content for token, pairs in zip(union.tokens, added[name], strict=True) if not pairs]:
            problems.append(
                f"{name}: no expert has rows of {_some(lacking)}, which vocab=union adds; save the whole layer with "
                "the expert that added them, or write vocab=base_rows"
            )
    return added, problems


def _other_settings(base: Model, who: str, model: Model) -> list[str]:
    return [
        f"{who}: config.json has {key} {theirs} where the base has {ours}, so it comes from another base; name its own"
        for key in _SAME_CONFIG
        if None not in (ours := _setting(base, key), theirs := _setting(model, key)) and ours != theirs
    ]


def _packed(model: Model, who: str) -> list[str]:
    """A quantised model: its integers are weights, in a format of their own, where a plain model's are masks."""
    method = model.config.get("quantization_config")
    integers = {
        name: h.dtype for name, h in model.headers.items() if h.dtype not in FLOATS and not _is_constant(name, h)
    }
    packed = {
        n: dtype for n, dtype in integers.items() if method or n.rpartition(".")[2] in _PACKED or "float" in dtype
    }
    if not packed:
        return []
    shown = _some(f"{name} in {dtype}" for name, dtype in packed.items())
    return [f"{who}: is quantised, {shown}; name the model before it was quantised, or save it in bfloat16"]


def _mismatches(ours: Mapping[str, Header], who: str, model: Model, vocab: str) -> list[str]:
    """One sentence per kind of mismatch between the base's headers and an expert's tensors."""
    adapter = hasattr(model, "low_rank")
    extra = {name: h.shape for name, h in model.headers.items() if name not in ours and not _is_constant(name, h)}
    extra |= {name: () for name in getattr(model, "low_rank", ()) if name not in ours}
    missing = {n: h.shape for n, h in ours.items() if n not in model.headers and not _is_constant(n, h) and not adapter}
    problems = []
    for name in _outputs(extra) if not _outputs(ours) else []:
        del extra[name]
        if name != _tied_copy(model):
            problems.append(
                f"{who}: {name} is stored and differs from the embeddings, while the base ties the two; "
                "save the base with tie_word_embeddings=false and the layer written out, or leave this expert out"
            )
    for name in _outputs(missing) if not _outputs(model.headers) else []:
        del missing[name]
        problems.append(
            f"{who}: has no {name} since it ties it to the embeddings, while the base stores its own; "
            "save the expert with tie_word_embeddings=false and the layer written out, or leave it out"
        )
    if missing and Counter(missing.values()) == Counter(extra.values()):
        problems.append(
            f"{who}: names its tensors otherwise, as {min(extra)} where the base has {min(missing)}; open and save "
            "both with one version of transformers"
        )
        missing, extra = {}, {}
    if missing:
        problems.append(f"{who}: lacks {_some(missing)}; check that it was fine-tuned from this base and is whole")
    if extra:
        problems.append(f"{who}: has {_some(extra)}, unknown to the base; merge adapters into it, or name its own base")
    return problems + _misfits(ours, who, model, vocab)


def _misfits(ours: Mapping[str, Header], who: str, model: Model, vocab: str) -> list[str]:
    """Tensors of both models whose shapes, or kinds of number, differ."""
    low_rank = getattr(model, "low_rank", {})
    other, kinds, more_rows, fewer_rows = [], [], [], []
    for name, header in ours.items():
        if _is_constant(name, header) or not (name in low_rank or name in model.headers):
            continue
        theirs = low_rank[name].shape if name in low_rank else model.headers[name].shape
        text = f"{name} {list(theirs)} where the base has {list(header.shape)}"
        if name not in low_rank and header.dtype in FLOATS and model.headers[name].dtype not in FLOATS:
            kinds.append(f"{name} {model.headers[name].dtype} where the base has {header.dtype}")
        elif theirs == header.shape:
            continue
        elif name in low_rank or not has_token_rows(name) or not header.shape or header.shape[1:] != theirs[1:]:
            other.append(text)
        elif theirs[0] > header.shape[0]:
            more_rows.append(text)
        else:
            fewer_rows.append(text)
    problems = []
    if kinds:
        problems.append(f"{who}: integers for weights, {_some(kinds)}; save it in bfloat16")
    if other:
        problems.append(f"{who}: another shape, {_some(other)}; name the base it was fine-tuned from, or leave it out")
    if more_rows and vocab == "error":
        problems.append(
            f"{who}: extra vocabulary rows, {_some(more_rows)}; write vocab=base_rows to cut them off, or vocab=union "
            "to keep those of new tokens"
        )
    if fewer_rows:
        problems.append(f"{who}: fewer vocabulary rows, {_some(fewer_rows)}; resize its embeddings to the base's first")
    return problems


def _some(names: Iterable[str]) -> str:
    """The first few of a list, and how many more there are."""
    ordered = sorted(names)
    more = f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else ""
    return ", ".join(itertools.islice(ordered, _SHOWN)) + more


def _setting(model: Model, key: str) -> Any:
    """From config.json, or its part on text; rope_theta, and what goes with it, also where transformers 5 writes it."""
    text = model.config.get("text_config")
    for place in (model.config, text if isinstance(text, dict) else {}):
        if place.get(key) is not None:
            return place[key]
        rope = place.get("rope_parameters")
        if isinstance(rope, dict) and rope.get(key) is not None:
            return rope[key]
    return None


def _is_constant(name: str, header: Header) -> bool:
    return name.endswith(_CONSTANTS) or (is_named(name, _MASKS) and len(header.shape) == 4)


def _outputs(names: Iterable[str]) -> list[str]:
    return [name for name in names if is_named(name, OUTPUTS)]


def _ties(model: Model) -> bool:
    """Whether the output layer is the embeddings by config.json. Where it does not say so, the architecture does."""
    tied, kind = (model.config.get(key) for key in ("tie_word_embeddings", "model_type"))
    if tied is None and isinstance(kind, str):
        from transformers import AutoConfig  # slow to import, and only for files that hold the layer twice

        try:
            tied = getattr(AutoConfig.for_model(kind), "tie_word_embeddings", None)
        except ValueError:  # an architecture that it does not know
            tied = None
    return tied is True


def _tied_copy(model: Model) -> str | None:
    """The stored output layer, if its bits are those of the embeddings."""
    outputs = _outputs(model.headers)
    embeddings = [name for name in model.headers if is_named(name, EMBEDDINGS)]
    if len(outputs) != 1 or len(embeddings) != 1 or model.headers[outputs[0]] != model.headers[embeddings[0]]:
        return None
    first, second = (model.array(name).reshape(-1).view(np.uint8) for name in (outputs[0], embeddings[0]))
    starts = range(0, first.size, _BLOCK)
    same = all(np.array_equal(first[i : i + _BLOCK], second[i : i + _BLOCK]) for i in starts)
    return outputs[0] if same else None
