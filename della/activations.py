"""Input activations of an expert, what WANDA's scores weigh deltas by: one norm per input feature of each matrix.

    measured = read_activations(Path("math.safetensors"))
    measured.norms["model.layers.0.mlp.up_proj.weight"]      # float32 [in_features]: ||X_j||_2 over all tokens
    merge_tensors(base, experts, make_method("della", rank_by="wanda"), seed=1, activations={"math": measured, ...})

    python -m scripts.activations experts=tiny               # makes the files

A file is safetensors: the norms under the names of the weights they belong to, and as metadata what they were computed
from. Tensors without an input activation (norms, biases, embeddings) are not in it and are ranked by magnitude. (WANDA:
arXiv 2306.11695, section 3; the comparison with it: DELLA, arXiv 2406.11617, Table 5.)
"""

import functools
import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from della.errors import InputError
from della.files import canonical
from della.headers import Header
from della.options import Options

ACTIVATIONS_VERSION = 1  # raise it whenever the same model and texts would give other norms
FACTS = ("version", "model", "data", "samples", "max_tokens", "dtype")
_MAKE = "python -m scripts.activations makes such files"


@dataclass(frozen=True)
class Activations:
    """The norms of one expert.

    norms: name of a matrix -> float32 [in_features], finite and >= 0.
    facts: what they were computed from, as text: of FACTS, `model` and `data` are SHA-256 (hex) of the model's files
        and of the texts, `samples` how many texts, `max_tokens` the longest text that was read, `dtype` the model's
        while it ran. More may be there: `tokens` is how many were read.
    """

    norms: Mapping[str, np.ndarray]
    facts: Mapping[str, str] = field(default_factory=dict)

    @functools.cached_property
    def sha256(self) -> str:
        """SHA-256 (hex) of the norms and their names."""
        digest = hashlib.sha256()
        for name in sorted(self.norms):
            values = np.ascontiguousarray(self.norms[name], "<f4")
            digest.update(f"{name}\0{values.size}\0".encode())
            digest.update(values.tobytes())
        return digest.hexdigest()

    @property
    def key(self) -> str:
        """SHA-256 (hex) of the facts that decide the norms, which is known before these are computed."""
        return key_of(self.facts)


def key_of(facts: Mapping[str, str]) -> str:
    """`Activations.key` of these facts. Raises KeyError where one of FACTS is missing."""
    return hashlib.sha256(canonical({name: facts[name] for name in FACTS}).encode()).hexdigest()


def write_activations(path: Path, activations: Activations) -> None:
    """Writes a file, whole or not at all; its folder is made where it is missing."""
    from safetensors.numpy import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file(dict(activations.norms), unfinished, dict(activations.facts))
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def read_activations(path: Path) -> Activations:
    """Reads a file that `write_activations` wrote.

    Raises:
        InputError: it is not there, is no such file, or holds what cannot be a norm.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InputError(f"{path}: no such file of input activations; {_MAKE}")
    try:
        with safe_open(path, "numpy") as file:
            facts = file.metadata() or {}
            norms = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (a method, not a dict's)
    except (SafetensorError, OSError, TypeError) as error:
        raise InputError(f"{path}: cannot be read as safetensors ({error}); {_MAKE}") from None
    missing = [name for name in FACTS if name not in facts]
    if missing:
        raise InputError(f"{path}: holds no input activations, for it does not say {', '.join(missing)}; {_MAKE}")
    if facts["version"] != str(ACTIVATIONS_VERSION):
        raise InputError(f"{path}: written as version {facts['version']}, this is {ACTIVATIONS_VERSION}; remove it")
    for name, values in norms.items():
        if values.dtype != np.float32 or values.ndim != 1:
            raise InputError(f"{path}: {name} is {values.dtype} {values.shape} and no row of float32 norms; {_MAKE}")
        if not np.isfinite(values).all() or (values < 0).any():
            raise InputError(f"{path}: {name} holds NaN, Inf or a negative norm; remove the file and compute it again")
    return Activations(norms, facts)


def check_activations(
    activations: Mapping[str, Activations], headers: Mapping[str, Header], experts: Iterable[str]
) -> None:
    """Whether there are norms for each of these experts, and whether they fit the base.

    Args:
        headers: of the base. Norms of tensors that it does not have are no matter: a tied output layer, for one.

    Raises:
        InputError: an expert has none, none of its norms belongs to a tensor of the base, or one has another length.
    """
    for expert in experts:
        if expert not in activations:
            raise InputError(
                f"rank_by=wanda needs the input activations of expert {expert}: give activations[{expert!r}], "
                f"or in a command activations.files.{expert}=FILE; {_MAKE}"
            )
        norms = activations[expert].norms
        known = [name for name in norms if name in headers]
        if not known:
            raise InputError(
                f"the input activations of expert {expert} name no tensor of the base: they are another model's"
            )
        for name in known:
            shape = headers[name].shape
            if len(shape) < 2 or shape[-1] != norms[name].size:
                raise InputError(
                    f"the input activations of expert {expert} have {norms[name].size} features for {name}, "
                    f"which is {list(shape)}: they are another model's"
                )


def surveyed(tensors: Iterable[str], expert: str, method: Options, activations: Mapping[str, Activations]) -> list[str]:
    """The tensors that a cut over a whole expert is found over: all, in the order given.

    By WANDA's scores, those with input activations: a score and a magnitude have different units. Every other tensor
    has a cut of its own.
    """
    return [name for name in tensors if not method.by_scores or norms_of(activations, expert, name) is not None]


def norms_of(activations: Mapping[str, Activations], expert: str, tensor: str) -> np.ndarray | None:
    """float32 [in_features], or None for a tensor without an input activation."""
    held = activations.get(expert)
    return None if held is None else held.norms.get(tensor)
