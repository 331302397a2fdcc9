"""A mergekit YAML file read strictly: what it merges, and which parameters it writes where.

mergekit skips over keys that it does not know; here they are found and named, as is all that cannot be honoured. Every
spelling of one whole-model merge comes out the same: `models`, `slices` with one slice of all layers, or `modules`
with `default` alone.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from della.errors import InputError
from della.headers import OUTPUTS
from della.mergekit_settings import Findings, Scope, flag, number, read_setting

CONVERT = {
    "weight": number,
    "density": number,
    "epsilon": number,
    "gamma": number,
    "lambda": number,
    "normalize": flag,
    "rescale": flag,
    "int8_mask": flag,
    "filter_wise": flag,
}
SHARED = ("lambda", "normalize", "rescale", "int8_mask", "filter_wise")  # never looked up beside a model
_KEYS = (
    *("merge_method", "base_model", "models", "slices", "modules", "parameters", "dtype", "out_dtype"),
    *("tokenizer_source", "tokenizer", "chat_template", "name"),
)


@dataclass(frozen=True)
class Place:
    """A folder or hub id, with the revision behind @."""

    path: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{self.path}@{self.revision}" if self.revision else self.path


@dataclass(frozen=True)
class Reference:
    """model, or model+lora: an adapter on that model."""

    model: Place
    lora: Place | None = None

    def __str__(self) -> str:
        return f"{self.model}+{self.lora}" if self.lora else str(self.model)


@dataclass(frozen=True)
class Source:
    """One model of the merge. where: in the file. layers: its layer_range, where one is written."""

    model: Reference
    where: str
    scope: Scope
    layers: tuple[int, int] | None = None


@dataclass(frozen=True)
class Document:
    """A whole file.

    shared: the parameters of slice, module and whole merge, in the order they are looked up.
    tokenizer: None, "base", "union" or a model.
    """

    method: str
    base: Reference | None
    sources: tuple[Source, ...]
    shared: tuple[Scope, ...]
    dtype: str | None
    out_dtype: str | None
    tokenizer: str | Reference | None
    raw: Mapping[str, Any]


Group = tuple[tuple[Source, ...], tuple[Scope, ...], Reference | None]


def read_document(file: Path, found: Findings) -> Document:
    """Read a file; what is wrong inside is found, not raised.

    Raises:
        InputError: the file cannot be read, or holds no mapping.
    """
    raw = _load(file)
    _known(raw, _KEYS, "", found)
    if "name" in raw:
        found.note("name", "a label, it changes nothing")
    method = raw.get("merge_method")
    if not isinstance(method, str):
        found.problem("merge_method", f"is {method!r}; write a method, as merge_method: della")
    if raw.get("chat_template"):
        found.problem("chat_template", "cannot be honoured; leave it out and put the template into the merged folder")
    base = _optional_reference(raw, "base_model", "", found)
    sources, scopes, slice_base = _group(raw, "", found)
    if slice_base and base and slice_base != base:
        found.problem("slices[0].base_model", f"is {slice_base}, and base_model is {base}; write one base")
    return Document(
        method=method if isinstance(method, str) else "",
        base=base or slice_base,
        sources=sources,
        shared=(*scopes, _scope(raw, "", found)),
        dtype=_dtype(raw, "dtype", found),
        out_dtype=_dtype(raw, "out_dtype", found),
        tokenizer=_tokenizer(raw, found),
        raw=raw,
    )


def _load(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise InputError(f"{file}: no such file; write --mergekit FILE, a YAML file as mergekit-yaml takes it")
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise InputError(f"{file}: is no text in UTF-8; write a YAML file as mergekit-yaml takes it") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file}, line {mark.line + 1}" if mark else str(file)
        what = getattr(error, "problem", None) or "cannot be read"
        if "single document" in str(error):
            what = "holds several documents; write one merge in a file"
        raise InputError(f"{where}: no YAML: {what}") from None
    if not isinstance(raw, dict):
        raise InputError(
            f"{file}: holds no keys; write merge_method: NAME, models: and so on, as mergekit-yaml takes it"
        )
    return {str(key): value for key, value in raw.items()}


def _known(raw: Mapping[str, Any], keys: Iterable[str], where: str, found: Findings) -> None:
    keys = list(keys)
    for key in raw:
        if key not in keys:
            near = difflib.get_close_matches(str(key), keys, n=1)
            found.problem(f"{where}{key}", f"no such key; {f'did you mean {near[0]}?' if near else 'leave it out'}")


def _group(raw: Mapping[str, Any], where: str, found: Findings) -> Group:
    """The sources of `models`, `slices` or `modules`, the scopes written there, innermost first, and a slice's base."""
    kinds = ("models", "slices", "modules") if not where else ("models", "slices")
    given = [kind for kind in kinds if raw.get(kind)]
    if len(given) != 1:
        found.problem(f"{where}{given[1] if given else 'models'}", f"write one of {', '.join(kinds)}, and only one")
        return (), (), None
    part = raw[given[0]]
    if given[0] == "modules":
        return _module(part, found)
    if not isinstance(part, list):
        found.problem(f"{where}{given[0]}", "write a list of entries, each as - model: FOLDER")
        return (), (), None
    if given[0] == "models":
        return _sources(part, f"{where}models", found), (), None
    return _slice(part, f"{where}slices", found)


def _module(part: Any, found: Findings) -> Group:
    if not isinstance(part, dict) or list(part) != ["default"] or not isinstance(part["default"], dict):
        found.problem("modules", "only `default` can be honoured; merge the whole model with models:")
        return (), (), None
    where = "modules.default."
    _known(part["default"], ("models", "slices", "parameters"), where, found)
    sources, scopes, base = _group(part["default"], where, found)
    return sources, (*scopes, _scope(part["default"], where, found)), base


