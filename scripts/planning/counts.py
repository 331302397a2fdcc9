"""The runs of a sweep: how many, of which stage, on how many prompts. What a choice will pick is counted, not known."""

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from della.methods import METHODS
from scripts.benchmarks import evaluated_on
from scripts.points import Point, combinations, expand, family_seeds, first_stage, unique
from scripts.schema import RunConfig
from scripts.search_settings import Search
from scripts.searching.space import SearchSpace, trial_point, winners_points

Sizes = Mapping[tuple[str, str], int]  # (benchmark, split) -> documents


@dataclass(frozen=True)
class Run:
    """A point and how many prompts of each benchmark it is evaluated on. stage: "choosing" | "final"."""

    point: Point
    stage: str
    prompts: Mapping[str, int]

    @property
    def merges(self) -> bool:
        """Whether the point is a merge, and not a model as it is."""
        return self.point.method in METHODS


def planned(config: RunConfig, sizes: Sizes) -> tuple[list[Run], list[Run]]:
    """The runs before the choice and, at most, after it, each in the order in which workers take them.

    After the choice: one point for each family, merge and block that chooses, with every mask seed. Fewer where a
    chosen point was run already. sizes: documents of each split; one that is not there counts as its limit. A search:
    every trial on all prompts that it may be asked, or on its part of the budget; then its winner.
    """
    sweep = config.sweep
    if sweep.arms:
        every = [(_any_trial(config, *one), one[1]) for one in _searches(config)]
        finals = [found for point, _ in every for found in winners_points(config, point)]
        trials = [run for point, search in every for run in _trials(config, point, search, sizes)]
        return trials, [_run(config, point, "final", sizes) for point in finals]
    limit = sweep.dev_limit if config.select == "dev" else sweep.test_limit
    blocks = [grid for grid in sweep.grids.values() if grid.choose]
    searched = {
        point.key for grid in blocks for point in expand(config, grid, config.select, limit, [sweep.choose_seed])
    }
    first = first_stage(config)
    known = {point.key for point in first}
    second = [point for point in chosen(config) if point.key not in known]
    return (
        [_run(config, point, "choosing" if point.key in searched else "final", sizes) for point in first],
        [_run(config, point, "final", sizes) for point in second],
    )


def rounds(config: RunConfig, stages: tuple[list[Run], list[Run]]) -> list[list[Run]]:
    """What workers go through together, one after the other: the two stages, and of the first each search by itself."""
    if not config.sweep.arms:
        return [*stages]
    return [*(list(search) for _, search in itertools.groupby(stages[0], key=id)), stages[1]]


def chosen(config: RunConfig) -> list[Point]:
    """As many points as can be chosen: of each block's combinations one, a random one where there is one; of a search
    one that is a winner's in all but its options."""
    points = [point for one in _searches(config) for point in winners_points(config, _any_trial(config, *one))]
    for grid in config.sweep.grids.values():
        if grid.choose:
            options = combinations(grid)
            stand_in = next((found for found in options if found.is_random), options[0])
            for point in expand(config, grid, "test", config.sweep.test_limit, config.sweep.seeds):
                if point.options == stand_in:
                    points.append(point)
    return unique(points)


def _searches(config: RunConfig) -> list[tuple[int, Search, tuple[str, ...]]]:
    """Training seed, settings and merge of each search, as scripts/searching/run.py makes them."""
    sweep = config.sweep
    every = [replace(arm, seed=seed, seeds=[]) for arm in sweep.arms.values() for seed in arm.seeds or [arm.seed]]
    merges = [tuple(sorted(merge)) for merge in sweep.merges]
    return [(seed, search, merge) for seed, merge, search in itertools.product(family_seeds(config), merges, every)]


def _space(search: Search, merge: tuple[str, ...]) -> SearchSpace:
    """Without a look at the model: where each layer has its own value, one stands for all."""
    return SearchSpace(search, merge, max([1, *(space.groups for space in search.space.values())]))


def _any_trial(config: RunConfig, family_seed: int, search: Search, merge: tuple[str, ...]) -> Point:
    """A trial with the largest drop rate: it drops at random if any does."""
    space = _space(search, merge)
    params = {p.name: p.space.values[-1] if p.space.values else p.space.high for p in space.parameters}
    params |= {p.name: max(p.space.values) for p in space.parameters if p.option == "drop_rate" and p.space.values}
    return space.point(params, trial_point(config, search, family_seed, merge))


def _trials(config: RunConfig, point: Point, search: Search, sizes: Sizes) -> list[Run]:
    """All trials of a search, one run so often: on all prompts, or on its part of what the budget leaves."""
    whole = _run(config, point, "choosing", sizes)
    grid = search.sampler == "grid"
    count = len(_space(search, point.merge).combinations) if grid else search.trials
    share = min(1.0, search.budget / count) if search.budget else 1.0
    return [replace(whole, prompts={name: math.ceil(n * share) for name, n in whole.prompts.items()})] * count


def _run(config: RunConfig, point: Point, stage: str, sizes: Sizes) -> Run:
    prompts = {}
    for name in evaluated_on(config.benchmarks, point.merge, point.on):
        there = sizes.get((name, point.split))
        bounds = [bound for bound in (point.limit, there) if bound is not None]
        prompts[name] = min(bounds, default=0)
    return Run(point, stage, prompts)


def totals(runs: Iterable[Run]) -> dict[str, int]:
    """Runs, merges, evaluations (a run on a benchmark) and prompts."""
    runs = list(runs)
    return {
        "runs": len(runs),
        "merges": sum(run.merges for run in runs),
        "evaluations": sum(len(run.prompts) for run in runs),
        "prompts": sum(sum(run.prompts.values()) for run in runs),
    }


def splits(config: RunConfig) -> list[tuple[str, str]]:
    """Every (benchmark, split) that the sweep reads, sorted."""
    points = [*(_any_trial(config, *one) for one in _searches(config)), *first_stage(config), *chosen(config)]
    pairs = {(p.split, p.merge, p.on) for p in points}
    return sorted({(name, split) for split, merge, on in pairs for name in evaluated_on(config.benchmarks, merge, on)})
