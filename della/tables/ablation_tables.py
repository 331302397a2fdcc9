"""Two tables of each of the paper's comparisons: scores beside the printed ones, and the differences it is about.

Every difference is paired on its prompts and, within a method, on its mask seeds; p-values are corrected for the number
of comparisons of the whole table.
"""

from collections.abc import Sequence
from typing import Any

from della.outcomes import BENCHMARK_LABELS, BENCHMARKS, UNMERGED, benchmarks_of, merge_label
from della.paired import holm
from della.statistics import Estimate
from della.tables.ablation_study import AblationStudy, Cell, Gap, Merge, setting_text
from della.tables.ablations import Ablation
from della.tables.detectable import detectable, detectable_note
from della.tables.published import Published
from della.tables.render import (
    NOT_APPLICABLE,
    NOT_RUN,
    Table,
    gap_text,
    options_text,
    score_text,
    signed,
    tenth,
)
from della.tables.significance import p_value

UNPRUNED = "not pruned"


class Printed:
    """What the paper prints of an ablation, in percent and percentage points."""

    def __init__(self, ablation: Ablation, rows: Sequence[Published]):
        self.ablation = ablation
        self._cells = {(r.table, r.merge, r.method, r.variant, r.drop_rate, r.benchmark): r for r in rows}

    def row(self, paper: tuple[str, str, str], merge: Merge, drop_rate: str, benchmark: str) -> float | None:
        """A printed cell; of single experts, whose table names neither expert nor benchmark, that of the drop rate."""
        table, method, variant = paper
        where = ("", "") if self.ablation.single else ("+".join(merge), benchmark)
        for rate in (drop_rate, ""):
            found = self._cells.get((table, where[0], method, variant, rate, where[1]))
            if found and found.value is not None:
                return found.value * (100 if found.unit == "fraction" else 1)
        return None

    def cell(self, cell: Cell, benchmark: str) -> float | None:
        """What stands beside a cell of ours."""
        merge, setting, key = cell
        variant = next((v for v in self.ablation.variants if v.key == key), None)
        rate = "" if setting is None or setting[0] is None else f"{setting[0]:g}"
        return self.row(variant.paper, merge, rate, benchmark) if variant and variant.paper else None

    def gap(self, gap: Gap) -> float | None:
        """A difference: the text's where it prints the mean, else that of the printed cells."""
        if gap.pair and gap.pair in self.ablation.printed and "mean" in (gap.where, gap.setting):
            method, variant = self.ablation.printed[gap.pair]
            found = [r for r in self._cells.values() if (r.table, r.method, r.variant) == ("text", method, variant)]
            return found[0].value if found else None
        parts = [(self.cell(one, "avg"), self.cell(other, "avg")) for one, other in gap.cells]
        known = [one - other for one, other in parts if one is not None and other is not None]
        return sum(known) / len(known) if known and len(known) == len(parts) else None


def _shown(found: AblationStudy) -> list[str]:
    """The benchmarks of the table's columns; Avg where a merge has several."""
    own = {name for merge in found.merges for name in benchmarks_of(merge)}
    several = any(len(benchmarks_of(merge)) > 1 for merge in found.merges)
    return [name for name in BENCHMARKS if name in own] + ["avg"] * several


def cells_table(found: AblationStudy, rows: Sequence[Published], notes: Sequence[str]) -> Table:
    """One row per merge, variant and setting: every benchmark of the merge and Avg, with the paper's numbers."""
    ablation, printed, columns = found.ablation, Printed(found.ablation, rows), _shown(found)
    with_paper = any(variant.paper for variant in ablation.variants) or bool(ablation.extra)
    setting = "Chosen" if found.choices else "Setting"
    header = ["Expert" if ablation.single else "Merge", "Method", setting]
    for name in columns:
        header += [BENCHMARK_LABELS[name], *(["paper"] if with_paper else [])]
    table = Table(ablation.name, ablation.title, header, labels=3, notes=list(notes))
    for merge in found.merges:
        table.rule()
        if ablation.single:
            _row(table, found, printed, (merge, None, UNMERGED), columns, with_paper)
        for cell in _cells_of(found, merge):
            _row(table, found, printed, cell, columns, with_paper)
        for label, where, *paper in ablation.extra:
            if where == merge:
                texts = [_text(printed.row((paper[0], paper[1], paper[2]), merge, "", name)) for name in columns]
                pairs = [text for value in texts for text in (NOT_APPLICABLE, value)]
                table.rows.append([merge_label(merge), label, NOT_APPLICABLE, *pairs])
    gaps = [gap for block in found.gaps for gap in block if "mean" not in (gap.where, gap.setting)]
    table.notes += detectable_note("between two rows that are compared", {"Avg": [gap.found for gap in gaps]})
    return table


def _cells_of(found: AblationStudy, merge: Merge) -> list[Cell]:
    """The cells of a merge: by setting where variants are subtracted from each other, else by variant."""
    keys = [variant.key for variant in found.ablation.variants]
    cells: list[Cell] = [(merge, setting, key) for key in keys for setting in found.settings(key)]
    if found.ablation.pairs:
        order = found.settings(*keys)
        cells.sort(key=lambda cell: order.index(cell[1]) if cell[1] in order else len(order))
    return cells


