"""The points of a sweep: what its blocks expand to before and after the choice of hyperparameters.

A sweep has two stages. Blocks with `choose` are run at every combination of their options (on the development split,
or on the test split as the paper did), the best combination of each family, merge and method is chosen, and that one
is run on the test split with every mask seed. Blocks without `choose` are run on the test split at once.
"""

import itertools
import json
from dataclasses import dataclass
from typing import Any

from della.layers import Rule, overrides_of
from della.methods import METHODS, describe, make_method
from della.policy import Policy
from della.selection import choose
from scripts.schema import RunConfig, Unmerged
from scripts.sweep_settings import Grid


@dataclass(frozen=True)
class Point:
    """One run of a sweep: which experts, merged how, with which mask seed, on which prompts."""

    family_seed: int
    merge: tuple[str, ...]
    method: str
    options: Any
    seed: int | None
    split: str
    limit: int | None
    on: str
    weights: tuple[tuple[str, float], ...] = ()
    overrides: tuple[Rule, ...] = ()

    @property
    def policy(self) -> Any:
        """What a merge takes: the method's options, with the experts' weights and the rules where there are any."""
        if not self.local:
            return self.options
        return Policy(self.options, dict(self.weights), overrides=overrides_of(self.overrides))

    @property
    def local(self) -> dict[str, Any]:
        """Weights and rules as a record's config holds them; empty for a point without."""
        found = {"weights": dict(self.weights), "overrides": [rule.plain() for rule in self.overrides]}
        return {name: value for name, value in found.items() if value}

    @property
    def method_config(self) -> dict[str, Any]:
        """The method as records hold it."""
        return describe(self.options) if self.method in METHODS else {"name": self.method}

    @property
    def by_activations(self) -> bool:
        """Whether the merge depends on the experts' input activations."""
        return self.method in METHODS and self.options.by_activations

    @property
    def label(self) -> str:
        """Short text for progress lines and errors."""
        shown = ",".join(f"{k}={v}" for k, v in self.method_config.items() if k != "name")
        local = f" {json.dumps(self.local)}" if self.local else ""
        return f"{'+'.join(self.merge) or 'base'} {self.method}({shown}){local} seed={self.seed} {self.split}"

    @property
    def key(self) -> str:
        """Everything that tells two points apart, as text: for ordering and for finding duplicates."""
        local = [self.local] if self.local else []
        return json.dumps(
            [self.family_seed, self.merge, self.method_config, self.seed, self.split, self.limit, self.on, *local]
        )


def options_of(method: str, values: dict[str, Any]) -> Any:
    """The options object of a method. Raises InputError for unknown names and values out of bounds."""
    return make_method(method, **values) if method in METHODS else Unmerged()


def combinations(grid: Grid) -> list[Any]:
    """Every combination of a block's option values, as options objects, in the order written."""
    names = list(grid.options)
    return [
        options_of(grid.method, dict(zip(names, row, strict=True))) for row in itertools.product(*grid.options.values())
    ]


def family_seeds(config: RunConfig) -> list[int]:
    """The training seeds of a sweep's families: those it names, or the one of `experts`.

    A family of folders was trained once, whatever a sweep names: it has the one of `experts`, which nothing reads.
    """
    named = config.sweep.family_seeds if config.experts.recipe else []
    return named or [config.experts.seed]


def ignored(config: RunConfig) -> str | None:
    """What of a sweep this family has no use for, as one line; None where all of it counts."""
    seeds = config.sweep.family_seeds
    if config.experts.recipe or len(seeds) < 2:
        return None
    return f"sweep.family_seeds={seeds} is ignored: experts={config.experts.family} is not trained by a recipe"


def expand(config: RunConfig, grid: Grid, split: str, limit: int | None, seeds: list[int]) -> list[Point]:
    """All points of one block on one split; a method that draws nothing has one point, with no seed."""
    points = []
    for family_seed, merge, options in itertools.product(family_seeds(config), grid.merge, combinations(grid)):
        for seed in seeds if options.is_random else [None]:
            points.append(Point(family_seed, tuple(sorted(merge)), grid.method, options, seed, split, limit, grid.on))
    return points


def first_stage(config: RunConfig) -> list[Point]:
    """Points that need no choice: those that choose, then those run on the test split at once."""
    sweep, points = config.sweep, []
    for grid in sweep.grids.values():
        if grid.choose:
            limit = sweep.dev_limit if config.select == "dev" else sweep.test_limit
            points += expand(config, grid, config.select, limit, [sweep.choose_seed])
        else:
            points += expand(config, grid, "test", sweep.test_limit, sweep.seeds)
    return unique(points)


def second_stage(config: RunConfig, records: list[dict[str, Any]]) -> list[Point]:
    """The chosen points, on the test split with every mask seed; `records` are those of the choosing runs."""
    points = []
    for grid in (g for g in config.sweep.grids.values() if g.choose):
        searched = {"merge": grid.merge, "method": grid.method, "options": grid.options}
        for choice in choose(records, [searched], config.select):
            options = options_of(grid.method, {k: v for k, v in choice.method.items() if k != "name"})
            family_seed = config.experts.seed if choice.family_seed is None else choice.family_seed
            for seed in config.sweep.seeds if options.is_random else [None]:
                merge, limit = tuple(sorted(choice.merge)), config.sweep.test_limit
                points.append(Point(family_seed, merge, grid.method, options, seed, "test", limit, grid.on))
    return unique(points)


def unique(points: list[Point]) -> list[Point]:
    """Without repeats, family by family so that an engine is opened once for each."""
    seen = {point.key: point for point in points}
    return sorted(seen.values(), key=lambda p: p.family_seed)
