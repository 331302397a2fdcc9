"""Parameters as mergekit's YAML writes them, and the value that each tensor gets.

    weight: 0.5                                     # one value
    weight: [0, 0.5, 1]                             # a gradient: interpolated from the first layer to the last
    weight: [{filter: mlp, value: [0, 1]}, {value: 0.3}]  # the first filter that fits the tensor's name

As in mergekit 0.1.5: a filter fits where it is a part of the name; the place t in a gradient is layer / (layers - 1)
in a layer, 1 in the only layer of a model, and 0 for every tensor outside the layers, before or after them; a parameter
that gives a tensor no value in one place is looked up in the next: source, slice, module, whole merge.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Value = float | bool
_LAYER = re.compile(r"\.(\d+)\.")  # model.layers.12.mlp: the first number between dots is the layer
_TRUE, _FALSE = ("1", "on", "t", "true", "y", "yes"), ("0", "off", "f", "false", "n", "no")


@dataclass
class Findings:
    """What reading a file found. problems: why it cannot be merged. notes: what is other than it seems."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def problem(self, where: str, what: str) -> None:
        self._add(self.problems, f"{where}: {what}")

    def note(self, where: str, what: str) -> None:
        self._add(self.notes, f"{where}: {what}")

    @staticmethod
    def _add(lines: list[str], line: str) -> None:
        if line not in lines:
            lines.append(line)


@dataclass(frozen=True)
class Condition:
    """values: one, or a gradient; none where the list was empty. filter: part of the names it is for; None: all."""

    values: tuple[Value, ...]
    filter: str | None = None


Setting = tuple[Condition, ...]
Scope = Mapping[str, Setting]  # the parameters written in one place
Convert = Callable[[Any], Value]


def number(raw: Any) -> float:
    """A finite number; a word such as 1e-3, which YAML takes for text, counts as the number it spells.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(raw, bool | int | float | str) or not math.isfinite(float(raw)):
        raise ValueError
    return float(raw)


def flag(raw: Any) -> bool:
    """True or false, also written 1, 0, yes, no, on, off. Raises ValueError for anything else."""
    word = str(int(raw)) if isinstance(raw, float) and raw.is_integer() else str(raw).lower()
    if not isinstance(raw, bool | int | float | str) or word not in _TRUE + _FALSE:
        raise ValueError
    return word in _TRUE


def read_setting(raw: Any, where: str, convert: Convert, found: Findings) -> Setting | None:
    """A parameter as written, every value converted; None, and a problem found, where it cannot be read.

    Args:
        raw: from YAML.
        where: of the parameter, for the problem.
        convert: `number` or `flag`.
        found: gets the problems.
    """
    entries = raw if isinstance(raw, list) and any(isinstance(entry, dict) for entry in raw) else None
    if entries is None and not isinstance(raw, dict):
        values = _values(raw, where, convert, found)
        return None if values is None else (Condition(values),)
    conditions = []
    for number_, entry in enumerate(entries or [raw]):
        place = f"{where}[{number_}]" if entries else where
        if not isinstance(entry, dict) or "value" not in entry or set(entry) - {"filter", "value"}:
            found.problem(place, f"is {entry!r}; write {{filter: PART_OF_A_NAME, value: VALUE}}, or {{value: VALUE}}")
            continue
        part = entry.get("filter")
        if part is not None and not isinstance(part, str):
            found.problem(place, f"the filter is {part!r}; write a part of the tensors' names")
            continue
        values = _values(entry["value"], place, convert, found)
        if values is not None:
            conditions.append(Condition(values, None if part == "*" else part))
    return tuple(conditions)


def _values(raw: Any, where: str, convert: Convert, found: Findings) -> tuple[Value, ...] | None:
    try:
        return tuple(convert(value) for value in (raw if isinstance(raw, list) else [raw]))
    except ValueError:
        wanted = "true or false" if convert is flag else "a finite number"
        found.problem(where, f"is {raw!r}; write {wanted}, or a list of such values from the first layer to the last")
        return None


def resolve(name: str, scopes: Iterable[Scope], tensor: str, t: float) -> Value | None:
    """The value of a parameter for a tensor at place t: of the first scope that has one for it; None without one."""
    for scope in scopes:
        value = _value(scope.get(name, ()), tensor, t)
        if value is not None:
            return value
    return None


def _value(setting: Setting, tensor: str, t: float) -> Value | None:
    for condition in setting:
        if condition.filter is None or condition.filter in tensor:
            return _at(condition.values, t)
    return None


def _at(values: Sequence[Value], t: float) -> Value | None:
    """The values interpolated linearly at t in [0, 1]; of true and false, the one at or before t."""
    if not values:
        return None
    place = t * (len(values) - 1)
    before = int(place)
    if isinstance(values[0], bool):
        return values[before]
    after, part = min(before + 1, len(values) - 1), place - before
    return (1 - part) * values[before] + part * values[after]


def filters(scopes: Iterable[Scope]) -> tuple[str, ...]:
    """All filters written in some scopes: tensors that the same ones fit, at the same t, get the same values."""
    found = {
        condition.filter
        for scope in scopes
        for setting in scope.values()
        for condition in setting
        if condition.filter is not None
    }
    return tuple(sorted(found))


def has_gradient(scopes: Iterable[Scope]) -> bool:
    """Whether a value depends on the layer."""
    return any(len(c.values) > 1 for scope in scopes for setting in scope.values() for c in setting)


def count_layers(tensors: Iterable[str]) -> dict[str, int]:
    """The layers in each stack of layers: what stands before the number in a name -> one more than the largest."""
    counts: dict[str, int] = {}
    for tensor in tensors:
        if match := _LAYER.search(tensor):
            stack = tensor[: match.start()]
            counts[stack] = max(counts.get(stack, 0), int(match[1]) + 1)
    return counts


def places(tensors: Iterable[str]) -> dict[str, float]:
    """Tensor -> t in [0, 1], its place in a gradient."""
    tensors = list(tensors)
    counts = count_layers(tensors)
    return {tensor: _place(tensor, counts) for tensor in tensors}


def _place(tensor: str, counts: Mapping[str, int]) -> float:
    match = _LAYER.search(tensor)
    if not match:
        return 0.0
    layers = counts[tensor[: match.start()]]
    return int(match[1]) / (layers - 1) if layers > 1 else 1.0
