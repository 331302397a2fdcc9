"""Methods whose whole grids ran on the test prompts, chosen from on dev, on test and nested (`della.optimism`).

    found = Selections(runs, grids)
    found.cells[merge, ("della", "")].naive[0]             # chosen and scored on test, as the paper does

(DELLA-Merging, arXiv 2406.11617v1, section 3 and appendix A.3.)
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from della.optimism import Selected, crossfit
from della.outcomes import METHOD_LABELS, Run, benchmarks_of, merge_label, widest
from della.selection import SEARCHED, Choice, Grid, choose_runs, compared_points, defaults, grid_size, on_grid
from della.statistics import Estimate
from della.study import Study, averaged, difference
from della.tables.render import options_text

Name = tuple[str, str]  # a method, and its options that are neither searched nor the default, as text


@dataclass
class Cell:
    """One method on one merge: of each training seed whose whole grid ran on test, what `crossfit` found, the choices
    on dev and on test, and the place of dev's choice among the points."""

    merge: tuple[str, ...]
    name: Name
    found: list[Selected] = field(default_factory=list)
    by_test: list[Choice] = field(default_factory=list)
    by_dev: list[Choice] = field(default_factory=list)
    places: list[int] = field(default_factory=list)

    @property
    def n(self) -> int:
        """Prompts, all training seeds and benchmarks together."""
        return sum(found.n for found in self.found)

    @property
    def naive(self) -> np.ndarray:
        """Chosen and scored on test, float64[1 + draws], the mean over training seeds."""
        return np.mean([found.naive for found in self.found], axis=0)

    @property
    def nested(self) -> np.ndarray:
        """Chosen on a part of the test prompts, scored on the rest."""
        return np.mean([found.nested for found in self.found], axis=0)

    @property
    def dev(self) -> np.ndarray | None:
        """Chosen on dev, scored on test; None where a training seed has no such choice."""
        if len(self.places) < len(self.found):
            return None
        return np.mean([f.points[:, i] for f, i in zip(self.found, self.places, strict=True)], axis=0)

    @property
    def ceiling(self) -> float:
        """What the selection would be if all points were equally good."""
        return float(np.mean([found.ceiling for found in self.found]))


class Selections:
    """The numbers behind both tables: cells by (merge, name), and a study of the test's choices with other masks.

    runs: of one family, with the choosing runs of one selection or of both; grids: those that are chosen from.
    """

    def __init__(self, runs: Sequence[Run], grids: Sequence[Grid]):
        merged = widest([run for run in runs if len(run.merge) > 1])
        self.cells: dict[tuple, Cell] = {}
        self.partial: list[str] = []
        masks: dict[tuple, list[Run]] = {}
        points: dict[tuple, dict[str, np.ndarray]] = {}
        for grid in grids:
            name, own = grid_name(grid), [run for run in merged if run.split == "test" and on_grid(run, grid)]
            dev = {(c.family_seed, c.merge): c for c in choose_runs(merged, [grid], "dev")}
            for choice in choose_runs(merged, [grid], "test") if grid_size(grid) > 1 else []:
                if choice.points < choice.of:
                    self.partial.append(f"{merge_label(choice.merge)} {name_text(name)} {choice.points} of {choice.of}")
                    continue
                here = [run for run in own if (run.family_seed, run.merge) == (choice.family_seed, choice.merge)]
                compared = compared_points([run for run in here if run.seed in choice.seeds])
                points[choice.merge, name, choice.family_seed] = _stacked(compared)
                cell = self.cells.setdefault((choice.merge, name), Cell(choice.merge, name))
                cell.by_test.append(choice)
                if by_dev := dev.get((choice.family_seed, choice.merge)):
                    cell.by_dev.append(by_dev)
                    cell.places.append(list(compared).index(by_dev.options))
                for run in (run for run in here if run.options == choice.options):
                    masks.setdefault((choice.merge, name, run.seed in choice.seeds), []).append(run)
        for (merge, name, _), selected in crossfit(points).items():
            self.cells[merge, name].found.append(selected)
        self.masks = Study(masks)

    def name_of(self, merge: tuple[str, ...], method: str, variant: str) -> Name | None:
        """The cell of another method that stands beside a variant: of the same options, or the only one there is."""
        own = [name for where, name in self.cells if where == merge and name[0] == method]
        return (method, variant) if (method, variant) in own else own[0] if len(own) == 1 else None

    def other_masks(self, merge: tuple[str, ...], name: Name) -> dict | None:
        """The terms of test's choice with masks that chose nothing; with those that chose where nothing is random."""
        if (merge, name, False) in self.masks.cells:
            return averaged((merge, name, False), benchmarks_of(merge))
        random = any(run.seed is not None for run in self.masks.cells[merge, name, True])
        return None if random else averaged((merge, name, True), benchmarks_of(merge))

    def luck(self, merge: tuple[str, ...], name: Name) -> Estimate | None:
        """Test's choice with other masks minus with the one it was chosen with; None where no other has run."""
        other = self.other_masks(merge, name)
        if other is None:
            return None
        return self.masks.estimate(difference(other, averaged((merge, name, True), benchmarks_of(merge))))


def grid_name(grid: Grid) -> Name:
    """The method of a grid, and its single-valued options that are not the default."""
    usual = defaults(grid["method"])
    single = {k: v[0] for k, v in grid["options"].items() if len(v) == 1 and k not in SEARCHED}
    return grid["method"], options_text({k: v for k, v in single.items() if v != usual[k]})


def name_text(name: Name) -> str:
    """A method as the tables call it."""
    return " ".join(filter(None, (METHOD_LABELS.get(name[0], name[0]), name[1])))


def _stacked(compared: dict[tuple, list[Run]]) -> dict[str, np.ndarray]:
    """prompt set -> float64[points, n], the mean over the masks that all points have."""
    first = next(iter(compared.values()))[0]
    out = {}
    for benchmark in benchmarks_of(first.merge, first.scores):
        rows = [np.mean([run.scores[benchmark] for run in found], axis=0) for found in compared.values()]
        out[first.prompts_of[benchmark]] = np.stack(rows)
    return out
