"""The space of a search: from `sweep.search.space` to Optuna's parameters, and from a trial's parameters to a point.

    space = SearchSpace(config.sweep.search, merge=("lm", "math"), layers=32)
    params = space.suggest(trial)                 # {"lambda_": 1.2, "weight.lm": 0.7, "drop_rate.math.1": 0.4, ...}
    space.point(params, template)                 # the Point that these are

A parameter is named option[.expert][.group], groups of layers counted from 0. Beside the method's own options a space
may have `weight`, the factor of an expert's pruned delta, and `epsilon_share`, epsilon as a part of the widest window
that the drop rate allows, so that every combination is one that exists.
"""

import itertools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from della.errors import InputError
from della.layers import Rule, layer_groups
from della.methods import METHODS, make_method
from scripts.points import Point, options_of
from scripts.schema import RunConfig
from scripts.search_settings import Search, Space

if TYPE_CHECKING:
    from optuna import Trial

BY_EXPERT = ("weight", "drop_rate", "epsilon", "epsilon_share", "gamma")  # what may differ between experts
BY_LAYER = (*BY_EXPERT, "lambda_")  # and between layers
DIGITS = 6  # of a value: a point is then read, written and found again as the same


@dataclass(frozen=True)
class Parameter:
    """One of Optuna's parameters: an option, for which expert and which group of layers (None: all)."""

    option: str
    space: Space
    expert: str | None
    layers: tuple[int, int] | None
    name: str


