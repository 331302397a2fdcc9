"""How many points of each method's score are selection: its hyperparameters chosen on dev, on test, and nested.

Needs every point of a method's grid on the test prompts: the choosing runs of a sweep with `select=test`. The column
"test -> test" is the paper's protocol (arXiv 2406.11617v1, section 3 and appendix A.3). Statistics: `della.optimism`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from della.nested import Cell, Name, Selections, name_text
from della.optimism import DRAWS, FOLDS, REPEATS, estimated
from della.outcomes import FRAME, PLAIN, Run, merge_label, merge_order
from della.selection import Choice, Grid
from della.statistics import DETECTABLE, Estimate
from della.tables.main import GAPS
from della.tables.render import NOT_APPLICABLE, NOT_RUN, Table, gap_text, score_text, signed


def _order(name: Name) -> tuple:
    known = [*FRAME, *PLAIN]
    return known.index(name[0]) if name[0] in known else len(known), name


def selection_tables(runs: Sequence[Run], grids: Sequence[Grid], notes: Sequence[str]) -> list[Table]:
    """The table of methods and the table of gaps; [] unless a whole grid of several points ran on test."""
    found = Selections(runs, grids)
    return [methods_table(found, notes), gaps_table(found, notes)] if found.cells else []


def _explanations() -> list[str]:
    return [
        "dev -> test: chosen on development prompts, scored on test. test -> test: chosen and scored on the same test "
        f"prompts, the paper's protocol. nested: each {FOLDS - 1}/{FOLDS} of the test prompts choose for the rest, the "
        f"mean of {REPEATS} random partitions. All three with the mask of the choosing runs: they differ in the choice "
        "alone.",
        "selection: test -> test minus nested, percentage points, the part of the paper's number that is the choice's "
        "luck with the prompts; if anything too large, as a nested choice has fewer prompts. The truth is never below "
        "0, an estimate may be.",
        f"Intervals: normal, standard errors from {DRAWS} draws of prompts, the same for every method, with the choice "
        "made anew in each, which errs to the wide side; those of other masks as in Table 1.",
    ]


def methods_table(found: Selections, notes: Sequence[str]) -> Table:
    """One row per merge and method."""
    header = ["Merge", "Method", "by dev", "by test", "dev -> test", "test -> test", "nested"]
    title = "Selection: the same grids chosen from on dev, on test, and nested"
    table = Table("selection", title, [*header, "selection", "at most", "other masks"], labels=4)
    by_name: dict[Name, list[Cell]] = {}
    for merge in sorted({merge for merge, _ in found.cells}, key=merge_order):
        table.rule()
        for name in sorted((name for where, name in found.cells if where == merge), key=_order):
            cell = found.cells[merge, name]
            by_name.setdefault(name, []).append(cell)
            _method_row(table, found, cell)
    table.notes = [
        *notes,
        f"{_summary(by_name)}",
        *_explanations(),
        "at most: what selection would be if all points of the grid were equally good. other masks: test's choice with "
        "masks that chose nothing, minus with the one that it was chosen with: the choice's luck with the mask.",
        *([f"Not run on all points of the grid: {', '.join(found.partial)}."] if found.partial else []),
    ]
    table.notes.append(_detectable([estimated(c.naive - c.nested, c.n) for c in found.cells.values()]))
    return table


def _detectable(found: Sequence[Estimate]) -> str:
    errors = sorted(100 * DETECTABLE * estimate.error for estimate in found)
    return (
        f"Detectable with 80 % power at a two-sided 5 % level ({DETECTABLE:.2f} standard errors), percentage points: a "
        f"selection of {np.median(errors):.1f}, median ({errors[0]:.1f} to {errors[-1]:.1f})."
    )


def _labels(choices: Sequence[Choice]) -> str:
    return " / ".join(sorted({choice.label for choice in choices})) or NOT_RUN


def _method_row(table: Table, found: Selections, cell: Cell) -> None:
    dev = None if cell.dev is None else estimated(cell.dev, cell.n)
    scores = {
        "dev -> test": dev,
        "test -> test": estimated(cell.naive, cell.n),
        "nested": estimated(cell.nested, cell.n),
    }
    selection = estimated(cell.naive - cell.nested, cell.n)
    label, text = merge_label(cell.merge), name_text(cell.name)
    by_dev = _labels(cell.by_dev) if dev else NOT_RUN
    row = [label, text, by_dev, _labels(cell.by_test), *map(score_text, scores.values()), gap_text(selection, 2)]
    random = any(seed is not None for choice in cell.by_test for seed in choice.seeds)
    luck = found.luck(cell.merge, cell.name) if random else None
    table.rows.append([*row, f"{100 * cell.ceiling:.2f}", gap_text(luck, 2) if random else NOT_APPLICABLE])
    keys: dict[str, Any] = {"merge": label, "method": cell.name[0], "options": cell.name[1], "benchmark": "avg"}
    for quantity, score in scores.items():
        table.record(score, quantity=quantity, **keys)
    table.record(selection, quantity="selection", **keys)
    table.data.append({"table": table.name, "quantity": "at most", "value": 100 * cell.ceiling} | keys)
    if random:
        table.record(luck, quantity="other masks", **keys)


def _mean(cells: Sequence[Cell], which: str) -> np.ndarray:
    return np.mean([getattr(cell, which) for cell in cells], axis=0)


def _summary(by_name: dict[Name, list[Cell]]) -> str:
    parts = []
    for name, cells in sorted(by_name.items(), key=lambda item: _order(item[0])):
        gain = estimated(_mean(cells, "naive") - _mean(cells, "nested"), 0)
        parts.append(f"{name_text(name)} {gap_text(gain, 2)}")
    return f"Choosing on the test prompts adds to a score, mean over merges, points: {', '.join(parts)}."


def gaps_table(found: Selections, notes: Sequence[str]) -> Table:
    """The headline gaps, of all merges together and of each, and how much of each is selection."""
    header = ["Gap", "Merges", "dev -> test", "test -> test", "nested", "selection", "other masks"]
    table = Table("selection_gaps", "Selection: how many points of DELLA's gains are the choice's", header, labels=2)
    merges = sorted({merge for merge, _ in found.cells}, key=merge_order)
    sentences: list[str] = []
    gains: list[Estimate] = []
    for variant in sorted({name[1] for _, name in found.cells if name[0] == "della"}):
        for group in [merges, *([merge] for merge in merges if len(merges) > 1)]:
            table.rule()
            for label, others, _ in GAPS:
                if len(group) > 1 or len(others) == 1 or len(merges) == 1:
                    _gap_row(table, found, (label, others), group, variant, sentences, gains)
    table.notes = [*notes, *sentences, *_explanations()]
    table.notes.append("other masks: the gap of test's choices with masks that chose nothing.")
    table.notes += [_detectable(gains)] if gains else []
    return table


def _gap_row(
    table: Table,
    found: Selections,
    gap: tuple[str, tuple[str, ...]],
    merges: Sequence[tuple[str, ...]],
    variant: str,
    sentences: list[str],
    gains: list[Estimate],
) -> None:
    label, others = gap
    where = "all" if len(merges) > 1 else merge_label(merges[0])
    sides = _sides(found, others, merges, variant)
    if sides is None:
        table.rows.append([label, where, *[NOT_RUN] * 5])
        return
    ours, theirs = sides
    n = sum(max(cell.n for cell in [*ours, *theirs] if cell.merge == merge) for merge in merges)
    numbers: dict[str, Estimate | None] = {"dev -> test": None}
    if all(cell.dev is not None for cell in [*ours, *theirs]):
        numbers["dev -> test"] = estimated(_mean(ours, "dev") - _mean(theirs, "dev"), n)
    drawn = {which: _mean(ours, which) - _mean(theirs, which) for which in ("naive", "nested")}
    numbers |= {"test -> test": estimated(drawn["naive"], n), "nested": estimated(drawn["nested"], n)}
    selection = numbers["selection"] = estimated(drawn["naive"] - drawn["nested"], n)
    numbers["other masks"] = _masks_gap(found, ours, theirs)
    table.rows.append([label, where, *(gap_text(number, 2) for number in numbers.values())])
    for quantity, number in numbers.items():
        table.record(number, quantity=quantity, merge=where, method=label, options=variant, benchmark="avg")
    gains.append(selection)
    if len(merges) > 1:
        naive = signed(100 * float(drawn["naive"][0]), 2)
        unsure = "" if selection.low > 0 or selection.high < 0 else ", which these prompts cannot tell from 0"
        sentences.append(
            f"Of {label} = {naive} as chosen and scored on test, {gap_text(selection, 2)} is selection{unsure}."
        )


def _sides(
    found: Selections, others: tuple[str, ...], merges: Sequence[tuple[str, ...]], variant: str
) -> tuple[list[Cell], list[Cell]] | None:
    """DELLA's cells and those it is compared with, as many of each other method as merges; None if one is missing."""
    ours = [("della", variant) if (merge, ("della", variant)) in found.cells else None for merge in merges]
    theirs = [found.name_of(merge, method, variant) for method in others for merge in merges]
    if None in ours or None in theirs:
        return None
    repeated = [merge for _ in others for merge in merges]
    return (
        [found.cells[merge, name] for merge, name in zip(merges, ours, strict=True)],
        [found.cells[merge, name] for merge, name in zip(repeated, theirs, strict=True)],
    )


def _masks_gap(found: Selections, ours: Sequence[Cell], theirs: Sequence[Cell]) -> Estimate | None:
    total: dict = {}
    for cells, sign in ((ours, 1), (theirs, -1)):
        for cell in cells:
            terms = found.other_masks(cell.merge, cell.name)
            if terms is None:
                return None
            for term, weight in terms.items():
                total[term] = total.get(term, 0.0) + sign * weight / len(cells)
    return found.masks.estimate(total)
