"""What is wrong with a sweep, told before anything loads: values out of bounds, repeats, points that mean nothing.

`check_sweep(config)` is called for every composed config that names a sweep (scripts/schema.py).
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, replace
from typing import Any

from della.errors import InputError
from della.idle import idle_options
from della.methods import METHODS, make_method
from della.options import Options
from della.outcomes import EXPERT_BENCHMARK, UNMERGED
from della.tiny.recipe import EXPERTS
from scripts.search_settings import Search


def check_sweep(config: Any) -> None:
    """Checks the sweep of a `RunConfig`.

    Raises:
        InputError: a value is out of bounds or there twice, an option changes nothing, a merge has an expert that is
            not in the family or no benchmark, or two blocks hold the same point.
    """
    sweep = config.sweep
    for name in ("family_seeds", "seeds"):
        _once(f"sweep.{name}", getattr(sweep, name))
    _check_searches(config)
    seen: dict[Any, str] = {}
    for name, grid in sweep.grids.items():
        where = f"sweep.grids.{name}"
        _check_merges(where, grid, config)
        for option, values in grid.options.items():
            _once(f"{where}.options.{option}", values)
        for merge, options in _points(where, grid):
            if options is not None and options.is_random and not sweep.seeds:
                raise InputError(f"sweep.seeds=[]: {where} drops at random; write at least one mask seed")
            _first_time(where, grid, merge, options, seen)


def _check_searches(config: Any) -> None:
    """Each search once, with a method, measured, its winner on test; its space is checked where the merge is known."""
    sweep = config.sweep
    for name, search in sweep.arms.items():
        if search.method not in METHODS:
            raise InputError(f"sweep.searches.{name}: write its method, one of {', '.join(METHODS)}")
        _once("sweep.search.seeds", search.seeds)
        if make_method(search.method).is_random and not sweep.seeds:
            raise InputError("sweep.seeds=[]: a winner drops at random on test; write at least one mask seed")
    if sweep.arms:
        _once("sweep.merges", [sorted(merge) for merge in sweep.merges])
        for merge in sweep.merges:
            _once("sweep.merges", merge)
            _check_benchmarks(f"sweep={sweep.name}", merge, config.benchmarks)
        _tell_apart(sweep.arms)


def _tell_apart(arms: Mapping[str, Search]) -> None:
    """Raises InputError for searches that differ in when they end alone: they would be one study."""
    seen: list[tuple[dict[str, Any], str]] = []
    for name, arm in arms.items():
        for seed in arm.seeds or [arm.seed]:
            settings = replace(arm, seed=seed, seeds=[]).lasting
            for other, known in seen:
                if settings == other:
                    raise InputError(
                        f"sweep.searches.{name}: the same search as {known}, for trials and budget only say when one "
                        "ends; write another seed"
                    )
            seen.append((settings, name))


def _once(where: str, values: Sequence[Any]) -> None:
    """Raises InputError for a value that is there twice, and for an empty list of an option's values."""
    for index, value in enumerate(values):
        if value in values[:index]:
            raise InputError(f"{where}={_text(values)}: {_text(value)} is there twice; write it once")
    if not values and ".options." in where:
        raise InputError(f"{where}=[]: write at least one value")


def _text(value: Any) -> str:
    """A value as it is written on the command line."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_text, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check_merges(where: str, grid: Any, config: Any) -> None:
    """Each merge: of experts that there are, each once, something for the method to do, and measured."""
    named = {**config.experts.hub, **config.experts.models}
    known = EXPERTS if config.experts.recipe else tuple(name for name in named if name != "base")
    _once(f"{where}.merge", [sorted(merge) for merge in grid.merge])
    if grid.method == UNMERGED and grid.choose:
        raise InputError(f"{where}: {UNMERGED} has nothing to choose; write choose=false")
    for merge in grid.merge:
        _once(f"{where}.merge", merge)
        for expert in merge:
            if known and expert not in known:
                raise InputError(f"{where}.merge: there is no expert {expert!r}: the experts are {', '.join(known)}")
        if grid.method == UNMERGED and len(merge) > 1:
            raise InputError(f"{where}.merge={_text(grid.merge)}: {UNMERGED} takes one expert each, or [] for the base")
        if grid.method != UNMERGED and not merge:
            raise InputError(f"{where}.merge={_text(grid.merge)}: method {grid.method} takes at least one expert")
        _check_benchmarks(where, merge, config.benchmarks, on=grid.on, chooses=grid.choose)


def _check_benchmarks(
    where: str, merge: Sequence[str], benchmarks: Mapping[str, Any], on: str = "merge", chooses: bool = True
) -> None:
    """Whether something measures a merge, and all that a choice is made by."""
    shown = _text(list(benchmarks))
    measured = any(spec.expert in merge for spec in benchmarks.values()) or not merge or on == "all"
    if not measured:
        raise InputError(
            f"{where}: benchmarks={shown} holds none of {' or '.join(sorted(merge))}; add one, or leave that merge out"
        )
    own = [EXPERT_BENCHMARK[expert] for expert in merge if expert in EXPERT_BENCHMARK]
    missing = [name for name in own if name not in benchmarks]
    if chooses and missing and len(own) == len(merge):
        raise InputError(
            f"{where} chooses by the mean over its experts' benchmarks, and benchmarks={shown} is without "
            f"{', '.join(missing)}; add it, or leave {'+'.join(sorted(merge))} out"
        )


def _points(where: str, grid: Any) -> Iterator[tuple[tuple[str, ...], Options | None]]:
    """Every merge with every combination of options; None for no method."""
    if grid.method == UNMERGED:
        if grid.options:
            raise InputError(f"{where}.options: {UNMERGED} has none")
        yield from ((tuple(sorted(merge)), None) for merge in grid.merge)
        return
    for row in itertools.product(*grid.options.values()):
        try:
            options = make_method(grid.method, **dict(zip(grid.options, row, strict=True)))
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        yield from ((tuple(sorted(merge)), options) for merge in grid.merge)


def _first_time(where: str, grid: Any, merge: tuple[str, ...], options: Options | None, seen: dict[Any, str]) -> None:
    """Raises InputError where an option that a block names changes nothing, and where a block holds the same point."""
    values: dict[str, Any] = {}
    if options is not None:
        values = dict(vars(options))
        for name, why in idle_options(options, len(merge)).items():
            usual = _default(grid.method, name)
            if name in grid.options and (len(grid.options[name]) > 1 or values[name] != usual):
                given = f"{name}={_text(values[name])}"
                raise InputError(f"{where}: {given} changes nothing for {'+'.join(merge)}: {why}; leave it out")
            values[name] = usual
    point = (grid.choose, grid.on, merge, grid.method, tuple(sorted(values.items())))
    if point in seen:
        shown = " ".join(f"{name}={_text(values[name])}" for name in grid.options)
        what = f"{'+'.join(merge) or 'base'} {grid.method} {shown}".strip()
        raise InputError(f"{where}: {what} is in {seen[point]} already; leave it out of one of the two")
    seen[point] = where


def _default(method: str, option: str) -> Any:
    (found,) = (item for item in fields(METHODS[method].options) if item.name == option)  # type: ignore[arg-type]
    return None if found.default is MISSING else found.default
