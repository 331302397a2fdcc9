"""Which hyperparameters a method is reported with: the best point of its grid for each merge, edges flagged.

The paper searches the drop rate in {0.1, 0.3, 0.5, 0.7, 0.9} and lambda, on the test prompts it reports (section 3 and
appendix A.3). Here the choice is made on development prompts unless `split="test"` says otherwise.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from della.methods import METHODS
from della.outcomes import FRAME, UNMERGED, Run, benchmarks_of, merge_order, read_runs, widest

SEARCHED = ("drop_rate", "lambda_")

Grid = Mapping
"""{"merge": [[expert, ...], ...], "method": name, "options": {option: [value, ...]}}; options not named keep their
defaults."""


@dataclass(frozen=True)
class Choice:
    """The best point of a grid for one family and one merge.

    method: as a record has it, name and every option; score: the mean over the merge's benchmarks on `split`, a
    fraction; n: prompts behind it; edges: the searched options whose chosen value is the first or last of its list;
    points: how many points of the grid ran, of how many; seeds: the mask seeds it was chosen on.
    """

    family: str
    family_seed: int | None
    merge: tuple[str, ...]
    method: dict
    split: str
    score: float
    n: int
    edges: tuple[str, ...]
    points: int
    of: int
    seeds: tuple[int | None, ...] = ()

    @property
    def name(self) -> str:
        """The method's name."""
        return self.method["name"]

    @property
    def options(self) -> tuple[tuple[str, object], ...]:
        """The method's options as a `Run` has them."""
        return tuple(sorted((k, v) for k, v in self.method.items() if k != "name"))

    @property
    def label(self) -> str:
        """The searched options as a table shows them; a star marks an edge of the list."""
        shown = {name: self.method[name] for name in SEARCHED if name in self.method}
        short = {"drop_rate": "p", "lambda_": "lambda"}
        text = " ".join(f"{short[k]}={v:g}{'*' if k in self.edges else ''}" for k, v in shown.items())
        return text or "-"


def defaults(method: str) -> dict:
    """The default of every option of a method."""
    return {item.name: item.default for item in fields(METHODS[method].options)}  # type: ignore[arg-type]


def _values(grid: Grid) -> dict[str, list]:
    """The list of values of every option of a grid's method."""
    return {k: [v] for k, v in defaults(grid["method"]).items()} | {k: list(v) for k, v in grid["options"].items()}


def on_grid(run: Run, grid: Grid) -> bool:
    """Whether a run is a point of a grid."""
    if run.method != grid["method"] or set(run.merge) not in [set(merge) for merge in grid["merge"]]:
        return False
    lists = _values(grid)
    return all(value in lists.get(name, [value]) for name, value in run.every_option.items())


def grids_of(runs: Sequence[Run]) -> list[dict]:
    """The grids that runs on several experts span: per method every drop rate and lambda seen, defaults else.

    For records that come without their sweep's grids.
    """
    grids = []
    for method in sorted({run.method for run in runs} & set(METHODS)):
        own = [run for run in runs if run.method == method and len(run.merge) > 1]
        seen = {name: {r.option(name) for r in own} - {None} for name in SEARCHED}
        lists = {name: sorted(values) for name, values in seen.items()}  # type: ignore[type-var]
        options = {name: values for name, values in lists.items() if values}
        merges = sorted({run.merge for run in own}, key=merge_order)
        grids.append({"method": method, "merge": [list(merge) for merge in merges], "options": options})
    return grids


def _point_score(runs: Sequence[Run], benchmarks: Sequence[str]) -> float:
    return float(np.mean([np.mean([np.nanmean(run.scores[name]) for name in benchmarks]) for run in runs]))


def _rank(run: Run) -> tuple:
    """Equal scores: the smaller lambda, then the smaller drop rate, then the options as text."""
    return run.option("lambda_", 0.0), run.option("drop_rate", 0.0), str(run.options)


def compared_points(runs: Sequence[Run]) -> dict[tuple, list[Run]]:
    """One family's and one merge's runs on a grid by their options, on the mask seeds that all of its points have.

    So runs added later at the chosen point, with other masks, don't move the choice. Runs that lack a benchmark of
    their merge are left out. In the order in which points with equal scores are preferred.
    """
    benchmarks = set(benchmarks_of(runs[0].merge, runs[0].scores))
    points: dict[tuple, list[Run]] = {}
    for run in sorted(runs, key=_rank):
        if benchmarks <= set(run.scores):
            points.setdefault(run.options, []).append(run)
    if not points:
        return {}
    common = set.intersection(*({run.seed for run in found} for found in points.values()))
    return {k: [run for run in found if run.seed in common] or found for k, found in points.items()}


def grid_size(grid: Grid) -> int:
    """How many points a grid has for one merge."""
    return math.prod(len(values) for values in _values(grid).values())


