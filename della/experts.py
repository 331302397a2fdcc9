"""Which tensors of a base and its experts are merged, and a clear answer when the experts do not fit the base.

Everything is found from the file headers and config.json before a tensor is read, except whether a stored output layer
is a plain copy of the embeddings.

    family = check_family(base, {"lm": lm, "math": math}, vocab="error")
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from della.checkpoint import FLOATS, Model
from della.errors import InputError

VOCAB = ("error", "base_rows")

OUTPUT = "lm_head.weight"
EMBEDDINGS = "embed_tokens.weight"
_VOCAB_ROWS = (EMBEDDINGS, "wte.weight", OUTPUT, "lm_head.bias")  # one row per token
_CONSTANTS = "rotary_emb.inv_freq"  # old Llama files store it; transformers computes it

# A model that differs here computes something else with the same shapes: it comes from another base.
_SAME_CONFIG = ("model_type", "num_attention_heads", "num_key_value_heads", "head_dim", "rope_theta")
_SHOWN = 4


@dataclass(frozen=True)
class Family:
    """The tensors of a merge.

    merged: names to merge, sorted.
    passed: names that are copied from the base (integers, masks, constants), sorted.
    """

    merged: tuple[str, ...]
    passed: tuple[str, ...]


def check_family(base: Model, experts: Mapping[str, Model], vocab: str = "error") -> Family:
    """Find every mismatch between the experts and the base.

    Args:
        base: the model all experts were fine-tuned from.
        experts: name -> model.
        vocab: "error", or "base_rows" to cut off an expert's extra vocabulary rows.

    Raises:
        InputError: one line with every mismatch, by expert and tensor, and what to do about it.
    """
    if vocab not in VOCAB:
        raise InputError(f"vocab is {vocab!r}; write one of {', '.join(VOCAB)}")
    if not experts:
        raise InputError("no expert to merge is named; write experts.models.NAME=FOLDER for each")
    names = sorted(base.headers)
    if base.config.get("tie_word_embeddings") is True and _stores_copy(base):
        names.remove(OUTPUT)  # tied weights are written once
    problems = [problem for name in sorted(experts) for problem in _mismatches(base, names, name, experts[name], vocab)]
    if problems:
        raise InputError("; ".join(problems))
    passed = [name for name in names if base.headers[name].dtype not in FLOATS or name.endswith(_CONSTANTS)]
    return Family(tuple(name for name in names if name not in passed), tuple(passed))


def base_rows(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The expert's tensor without the vocabulary rows that the base does not have.

    Args:
        tensor: an expert's tensor, its first dimension at least that of the base.
        shape: the base's.
    """
    return tensor[: shape[0]] if tensor.shape != shape else tensor


def _mismatches(base: Model, names: list[str], expert: str, model: Model, vocab: str) -> list[str]:
    """One sentence per kind of mismatch."""
    who = f"expert {expert} ({model.label})"
    problems = [
        f"{who}: config.json has {key} {theirs} where the base has {ours}, so it comes from another base; name its own"
        for key in _SAME_CONFIG
        if None not in (ours := _setting(base, key), theirs := _setting(model, key)) and ours != theirs
    ]
    extra = {name for name in set(model.headers) - set(names) if not name.endswith(_CONSTANTS)}
    missing = {name for name in set(names) - set(model.headers) if not name.endswith(_CONSTANTS)}
    if OUTPUT in extra:
        extra.remove(OUTPUT)
        if not _stores_copy(model):
            problems.append(
                f"{who}: {OUTPUT} is stored and differs from the embeddings, while the base ties the two; "
                "save the base with tie_word_embeddings=false and the layer written out, or leave this expert out"
            )
    if OUTPUT in missing:
        missing.remove(OUTPUT)
        problems.append(
            f"{who}: has no {OUTPUT} since it ties it to the embeddings, while the base stores its own; "
            "save the expert with tie_word_embeddings=false and the layer written out, or leave it out"
        )
    if missing:
        problems.append(f"{who}: lacks {_some(missing)}; check that it was fine-tuned from this base and is whole")
    if extra:
        problems.append(f"{who}: has {_some(extra)}, unknown to the base; merge adapters into it, or name its own base")
    return problems + _shape_mismatches(base, names, who, model, vocab)


def _shape_mismatches(base: Model, names: list[str], who: str, model: Model, vocab: str) -> list[str]:
    other, more_rows, fewer_rows = [], [], []
    for name in names:
        if name not in model.headers or name.endswith(_CONSTANTS):
            continue
        ours, theirs = base.headers[name].shape, model.headers[name].shape
        if ours == theirs:
            continue
        text = f"{name} {list(theirs)} where the base has {list(ours)}"
        if not (name.endswith(_VOCAB_ROWS) and ours[1:] == theirs[1:]):
            other.append(text)
        elif theirs[0] > ours[0]:
            more_rows.append(text)
        else:
            fewer_rows.append(text)
    problems = []
    if other:
        problems.append(f"{who}: another shape, {_some(other)}; name the base it was fine-tuned from, or leave it out")
    if more_rows and vocab == "error":
        problems.append(f"{who}: extra vocabulary rows, {_some(more_rows)}; write vocab=base_rows to cut them off")
    if fewer_rows:
        problems.append(f"{who}: fewer vocabulary rows, {_some(fewer_rows)}; resize its embeddings to the base's first")
    return problems


def _some(names: Any) -> str:
    """The first few of a list, and how many more there are."""
    ordered = sorted(names)
    more = f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else ""
    return ", ".join(itertools.islice(ordered, _SHOWN)) + more


def _setting(model: Model, key: str) -> Any:
    if key in model.config:
        return model.config[key]
    rope = model.config.get("rope_parameters") or {}  # where transformers 5 writes rope_theta
    return rope.get(key)


def _stores_copy(model: Model) -> bool:
    """Whether the model stores an output layer that equals its embeddings, value for value."""
    embeddings = [name for name in model.headers if name.endswith(EMBEDDINGS)]
    if OUTPUT not in model.headers or len(embeddings) != 1 or model.headers[OUTPUT] != model.headers[embeddings[0]]:
        return False
    return torch.equal(model.tensor(OUTPUT), model.tensor(embeddings[0]))