class SearchSpace:
    """The parameters of a search over one merge. Raises InputError for options that the method does not have, or that
    cannot differ where they are said to, and for values out of bounds."""

    def __init__(self, search: Search, merge: tuple[str, ...], layers: int):
        self.search, self.merge, self.layers = search, merge, layers
        self.options = {item.name for item in fields(METHODS[search.method].options)}  # type: ignore[arg-type]
        self._check_share()
        for name, space in search.space.items():
            self._check(name, space)
        self.parameters = [p for name, space in search.space.items() for p in self._expand(name, space)]
        self._check_bounds()
        self._check_budget()

    def _check_budget(self) -> None:
        """Screening must leave something of the budget."""
        search = self.search
        if search.screens and search.budget is not None and len(self.combinations) / search.looks >= search.budget:
            needed = len(self.combinations) / search.looks
            raise InputError(
                f"sweep.search.budget={search.budget:g}: asking {len(self.combinations)} points the first part costs "
                f"as much as {needed:g} whole trials; write a larger budget, or screen=false"
            )

    def _check_share(self) -> None:
        """One window: by its width or by its share, searched or the same for all trials."""
        shared = self.search.options
        if {"epsilon", "epsilon_share"} <= shared.keys() | self.search.space.keys():
            raise InputError("sweep.search: epsilon and epsilon_share are one window; write one of the two")
        if "epsilon_share" in shared and not _within([shared["epsilon_share"]], 0, 1):
            given = shared["epsilon_share"]
            raise InputError(f"sweep.search.options.epsilon_share={given}: a share; write a number from 0 to 1")

    def _check(self, name: str, space: Space) -> None:
        where = f"sweep.search.space.{name}"
        extra = {"weight"} | ({"epsilon_share"} if "epsilon" in self.options else set())
        if name not in self.options | extra:
            known = ", ".join(sorted(self.options | extra))
            raise InputError(f"{where}: method {self.search.method} has no such option to search; write one of {known}")
        if name in self.search.options:
            raise InputError(f"{where}: also in sweep.search.options; write it in one of the two")
        if "expert" in space.per and name not in BY_EXPERT:
            raise InputError(f"{where}.per={space.per}: {name} is the same for all experts; write per=all")
        if "layer" in space.per and name not in BY_LAYER:
            raise InputError(f"{where}.per={space.per}: {name} is the same for all layers; write per=all")
        if "layer" in space.per and not self.layers:
            raise InputError(f"{where}.per={space.per}: the model's tensors have no layers in their names")
        values = space.values or [space.low, space.high]
        if name == "epsilon_share" and not _within(values, 0, 1):
            raise InputError(f"{where}: a share; write values from 0 to 1")
        if name == "weight" and not _within(values, -sys.float_info.max, sys.float_info.max):
            raise InputError(f"{where}: write finite numbers")

    def _expand(self, name: str, space: Space) -> list[Parameter]:
        experts: list[str | None] = [*self.merge] if "expert" in space.per else [None]
        grouped = "layer" in space.per
        layers: list[tuple[int, int] | None] = [*layer_groups(self.layers, space.groups)] if grouped else [None]
        out = []
        for expert, (number, span) in itertools.product(experts, enumerate(layers)):
            parts = [name, *([expert] if expert else []), *([str(number)] if span else [])]
            out.append(Parameter(name, space, expert, span, ".".join(parts)))
        return out

    def _check_bounds(self) -> None:
        """Every corner of the space is a method that exists: a bad one would show after hours."""
        ends = {p.name: p.space.values or [p.space.low, p.space.high] for p in self.parameters}
        once = {option: next(p for p in self.parameters if p.option == option).name for option in self.search.space}
        for row in itertools.product(*(ends[name] for name in once.values())):
            corner = dict(zip(once.values(), row, strict=True))
            values = {p.name: corner[once[p.option]] for p in self.parameters}
            try:
                self.settings(values)
            except InputError as error:
                hint = "; search epsilon_share instead" if "epsilon" in self.search.space else ""
                raise InputError(f"sweep.search.space: {error}{hint}") from error

    @property
    def by_activations(self) -> bool:
        """Whether points of the space rank by the experts' input activations."""
        searched = self.search.space.get("rank_by")
        return "wanda" in (self.search.options.get("rank_by"), *(searched.values if searched else ()))

    @property
    def searched(self) -> list[str]:
        """The names of the parameters, in order."""
        return [p.name for p in self.parameters]

    @property
    def combinations(self) -> list[dict[str, Any]]:
        """Every combination of a grid, in the order written."""
        rows = itertools.product(*(p.space.points for p in self.parameters))
        return [dict(zip(self.searched, row, strict=True)) for row in rows]

    def suggest(self, trial: "Trial") -> dict[str, Any]:
        """The trial's parameters, asked of its study's sampler."""
        out: dict[str, Any] = {}
        for p in self.parameters:
            if p.space.values:
                out[p.name] = trial.suggest_categorical(p.name, p.space.values)
            else:
                low, high = float(p.space.low or 0.0), float((p.space.points or [p.space.high])[-1] or 0.0)
                out[p.name] = trial.suggest_float(p.name, low, high, log=p.space.log, step=p.space.step)
        return out

    @property
    def start(self) -> dict[str, float]:
        """Where cmaes starts."""
        middle = {p.name: _middle(p.space) for p in self.parameters}
        return {p.name: middle[p.name] if p.space.init is None else p.space.init for p in self.parameters}

    def settings(self, params: Mapping[str, Any]) -> tuple[Any, dict[str, float], tuple[Rule, ...]]:
        """The method's options, the experts' weights, and the rules of what differs between experts or layers."""
        values = {name: round(v, DIGITS) if isinstance(v, float) else v for name, v in params.items()}
        shared = {p.option: values[p.name] for p in self.parameters if p.expert is None and p.layers is None}
        weight = shared.pop("weight", None)
        local = [p for p in self.parameters if p.expert is not None or p.layers is not None]
        weights = {p.expert: values[p.name] for p in local if p.option == "weight" and p.layers is None and p.expert}
        if weight is not None:
            weights = dict.fromkeys(self.merge, weight)
        local = [p for p in local if p.option != "weight" or p.layers is not None]
        options = {**self.search.options, **shared}
        moved = {p.option for p in local} & {"drop_rate", "epsilon", "epsilon_share"}
        rules = [self._rule(cell, local, values, options, bool(moved)) for cell in self._cells(local)]
        if moved:  # the shared one is replaced everywhere: it must only be one that exists
            options = {k: v for k, v in options.items() if k not in ("drop_rate", "epsilon", "epsilon_share")}
        return make_method(self.search.method, **_with_epsilon(options)), weights, tuple(rules)

    def _cells(self, local: list[Parameter]) -> list[tuple[str | None, tuple[int, int] | None]]:
        """The finest pieces of the model that local parameters tell apart: expert x range of layers."""
        experts: list[str | None] = [*self.merge] if any(p.expert for p in local) else [None]
        ends = sorted({end for p in local if p.layers for end in p.layers})
        layers: list[tuple[int, int] | None] = [*itertools.pairwise(ends)] if ends else [None]
        return list(itertools.product(experts, layers)) if local else []

    def _rule(
        self,
        cell: tuple[str | None, tuple[int, int] | None],
        local: list[Parameter],
        values: Mapping[str, Any],
        options: Mapping[str, Any],
        moved: bool,
    ) -> Rule:
        """What is set in one cell; the drop rate and the window come together, for each bounds the other."""
        expert, layers = cell
        found = {p.option: values[p.name] for p in local if _covers(p, expert, layers)}
        if moved:
            window = {k: options[k] for k in ("drop_rate", "epsilon", "epsilon_share") if k in options}
            usual = make_method(self.search.method)
            window = {k: getattr(usual, k) for k in ("drop_rate", "epsilon") if k in self.options} | window
            found = _with_epsilon({**window, **found})
        shared = {k: v for k, v in options.items() if not (moved and k in ("drop_rate", "epsilon", "epsilon_share"))}
        here = {**shared, **{k: v for k, v in found.items() if k != "weight"}}
        make_method(self.search.method, **_with_epsilon(here))  # must be one that exists
        return Rule(expert, layers, tuple(sorted(found.items())))

    def point(self, params: Mapping[str, Any], template: Point) -> Point:
        """The template with these parameters; without a mask seed where nothing is dropped at random."""
        options, weights, rules = self.settings(params)
        drops = [dict(rule.options)["drop_rate"] > 0 for rule in rules if "drop_rate" in dict(rule.options)]
        random = make_method(self.search.method, **_some_drop(self.options)).is_random
        random = random and (any(drops) if drops else options.is_random)
        given = tuple(sorted(weights.items()))
        return replace(
            template, options=options, weights=given, overrides=rules, seed=template.seed if random else None
        )