def _text(value: float | None) -> str:
    return NOT_APPLICABLE if value is None else tenth(value)


def _row(
    table: Table, found: AblationStudy, printed: Printed, cell: Cell, columns: Sequence[str], with_paper: bool
) -> None:
    merge, setting, key = cell
    own, runs = benchmarks_of(merge), found.study.cells.get(cell, [])
    choices = found.choices.get((merge, key), []) if runs else []
    label = UNPRUNED if key == UNMERGED else found.ablation.label(key)
    shown = " / ".join(sorted({choice.label for choice in choices})) or setting_text(setting)
    if any(run.option("lambda_by") == "adaptive" for run in runs):
        shown = shown.replace("lambda=1", "lambda adaptive")
    row = [merge_label(merge), label, shown]
    for name in columns:
        if name != "avg" and name not in own:
            row += [NOT_APPLICABLE] * (1 + with_paper)
            continue
        score = found.average(cell) if name == "avg" else found.score(cell, name)
        beside = printed.cell(cell, name)
        row += [score_text(score), *([_text(beside)] if with_paper else [])]
        options = " / ".join(sorted({options_text(dict(run.options)) for run in runs}))
        keys: dict[str, Any] = {"merge": merge_label(merge), "method": key, "options": options, "benchmark": name}
        table.record(score, published="" if beside is None else beside, **keys, **_origin(found, cell))
    table.rows.append(row)


def _origin(found: AblationStudy, cell: Cell) -> dict[str, Any]:
    """The family and training seeds of a cell, for the CSV."""
    runs = found.study.cells.get(cell, [])
    seeds = sorted({str(run.family_seed) for run in runs if run.family_seed is not None})
    return {"family": runs[0].family, "training_seed": " ".join(seeds)} if runs else {}


def gaps_table(found: AblationStudy, rows: Sequence[Published], notes: Sequence[str]) -> Table:
    """Every difference of the ablation: the paper's, ours with its interval, p after Holm's correction."""
    ablation, printed = found.ablation, Printed(found.ablation, rows)
    blocks = found.gaps
    tested = [gap for block in blocks for gap in block if gap.found]
    raw = [p_value(found.study, gap.terms, gap.found) for gap in tested if gap.found]
    corrected = dict(zip(map(id, tested), holm(raw), strict=True))
    beside = {id(gap): printed.gap(gap) for block in blocks for gap in block}
    with_paper = any(value is not None for value in beside.values())
    with_setting = any(gap.setting != NOT_APPLICABLE for block in blocks for gap in block)
    labels = ["Difference", "Expert" if ablation.single else "Merge", *(["Setting"] if with_setting else [])]
    header = [*labels, *(["paper"] if with_paper else []), "ours [95 % interval]", "n", "p, Holm", "detectable"]
    title = f"{ablation.title}: differences of Avg, percentage points"
    table = Table(f"{ablation.name}_gaps", title, header, labels=len(labels))
    for block in blocks:
        table.rule()
        for gap in block:
            paper = beside[id(gap)]
            row = [gap.label, gap.where, *([gap.setting] if with_setting else [])]
            row += [NOT_APPLICABLE if paper is None else signed(paper)] if with_paper else []
            table.rows.append([*row, *_ours(gap.found, corrected.get(id(gap)))])
            keys: dict[str, Any] = {"merge": gap.where, "method": gap.label, "options": gap.setting, "benchmark": "avg"}
            table.record(gap.found, quantity="difference", published="" if paper is None else paper, **keys)
            if id(gap) in corrected:
                table.data.append({"table": table.name, "quantity": "p, Holm", "value": corrected[id(gap)], **keys})
    table.notes = [*notes, *_notes(len(tested))]
    return table


def _notes(count: int) -> list[str]:
    return [
        "Ours: paired on the same prompts, and on the same mask seeds where both sides are one method; mean: of the "
        "rows above it.",
        "detectable: the smallest true difference that would be found with 80 % power at a two-sided 5 % level.",
        f"p: t with Satterthwaite's degrees of freedom, after Holm's correction for the table's {count} comparisons: "
        "a p below 0.05 is a finding at the 5 % level of the whole table.",
    ]


def _ours(found: Estimate | None, p: float | None) -> list[str]:
    """The last cells of a row: difference, prompts x mask seeds, p, what would be found."""
    if found is None or p is None:
        return [NOT_RUN, NOT_APPLICABLE, NOT_APPLICABLE, NOT_APPLICABLE]
    seeds = "" if found.seeds == (1, 1) else f"x{found.seeds[1]}"
    least = detectable(found)
    shown = NOT_APPLICABLE if least is None else f"{100 * least:.1f}"
    return [gap_text(found), f"{found.n}{seeds}", p_text(p), shown]


def p_text(p: float) -> str:
    """`0.012`, `< 0.001`."""
    return "< 0.001" if p < 0.0005 else f"{p:.3f}"