def _slice(part: list[Any], where: str, found: Findings) -> Group:
    if len(part) != 1:
        found.problem(where, f"{len(part)} slices; layers cannot be restacked: write one of all layers, or models:")
        return (), (), None
    where = f"{where}[0]"
    if not isinstance(part[0], dict) or not isinstance(part[0].get("sources"), list):
        found.problem(where, "write sources: and a list of entries, each as - model: FOLDER")
        return (), (), None
    _known(part[0], ("sources", "base_model", "parameters"), f"{where}.", found)
    sources = _sources(part[0]["sources"], f"{where}.sources", found, ranged=True)
    base = _optional_reference(part[0], "base_model", f"{where}.", found)
    return sources, (_scope(part[0], f"{where}.", found),), base


def _sources(part: list[Any], where: str, found: Findings, ranged: bool = False) -> tuple[Source, ...]:
    sources: list[Source] = []
    for index, entry in enumerate(part):
        place = f"{where}[{index}]"
        if not isinstance(entry, dict) or "model" not in entry:
            found.problem(place, f"is {entry!r}; write model: FOLDER")
            continue
        _known(entry, ("model", "parameters", "layer_range") if ranged else ("model", "parameters"), f"{place}.", found)
        layers = entry.get("layer_range")
        if ranged and not (isinstance(layers, list) and len(layers) == 2 and all(type(end) is int for end in layers)):
            found.problem(f"{place}.layer_range", f"is {layers!r}; write all layers, as [0, 32]")
        model = _reference(entry["model"], f"{place}.model", found)
        if model and any(source.model == model for source in sources):
            found.problem(f"{place}.model", f"{model} is merged twice; write it once")
        elif model:
            span = (layers[0], layers[1]) if ranged and isinstance(layers, list) and len(layers) == 2 else None
            sources.append(Source(model, place, _scope(entry, f"{place}.", found, of_model=True), span))
    return tuple(sources)


def _scope(raw: Mapping[str, Any], where: str, found: Findings, of_model: bool = False) -> Scope:
    """The parameters written in one place."""
    part = raw.get("parameters") or {}
    if not isinstance(part, dict):
        found.problem(f"{where}parameters", f"is {part!r}; write NAME: VALUE lines")
        return {}
    _known(part, CONVERT, f"{where}parameters.", found)
    scope = {}
    for name, value in part.items():
        place = f"{where}parameters.{name}"
        if name in CONVERT and value is not None:
            setting = read_setting(value, place, CONVERT[name], found)
            if of_model and name in SHARED:
                found.note(
                    place, "has no effect beside a model, nor in mergekit; write it under the merge's parameters"
                )
            elif setting is not None:
                scope[name] = setting
        elif name in CONVERT:
            found.problem(place, "has no value")
    return scope


def _optional_reference(raw: Mapping[str, Any], key: str, where: str, found: Findings) -> Reference | None:
    return _reference(raw[key], f"{where}{key}", found) if raw.get(key) is not None else None


def _reference(raw: Any, where: str, found: Findings) -> Reference | None:
    """MODEL, MODEL@REVISION, either with +ADAPTER, or the same as model: and lora:."""
    if isinstance(raw, dict):
        _known(raw, ("model", "lora"), f"{where}.", found)
        model, lora = _place(raw.get("model")), _place(raw.get("lora"))
        if model and (lora or raw.get("lora") is None):
            return Reference(model, lora)
    if isinstance(raw, str):
        parts = [_place(part) for part in ([raw] if Path(raw).expanduser().is_dir() else raw.split("+"))]
        if len(parts) <= 2 and parts[0] and parts[-1]:
            return Reference(parts[0], parts[1] if len(parts) == 2 else None)
    found.problem(where, f"is {raw!r}; write a folder or hub id, MODEL or MODEL@REVISION, or MODEL+ADAPTER")
    return None


def _place(raw: Any) -> Place | None:
    if isinstance(raw, dict) and set(raw) <= {"path", "revision"} and isinstance(raw.get("path"), str):
        return Place(raw["path"], raw.get("revision"))
    if not isinstance(raw, str) or not raw:
        return None
    parts = [raw] if Path(raw).expanduser().is_dir() else raw.split("@")
    return Place(*parts) if len(parts) <= 2 and all(parts) else None


def _dtype(raw: Mapping[str, Any], key: str, found: Findings) -> str | None:
    value = raw.get(key)
    name = value.removeprefix("torch.") if isinstance(value, str) else value
    if name is None or name in OUTPUTS:
        return name
    found.problem(key, f"is {value!r}; write one of {', '.join(OUTPUTS)}")
    return None


def _tokenizer(raw: Mapping[str, Any], found: Findings) -> str | Reference | None:
    source, where = raw.get("tokenizer_source"), "tokenizer_source"
    if raw.get("tokenizer") is not None:
        part, where = raw["tokenizer"], "tokenizer.source"
        if source is not None:
            found.problem("tokenizer", "and tokenizer_source are both written; write one of them")
        if not isinstance(part, dict):
            found.problem("tokenizer", f"is {part!r}; write tokenizer_source: base, union or a model")
            return None
        _known(part, ("source", "tokens", "pad_to_multiple_of"), "tokenizer.", found)
        for key in ("tokens", "pad_to_multiple_of"):
            if part.get(key):
                found.problem(f"tokenizer.{key}", "cannot be honoured; leave it out")
        source = part.get("source", "union")
    return source if source in (None, "base", "union") else _reference(source, where, found)