def trial_point(config: RunConfig, search: Search, family_seed: int, merge: tuple[str, ...]) -> Point:
    """A trial's point but for what is searched."""
    sweep, split = config.sweep, config.select
    limit = sweep.dev_limit if split == "dev" else sweep.test_limit
    options = options_of(search.method, {})
    return Point(family_seed, merge, search.method, options, sweep.choose_seed, split, limit, "merge")


def winners_points(config: RunConfig, won: Point) -> list[Point]:
    """What a winner is still to be run at: the whole development split where it was chosen there, and test with every
    mask seed."""
    sweep = config.sweep
    points = [replace(won, split="dev", limit=None)] if config.select == "dev" else []
    for seed in sweep.seeds if won.seed is not None else [None]:
        points.append(replace(won, seed=seed, split="test", limit=sweep.test_limit))
    return points


def _within(values: Sequence[Any], low: float, high: float) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) and low <= v <= high for v in values)


def _middle(space: Space) -> float:
    low, high = float(space.low or 0.0), float(space.high or 0.0)
    return (low * high) ** 0.5 if space.log else (low + high) / 2


def _covers(p: Parameter, expert: str | None, layers: tuple[int, int] | None) -> bool:
    inside = p.layers is None or (layers is not None and p.layers[0] <= layers[0] and layers[1] <= p.layers[1])
    return p.expert in (None, expert) and inside


def _some_drop(options: set[str]) -> dict[str, float]:
    return {"drop_rate": 0.5} if "drop_rate" in options else {}


def _with_epsilon(options: Mapping[str, Any]) -> dict[str, Any]:
    """epsilon_share as epsilon: the share of 2 min(p, 1 - p), kept just inside the bound that is excluded."""
    out = dict(options)
    if "epsilon_share" in out:
        p = float(out.get("drop_rate", 0.5))
        unit = 10.0**-DIGITS
        widest = min(2 * p, 2 * (1 - p) - 2 * unit)
        # Rounded down: up would break p - epsilon/2 >= 0.
        out["epsilon"] = max(0.0, round(int(out.pop("epsilon_share") * widest / unit) * unit, DIGITS))
    return out
