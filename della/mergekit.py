"""Merge by a mergekit YAML file: the same merge where mergekit's is deterministic, the paper's rescale where it is not.

    python -m scripts.merge --mergekit config.yml out=DIR seed=1 rescale=l1

    recipe = read_mergekit(Path("config.yml"))
    recipe.base, recipe.models, recipe.policy

Facts about mergekit are those of its version 0.1.5. What a file asks for and cannot be had is named, all at once and
before any weight is read; what is other than it seems is in the notes. Deltas and sums are float32 whatever `dtype`
says: it is the output's here, where mergekit also computes in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from della.errors import InputError
from della.headers import FLOATS
from della.mergekit_document import Document, Place, Reference, Source, read_document
from della.mergekit_policy import ROWS, make_policy
from della.mergekit_settings import Findings, count_layers
from della.methods import METHODS
from della.policy import Policy

_NEEDS_TWO = ("model_stock",)
_ADAPTER = "an adapter is merged as a delta of base_model alone; merge it into its model first"


@dataclass(frozen=True)
class MergekitRecipe:
    """What a file asks for, in our words.

    base: folder that deltas are taken against; for linear only config, tokenizer and shapes come from it.
    models: expert -> folder, of a model or of an adapter. An expert's name is the last part of its path, made unique.
    dtype, out_dtype: as written.
    tokenizer: "base" or an expert.
    vocab: "error", "base_rows" or "union".
    notes: what changes nothing, or is other than in mergekit; one line each.
    config: the file, as merge.json keeps it.
    """

    base: Path
    models: Mapping[str, Path]
    policy: Policy
    dtype: str | None
    out_dtype: str | None
    tokenizer: str
    vocab: str
    notes: tuple[str, ...]
    config: Mapping[str, Any]

    @property
    def output_dtype(self) -> str | None:
        """dtype of the merged tensors; None: the base's."""
        return self.out_dtype or self.dtype


def read_mergekit(file: Path, rescale: str = "per_parameter") -> MergekitRecipe:
    """Read a file, find its models and look up every value of every tensor.

    Args:
        file: YAML as mergekit-yaml takes it.
        rescale: of methods that drop at random: "per_parameter" (the papers) or "l1" (mergekit); the file's
            rescale: false is "none" in both.

    Raises:
        InputError: every problem there is, in one line.
    """
    if rescale not in ("per_parameter", "l1"):
        raise InputError(f"rescale={rescale}: write per_parameter or l1; none is rescale: false in {file}")
    found = Findings()
    document = read_document(file, found)
    row = ROWS.get(document.method)
    if document.method and (row is None or row.ours not in METHODS):
        known = [name for name, other in ROWS.items() if other.ours in METHODS]
        found.problem("merge_method", f"{document.method} is not supported; write one of {', '.join(known)}")
    experts, base = _experts(document, found)
    folders = {name: _locate(source, found) for name, source in experts.items()}
    base_folder = _find(base.model, "base_model", found) if base else None
    tokenizer, vocab = _tokenizer(document, experts, found)
    policy = None
    if base_folder and row and row.ours in METHODS and experts:
        shapes = _shapes(base_folder, document, found)
        scopes = {name: (source.where, source.scope) for name, source in experts.items()}
        policy = make_policy(document.method, scopes, document.shared, shapes, rescale, found) if shapes else None
    dtype, out_dtype = _dtypes(document, base_folder, folders, found)
    if found.problems or policy is None or base_folder is None:
        raise InputError(f"{file}: {'; '.join(found.problems)}")
    models = {name: folder for name, folder in folders.items() if folder}
    notes = tuple(found.notes)
    return MergekitRecipe(base_folder, models, policy, dtype, out_dtype, tokenizer, vocab, notes, document.raw)


def _experts(document: Document, found: Findings) -> tuple[dict[str, Source], Reference | None]:
    """The models whose weights are merged, by name, and the base."""
    base, sources = document.base, document.sources
    if document.method == "linear":
        if (
            base
            and all(source.model != base for source in sources)
            and all(source.layers is None for source in sources)
        ):
            sources = (
                *sources,
                Source(base, "base_model", {}),
            )  # as mergekit: one model more, weight of the whole merge
        base = base or (sources[0].model if sources else None)
    else:
        if base is None:
            found.problem("base_model", "is missing; write the model that the others were tuned from")
        for source in sources:
            if source.model == base and source.scope:
                found.note(f"{source.where}.parameters", "change nothing, nor in mergekit: it is the base")
        sources = tuple(source for source in sources if source.model != base)
    least = 2 if document.method in _NEEDS_TWO else 1
    if document.sources and len(sources) < least:
        found.problem("models", f"{len(sources)} beside the base; name at least {least}")
    if base and base.lora:
        found.problem("base_model", f"{base} has an adapter; merge it into its model first")
        base = None
    for source in sources:
        if source.model.lora and (document.method == "linear" or Reference(source.model.model) != base):
            found.problem(f"{source.where}.model", f"{source.model}: {_ADAPTER}")
    return dict(zip(_names([_own(source) for source in sources]), sources, strict=True)), base


