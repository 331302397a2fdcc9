"""mergekit's methods and parameters as ours: which options and weight each tensor of each expert gets.

Both sides' words: density = 1 - drop_rate; mergekit's epsilon is half of ours; normalize is fuse=mean, else sum; of one
name or another, ties, della and the dares are a way to prune, an election or none, and a mean or a sum. mergekit keeps
int(density * n) of n parameters, in floats, where ours is exact: where the two counts differ, the drop rate given here
is the one that keeps as many as mergekit.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from della.errors import InputError
from della.mergekit_settings import Findings, Scope, Value, count_layers, filters, has_gradient, places, resolve
from della.methods import METHODS, make_method
from della.options import Options
from della.policy import Policy

Cell = dict[str, Any]  # options of ours, and the weight
_DEFAULTS: dict[str, Value] = {"density": 1.0, "epsilon": 0.15, "gamma": 0.01, "lambda": 1.0, "filter_wise": False}
_NOTHING: Cell = {"drop_rate": 0.0, "epsilon": 0.0, "gamma": 0.0}
_SHARED = ("lambda", "normalize", "rescale", "filter_wise")


@dataclass(frozen=True)
class Row:
    """A method of mergekit.

    ours: the method that does the same. elect, normalize: as mergekit has them, the latter by default.
    prunes: by what.  reads: its parameters beside int8_mask, which changes memory and no value.
    """

    ours: str
    elect: bool
    normalize: bool
    prunes: str
    reads: tuple[str, ...]


_GENERAL = ("weight", "lambda", "normalize")
_DROP = (*_GENERAL, "density", "rescale")
ROWS = {
    "linear": Row("linear", False, True, "", ("weight", "normalize")),
    "task_arithmetic": Row("ta_elect", False, False, "", _GENERAL),
    "ties": Row("ties", True, True, "magnitude", _DROP),
    "dare_linear": Row("dare_elect", False, False, "random", _DROP),
    "dare_ties": Row("dare_elect", True, False, "random", _DROP),
    "della": Row("della", True, True, "magprune", (*_DROP, "epsilon")),
    "della_linear": Row("della", False, False, "magprune", (*_DROP, "epsilon")),
    "breadcrumbs": Row("breadcrumbs", False, False, "outliers", (*_DROP, "gamma")),
    "breadcrumbs_ties": Row("breadcrumbs", True, False, "outliers", (*_DROP, "gamma")),
    "model_stock": Row("model_stock", False, False, "", ("filter_wise",)),
}
_PLAIN = {("ta_elect", False): "task_arithmetic", ("dare_elect", False): "dare", ("dare_elect", True): "dare_ties"}


class _FaultError(ValueError):
    """Values that cannot be merged with; the message says what and what to write instead."""


def make_policy(
    name: str,
    experts: Mapping[str, tuple[str, Scope]],
    shared: tuple[Scope, ...],
    shapes: Mapping[str, tuple[int, ...]],
    rescale: str,
    found: Findings,
) -> Policy | None:
    """The policy of a merge, with every value of every tensor looked up and checked.

    Args:
        name: a key of `ROWS`.
        experts: name -> where it stands in the file, and the parameters written beside it.
        shared: the parameters of slice, module and whole merge, innermost first.
        shapes: of the tensors that are merged.
        rescale: "per_parameter" or "l1", for the methods that drop at random and do not say rescale: false.
        found: gets all problems; the policy is None then.
    """
    row, before = ROWS[name], len(found.problems)
    _say_what_has_no_effect(name, row, [scope for _, scope in experts.values()] + list(shared), found)
    cells: dict[str, dict[str, Cell]] = {}
    for expert, (where, scope) in experts.items():
        cells[expert] = {}
        faults: dict[str, list[str]] = {}
        for tensor, cell in _cells(row, scope, shared, shapes, rescale):
            if isinstance(cell, _FaultError):
                faults.setdefault(str(cell), []).append(tensor)
            else:
                cells[expert][tensor] = cell
        for fault, tensors in faults.items():
            for_which = "" if len(tensors) == len(shapes) else f" ({len(tensors)} tensors, the first is {tensors[0]})"
            found.problem(where, fault + for_which)
    if len(found.problems) > before:
        return None
    _say_what_differs(row, cells, [scope for _, scope in experts.values()] + list(shared), shapes, rescale, found)
    if row.ours == "linear":
        _refuse_weights_of_nothing(cells, shapes, found)
    return _policy(row, cells, found) if len(found.problems) == before else None


def _cells(
    row: Row, scope: Scope, shared: tuple[Scope, ...], shapes: Mapping[str, tuple[int, ...]], rescale: str
) -> Iterator[tuple[str, Cell | _FaultError]]:
    """Every tensor with its cell for one expert; tensors that no setting tells apart share theirs."""
    scopes = (scope, *shared)
    parts, gradient, place_of = filters(scopes), has_gradient(scopes), places(shapes)
    seen: dict[Any, Cell | _FaultError] = {}
    for tensor in sorted(shapes):
        t = place_of[tensor] if gradient else 0.0
        n = math.prod(shapes[tensor]) if row.prunes in ("magnitude", "outliers") else 0
        key = (t, n, *(part in tensor for part in parts))
        if key not in seen:
            values = {name: _lookup(name, row, scopes, shared, tensor, t) for name in row.reads}
            try:
                seen[key] = _cell(row, values, n, rescale)
            except _FaultError as fault:
                seen[key] = fault
        yield tensor, seen[key]


def _lookup(
    name: str, row: Row, scopes: tuple[Scope, ...], shared: tuple[Scope, ...], tensor: str, t: float
) -> Value | None:
    value = resolve(name, shared if name in _SHARED else scopes, tensor, t)
    if value is None:
        value = {**_DEFAULTS, "normalize": row.normalize, "rescale": row.prunes in ("random", "magprune")}.get(name)
    return value


def _cell(row: Row, values: Mapping[str, Any], n: int, rescale: str) -> Cell:
    """mergekit's values as ours.

    Raises:
        _FaultError: mergekit raises for them too, or ours has nothing that does the same.
    """
    if "weight" in row.reads and values["weight"] is None:
        raise _FaultError("weight is not given; write parameters: {weight: 1.0}")
    cell: Cell = {
        "weight": values.get("weight", 1.0),
        "fuse": "mean" if values.get("normalize") else "sum",
        "lambda_": values.get("lambda", 1.0),
        "elect": row.elect,
    }
    if values.get("filter_wise"):
        raise _FaultError("filter_wise: true cannot be honoured; leave it out")
    if not row.prunes:
        return cell
    if row.prunes in ("magnitude", "outliers") and values["rescale"]:
        raise _FaultError("rescale: true cannot be honoured with a method that trims; leave it out")
    cell["rescale"] = rescale if values["rescale"] else "none"
    return cell | _pruning(row, values, n, cell["fuse"])


def _pruning(row: Row, values: Mapping[str, Any], n: int, fuse: str) -> Cell:
    density = values["density"]
    if density < 0:
        raise _FaultError(f"density is {density:g}; write a number from 0 to 1")
    if not 0 <= values.get("gamma", 0) < 1:
        raise _FaultError(f"gamma is {values['gamma']:g}; write a number >= 0 and < 1")
    if density >= 1:
        return dict(_NOTHING)
    if density == 0 or (row.prunes == "outliers" and int(density * n) == 0):
        if fuse == "mean" and not row.elect:  # a weight of 0 would not count in the mean, where mergekit's does
            raise _FaultError(f"density {density:g}, which keeps nothing, cannot be honoured with normalize")
        return {**_NOTHING, "weight": 0.0}
    drop_rate = float(1 - Decimal(str(density)))
    if row.prunes == "magprune":
        return {"drop_rate": drop_rate, "epsilon": _window(density, values["epsilon"])}
    if row.prunes == "magnitude":
        return {"drop_rate": _trimming(drop_rate, max(1, int(density * n)), n)}
    if row.prunes == "outliers":
        kept = int(density * n)
        return {"drop_rate": _trimming(drop_rate, kept, n), "gamma": _outliers(values["gamma"], n, n - kept)}
    return {"drop_rate": drop_rate}


def _window(density: float, half: float) -> float:
    """The full width of the window, of half of it. Raises _FaultError for a window that leaves (0, 1)."""
    low, high = (Decimal(str(density)) + sign * Decimal(str(half)) for sign in (-1, 1))
    if half < 0 or low <= 0 or high >= 1:
        most = min(density, float(1 - Decimal(str(density))))
        raise _FaultError(f"density {density:g} with epsilon {half:g} leaves (0, 1); write an epsilon below {most:g}")
    return float(2 * Decimal(str(half)))


def _trimming(drop_rate: float, kept: int, n: int) -> float:
    """The drop rate that keeps exactly so many of n: the one given where it does, else one halfway between counts."""
    if n == 0 or max(1, int(n * (1 - Decimal(str(drop_rate))))) == kept:
        return drop_rate
    return 0.0 if kept >= n else 1 - (kept + 0.5) / n


def _outliers(gamma: float, n: int, dropped: int) -> float:
    """The gamma that drops as many outliers as mergekit: int(gamma * n) in floats, of those dropped at most."""
    wanted = min(int(gamma * n), dropped)
    return gamma if min(int(n * Decimal(str(gamma))), dropped) == wanted else (wanted + 0.5) / n


def _policy(row: Row, cells: Mapping[str, Mapping[str, Cell]], found: Findings) -> Policy | None:
    """One method for what most tensors have in common, and what differs from it."""
    every = [cell for by_tensor in cells.values() for cell in by_tensor.values()]
    name = row.ours
    if all(cell["fuse"] == "sum" for cell in every):
        name = _PLAIN.get((row.ours, row.elect), row.ours)
    known = [option.name for option in dataclasses.fields(METHODS[name].options)]  # type: ignore[arg-type]
    methods: dict[tuple, Options] = {}
    counts: Counter[tuple] = Counter()
    for cell in every:
        options = tuple((key, cell[key]) for key in known if key in cell)
        counts[options] += 1
        if options not in methods:
            try:
                methods[options] = make_method(name, **dict(options))
            except InputError as error:
                found.problem("parameters", str(error))
                return None
    most = counts.most_common(1)[0][0]
    weights = {}
    changed: dict[tuple[str, str], Cell] = {}
    for expert, by_tensor in cells.items():
        of_expert = {cell["weight"] for cell in by_tensor.values()}
        if len(of_expert) == 1:
            weights[expert] = of_expert.pop()
        for tensor, cell in by_tensor.items():
            differs = {key: cell[key] for key, value in most if cell[key] != value}
            differs |= {} if expert in weights else {"weight": cell["weight"]}
            if differs:
                changed[tensor, expert] = differs
    overrides = (lambda tensor, expert: changed.get((tensor, expert), {})) if changed else None
    return Policy(methods[most], weights=weights, overrides=overrides)


def _refuse_weights_of_nothing(
    cells: Mapping[str, Mapping[str, Cell]], shapes: Mapping[str, tuple[int, ...]], found: Findings
) -> None:
    """A weighted mean needs weights; mergekit divides by their sum whatever it is."""
    for tensor in sorted(shapes):
        here = [by_tensor[tensor] for by_tensor in cells.values()]
        if here[0]["fuse"] == "mean" and abs(math.fsum(cell["weight"] for cell in here)) < 1e-8:
            found.problem("weight", f"the weights of {tensor} sum to 0; write others, or normalize: false")
            return


def _say_what_has_no_effect(name: str, row: Row, scopes: list[Scope], found: Findings) -> None:
    for parameter in sorted({parameter for scope in scopes for parameter in scope}):
        if parameter not in (*row.reads, "int8_mask"):
            found.note(f"parameters.{parameter}", f"changes nothing in {name}, nor in mergekit")


def _say_what_differs(
    row: Row,
    cells: Mapping[str, Mapping[str, Cell]],
    scopes: list[Scope],
    shapes: Mapping[str, tuple[int, ...]],
    rescale: str,
    found: Findings,
) -> None:
    every = [cell for by_tensor in cells.values() for cell in by_tensor.values()]
    if rescale == "per_parameter" and any(cell.get("rescale") == rescale and cell["drop_rate"] > 0 for cell in every):
        found.note("rescale", "kept deltas are divided by their keep probability, as in the papers; mergekit's is l1")
    deep = [tensor for tensor, shape in sorted(shapes.items()) if len(shape) > 2]
    if row.prunes == "magprune" and deep:
        found.note("density", f"{deep[0]} is ranked over its last dimension, in mergekit over its second")
    stacks = count_layers(shapes)
    if has_gradient(scopes) and len(stacks) > 1:
        found.note("gradients", f"each of these stacks of layers counts its own: {', '.join(sorted(stacks))}")
