"""The study behind one of the paper's comparisons: its cells and the differences between them.

    found = AblationStudy(ablation, runs, grids, select)
    found.average(cell), found.gaps

A cell is (merge, setting, key of a variant). A setting is (drop rate, lambda, epsilon), or None for the one point that
was chosen on other prompts or seeds: then the variants of one merge may have other values each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from della.outcomes import UNMERGED, Run, benchmarks_of, merge_label, merge_order, widest
from della.selection import Choice, choose_runs, final_runs, on_grid
from della.statistics import Estimate
from della.study import Study, Term, averaged, difference
from della.tables.ablations import FREE, Ablation

Merge = tuple[str, ...]
Setting = tuple[float | None, float | None, float | None] | None
Cell = tuple[Merge, Setting, str]
Terms = dict[Term, float]


@dataclass(frozen=True)
class Gap:
    """One difference: the mean over pairs of cells of one's Avg minus the other's.

    label, where, setting: as a table shows them; pair: keys of the variants, None along an axis; found: None where a
    cell has not run; terms: what was estimated.
    """

    label: str
    where: str
    setting: str
    cells: tuple[tuple[Cell, Cell], ...]
    pair: tuple[str, str] | None
    found: Estimate | None
    terms: Terms


def setting_text(setting: Setting) -> str:
    """`p=0.5 lambda=1`, what there is of it."""
    shown = zip(("p", "lambda", "epsilon"), setting or (), strict=False)
    return " ".join(f"{name}={value:g}" for name, value in shown if value is not None) or "-"


def _order(setting: Setting) -> tuple:
    return tuple(-1.0 if value is None else value for value in setting or ())


class AblationStudy:
    """The cells of an ablation. runs: of any kind; grids: the sweep's blocks that choose, None if unknown."""

    def __init__(self, ablation: Ablation, runs: Sequence[Run], grids: Sequence[Mapping] | None, select: str):
        self.ablation = ablation
        self.choices: dict[tuple[Merge, str], list[Choice]] = {}
        cells: dict[Cell, list[Run]] = {}
        for (merge, key), found in self._groups(runs).items():
            choices = [] if ablation.single else _choices(found, grids, select)
            if choices:
                self.choices[merge, key] = choices
                for final in final_runs(found, choices).values():
                    cells[merge, None, key] = final
                continue
            for run in found:
                if run.split == "test":
                    p, lambda_, epsilon = (run.option(name) for name in FREE)
                    cells.setdefault((merge, (p, lambda_, epsilon), key), []).append(run)  # type: ignore[arg-type]
        self.epsilons = sorted({cell[1][2] for cell in cells if cell[1] and cell[1][2] is not None})
        self.study = Study(self._plain(cells) | self._alone(runs, cells))
        self.runs = [run for found in self.study.cells.values() for run in found]

    def _groups(self, runs: Sequence[Run]) -> dict[tuple[Merge, str], list[Run]]:
        """The runs of each merge and variant, over most prompts."""
        groups: dict[tuple[Merge, str], list[Run]] = {}
        for run in runs:
            if variant := self.ablation.variant_of(run.method, dict(run.options), run.merge):
                groups.setdefault((run.merge, variant.key), []).append(run)
        reach = {id(run) for run in widest([run for found in groups.values() for run in found])}
        return {key: [run for run in found if id(run) in reach] for key, found in groups.items()}

    def _plain(self, cells: Mapping[Cell, list[Run]]) -> dict[Cell, list[Run]]:
        """Settings without the epsilon where there is only one: methods without a window then share them."""
        if len(self.epsilons) > 1:
            return dict(cells)
        return {(m, s and (s[0], s[1], None), key): found for (m, s, key), found in cells.items()}

    def _alone(self, runs: Sequence[Run], cells: Mapping[Cell, list[Run]]) -> dict[Cell, list[Run]]:
        """What nothing was dropped of, beside the pruned experts."""
        merges = {merge for merge, _, _ in cells} if self.ablation.single else set()
        found: dict[Cell, list[Run]] = {}
        for run in widest([r for r in runs if r.split == "test" and r.method == UNMERGED and r.merge in merges]):
            found.setdefault((run.merge, None, UNMERGED), []).append(run)
        return found

    @property
    def merges(self) -> list[Merge]:
        """Those of the paper and those that ran, in the paper's order."""
        return sorted({*self.ablation.merges, *(merge for merge, _, _ in self.study.cells)}, key=merge_order)

    def settings(self, *keys: str) -> list[Setting]:
        """Those that any of these variants ran at; [None] where none did."""
        found = {setting for _, setting, key in self.study.cells if key in keys}
        return sorted(found, key=_order) or [None]

    def score(self, cell: Cell, benchmark: str) -> Estimate | None:
        """A cell's score on one benchmark."""
        return self.study.score(cell, benchmark)

    def average(self, cell: Cell) -> Estimate | None:
        """The mean over the merge's benchmarks."""
        return self.study.average(cell, benchmarks_of(cell[0]))

    @cached_property
    def gaps(self) -> list[list[Gap]]:
        """All differences, one list per pair of variants or, along an axis, per variant."""
        blocks = [self._pair(pair) for pair in self.ablation.pairs]
        if self.ablation.reference is not None:
            blocks += [self._along(variant.key) for variant in self.ablation.variants]
        return [block for block in blocks if block]

    def _pair(self, pair: tuple[str, str]) -> list[Gap]:
        one, other = pair
        label = f"{self.ablation.label(one)} - {self.ablation.label(other)}"
        settings = self.settings(one, other)
        cells = {s: [((m, s, one), (m, s, other)) for m in self.merges] for s in settings}
        return self._block(label, cells, pair)

    def _along(self, key: str) -> list[Gap]:
        """A variant at each value of the axis minus that at the reference."""
        axis, reference = FREE.index(self.ablation.axis), self.ablation.reference
        name = {"drop_rate": "p", "lambda_": "lambda"}[self.ablation.axis]
        cells: dict[Setting, list[tuple[Cell, Cell]]] = {}
        for setting in self.settings(key):
            if setting is None or setting[axis] == reference:
                continue
            base: Setting = (*setting[:axis], reference, *setting[axis + 1 :])  # type: ignore[assignment]
            if base in self.settings(key):
                cells[setting] = [((m, setting, key), (m, base, key)) for m in self.merges]
        return self._block(f"{self.ablation.label(key)}, minus {name}={reference:g}", cells, None)

    def _block(
        self, label: str, cells: Mapping[Setting, list[tuple[Cell, Cell]]], pair: tuple[str, str] | None
    ) -> list[Gap]:
        """Each pair of cells; then their mean over merges for each setting, or of one merge over settings."""
        out = []
        for at in range(len(self.merges)):
            for setting, pairs in cells.items():
                out.append(
                    self._gap(label, merge_label(self.merges[at]), setting_text(setting), pairs[at : at + 1], pair)
                )
        if len(self.merges) > 1:
            out += [self._gap(label, "mean", setting_text(setting), pairs, pair) for setting, pairs in cells.items()]
        elif len(cells) > 1 and pair:
            every = [pairs[0] for pairs in cells.values()]
            out.append(self._gap(label, merge_label(self.merges[0]), "mean", every, pair))
        return out

    def _gap(
        self, label: str, where: str, setting: str, cells: Sequence[tuple[Cell, Cell]], pair: tuple[str, str] | None
    ) -> Gap:
        terms: Terms = {}
        for one, other in cells:
            weighted = [averaged(cell, benchmarks_of(cell[0]), 1 / len(cells)) for cell in (one, other)]
            for term, weight in difference(*weighted).items():
                terms[term] = terms.get(term, 0.0) + weight
        return Gap(label, where, setting, tuple(cells), pair, self.study.estimate(terms), terms)


def _choices(found: Sequence[Run], grids: Sequence[Mapping] | None, select: str) -> list[Choice]:
    """The choice of each training seed among the runs of one merge and variant; [] where nothing was chosen.

    Without the sweep's blocks, runs on development prompts are taken for a search, over all the values they span.
    """
    search = [run for run in found if run.split == select]
    if grids is not None:
        blocks = [grid for grid in grids if any(on_grid(run, grid) for run in search)]
    elif select == "dev" and search:
        names = {name for run in search for name, _ in run.options}
        seen = {name: sorted({run.option(name) for run in search}, key=str) for name in names}
        blocks = [{"method": search[0].method, "merge": [list(search[0].merge)], "options": seen}]
    else:
        return []
    best: dict[object, Choice] = {}
    for choice in choose_runs(search, blocks, select):
        if choice.family_seed not in best or choice.score > best[choice.family_seed].score:
            best[choice.family_seed] = choice
    return list(best.values())