def _own(source: Source) -> Place:
    return source.model.lora or source.model.model


def _names(found_places: list[Place]) -> list[str]:
    """The last part of each path; of paths that share it, as many parts as tell them apart; else with a number."""
    parts = []
    for place in found_places:
        path = Path(place.path)
        parts.append((path if path.name not in ("", "..") else path.resolve()).parts)
    depth = [1] * len(parts)
    names = [_joined(part, 1) for part in parts]
    while len(set(names)) < len(names):
        grown = [
            length + 1 if names.count(name) > 1 and length < len(part) else length
            for name, part, length in zip(names, parts, depth, strict=True)
        ]
        if grown == depth:
            return [f"{name}-{names[:index].count(name) + 1}" for index, name in enumerate(names)]
        depth = grown
        names = [_joined(part, length) for part, length in zip(parts, depth, strict=True)]
    return names


def _joined(parts: tuple[str, ...], length: int) -> str:
    return "-".join(part.strip("/") for part in parts[-length:] if part.strip("/"))


def _locate(source: Source, found: Findings) -> Path | None:
    return _find(_own(source), f"{source.where}.model", found)


def _find(place: Place, where: str, found: Findings) -> Path | None:
    """A folder as it is, or a hub id's snapshot where it lies in the local cache; nothing is downloaded."""
    folder = Path(place.path).expanduser()
    if folder.is_dir():
        if place.revision:
            found.note(where, f"{place} is a folder: the revision behind @ has no meaning")
        return folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(place.path, revision=place.revision, local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError):
        found.problem(where, f"{place} is no folder and not in the local hub cache; {_instead(place)}")
    return None


def _instead(place: Place) -> str:
    if place.path.count("/") != 1 or place.path.startswith(("/", ".", "~")):
        return "write the model's folder"
    return f"write its folder, or run hf download {place.path}{f' --revision {place.revision}' * bool(place.revision)}"


def _shapes(base: Path, document: Document, found: Findings) -> dict[str, tuple[int, ...]]:
    """The shapes of the base's floating tensors; a slice's layers are compared with them."""
    from della.checkpoint import Checkpoint

    try:
        checkpoint = Checkpoint(base)
    except InputError as error:
        found.problem("base_model", str(error))
        return {}
    layers = max(count_layers(checkpoint.headers).values(), default=0)
    layers = int(checkpoint.config.get("num_hidden_layers", layers))
    for source in document.sources:
        if source.layers not in (None, (0, layers)):
            span = list(source.layers or ())
            found.problem(f"{source.where}.layer_range", f"is {span}; only all layers, [0, {layers}], can be honoured")
    return {name: header.shape for name, header in checkpoint.headers.items() if header.dtype in FLOATS}


def _tokenizer(document: Document, experts: Mapping[str, Source], found: Findings) -> tuple[str, str]:
    """Whose tokenizer, and what becomes of vocabulary rows that the base has not."""
    source = document.tokenizer
    if source is None:
        return "base", "error"
    if source == "union":
        found.note("tokenizer_source", "union: a new token that several models have gets the mean of their rows")
        return "base", "union"
    found.note("tokenizer_source", "rows of the embedding that no token uses are kept; mergekit cuts them off")
    if source in ("base", document.base):
        return "base", "base_rows"
    for name, expert in experts.items():
        if expert.model == source:
            return ("base" if expert.model.lora else name), "error"
    found.problem("tokenizer_source", f"{source} is none of the models merged; write base, union or one of them")
    return "base", "error"


def _dtypes(
    document: Document, base: Path | None, folders: Mapping[str, Path | None], found: Findings
) -> tuple[str | None, str | None]:
    """dtype and out_dtype; without either, mergekit's output has the widest of the inputs' dtypes."""
    from della.checkpoint import Checkpoint

    if document.dtype in ("bfloat16", "float16"):
        found.note(
            "dtype", f"{document.dtype} is the output's; sums are float32 here, and {document.dtype} in mergekit"
        )
    if document.dtype or document.out_dtype or base is None or found.problems:
        return document.dtype, document.out_dtype
    models = [folder for folder in folders.values() if folder and (folder / "config.json").is_file()]
    own, *others = (Checkpoint(folder).headers for folder in (base, *models))
    widest = {
        name: _widest(header.dtype, [other[name].dtype for other in others if name in other])
        for name, header in own.items()
        if header.dtype in FLOATS
    }
    if all(dtype == own[name].dtype for name, dtype in widest.items()):
        return None, None
    if len(set(widest.values())) > 1:
        found.problem("dtype", "none is written and the models' differ; write dtype: float32, bfloat16 or float16")
        return None, None
    dtype = next(iter(widest.values()))
    found.note("dtype", f"none is written and the models' differ; the output is {dtype}, as in mergekit")
    return None, dtype


def _widest(dtype: str, others: list[str]) -> str:
    """The narrowest dtype that holds all: float32 for bfloat16 beside float16."""
    return dtype if set(others) <= {dtype} else "float64" if "float64" in (dtype, *others) else "float32"