def _best(runs: Sequence[Run], grid: Grid) -> Choice | None:
    """The best of one family's and one merge's runs on a grid."""
    benchmarks = benchmarks_of(runs[0].merge, runs[0].scores)
    compared = compared_points(runs)
    if not compared:
        return None
    common = set.intersection(*({run.seed for run in found} for found in compared.values()))
    order = sorted(compared.values(), key=lambda found: (-_point_score(found, benchmarks), *_rank(found[0])))
    best, lists = order[0][0], _values(grid)
    options = dict(best.options)
    ends = {name: (min(values), max(values)) for name, values in lists.items() if name in SEARCHED and len(values) > 1}
    return Choice(
        family=best.family,
        family_seed=best.family_seed,
        merge=best.merge,
        method={"name": best.method, **options},
        split=best.split,
        score=_point_score(order[0], benchmarks),
        n=sum(best.scores[name].size for name in benchmarks),
        edges=tuple(name for name in SEARCHED if name in ends and options[name] in ends[name]),
        points=len(compared),
        of=grid_size(grid),
        seeds=tuple(sorted(common, key=str)),
    )


def choose(records: Iterable[Mapping], grids: Sequence[Grid], split: str = "dev") -> list[Choice]:
    """The best point of each grid, for each family, training seed and merge, by the mean over the merge's benchmarks.

    Only successful runs on `split` that scored every benchmark of their merge count, those with the largest limit.
    Ties: the smaller lambda, then the smaller drop rate. Grids that no run is on give nothing. Sorted by family,
    training seed, merge, method.
    """
    return choose_runs(read_runs(records), grids, split)


def choose_runs(runs: Sequence[Run], grids: Sequence[Grid], split: str = "dev") -> list[Choice]:
    """`choose`, of runs instead of records.

    Where a grid has runs on dev, which are there for nothing but choosing, their mask seeds are those that choose on
    test too: final runs of every point (of a grid of two, each the choice of one split) are no choosing runs.
    """
    out = []
    for grid in grids:
        groups: dict[tuple, list[Run]] = {}
        own = [run for run in runs if on_grid(run, grid)]
        seeds = {run.seed for run in own if run.split == "dev"}
        found = widest([run for run in own if run.split == split])
        for run in [run for run in found if run.seed in seeds] or found:
            groups.setdefault((run.family, str(run.family_seed), run.merge), []).append(run)
        out += [choice for group in groups.values() if (choice := _best(group, grid))]
    return sorted(out, key=lambda c: (c.family, str(c.family_seed), merge_order(c.merge), c.name))


def final_runs(runs: Sequence[Run], choices: Sequence[Choice]) -> dict[tuple[tuple[str, ...], str], list[Run]]:
    """The test runs that a table reports: (merge, method) -> runs at each family's choice.

    A method that ran at a single point on test and had nothing to choose is reported at that point. The mask seeds that
    a choice was made on are left out where there are others: the winner's own luck would count.
    """
    used = {(c.family_seed, c.merge, c.name): c.seeds for c in choices}
    chosen = {(c.family_seed, c.merge, c.name): c.options for c in choices}
    groups: dict[tuple, list[Run]] = {}
    for run in runs:
        if run.split == "test" and run.method != UNMERGED and len(run.merge) > 1:
            groups.setdefault((run.family_seed, run.merge, run.method), []).append(run)
    out: dict[tuple[tuple[str, ...], str], list[Run]] = {}
    for (family_seed, merge, method), found in groups.items():
        points = {run.options for run in found}
        options = chosen.get((family_seed, merge, method), found[0].options if len(points) == 1 else None)
        kept = [
            run for run in found if run.options == options and set(benchmarks_of(merge, run.scores)) <= set(run.scores)
        ]
        fresh = [run for run in kept if run.seed not in used.get((family_seed, merge, method), ())]
        if kept:
            out.setdefault((merge, method), []).extend(fresh or kept)
    return out


def as_selected(runs: Sequence[Run], choices: Sequence[Choice], grids: Sequence[Grid]) -> list[Run]:
    """The runs of a sweep that chose so, among those of sweeps that chose on dev and on test.

    Left out are test runs of grid points that are neither of the choice nor (where the choice was made on test) those
    it was made on, and, where the chosen point has others, those of the mask seeds that a choice on dev was made on.
    """
    own: dict[tuple, list[Choice]] = {}
    for choice in choices:
        own.setdefault((choice.family, choice.family_seed, choice.merge, choice.name), []).append(choice)

    def made(run: Run) -> list[Choice]:
        return own.get((run.family, run.family_seed, run.merge, run.method), [])

    def chose(run: Run) -> bool:
        return any(run.seed in choice.seeds for choice in made(run))

    tests = [run for run in runs if run.split == "test" and len(run.merge) > 1 and made(run)]
    searched = [run for run in tests if any(on_grid(run, grid) for grid in grids)]
    renewed = {(run.family, run.family_seed, run.point) for run in searched if not chose(run)}

    def kept(run: Run) -> bool:
        if chose(run) and any(choice.split == "test" for choice in made(run)):
            return True
        alone = run.seed is None or (run.family, run.family_seed, run.point) not in renewed
        return any(run.options == choice.options for choice in made(run)) and (not chose(run) or alone)

    dropped = {id(run) for run in searched if not kept(run)}
    return [run for run in runs if id(run) not in dropped]


def complete_families(cells: Mapping[tuple, Sequence[Run]]) -> list:
    """The training seeds with the most cells of Table 1's frame, so that every mean is over the same families."""
    count: dict[object, int] = {}
    for (_, method), runs in cells.items():
        for seed in {run.family_seed for run in runs}:
            count[seed] = count.get(seed, 0) + (method in FRAME)
    most = max(count.values(), default=0)
    return sorted((seed for seed, found in count.items() if found == most), key=str)
