"""DELLA's Table 1 (arXiv 2406.11617v1) with our numbers beside the printed ones, and the headline gaps of its abstract.

The gaps are computed as the paper does: a method's mean over the four Avg cells, minus another's.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from della.outcomes import (
    BENCHMARK_LABELS,
    BENCHMARKS,
    EXPERT_LABELS,
    FRAME,
    MERGES,
    METHOD_LABELS,
    PLAIN,
    UNMERGED,
    Run,
    benchmarks_of,
    merge_label,
)
from della.selection import Choice
from della.statistics import DETECTABLE, Estimate
from della.study import Study, averaged, difference
from della.tables.detectable import pairs_note
from della.tables.published import Table1
from della.tables.render import NOT_APPLICABLE, NOT_RUN, Table, gap_text, options_text, score_text, signed

GAPS = (
    ("DELLA - TIES", ("ties",), "3.6"),
    ("DELLA - DARE", ("dare_elect",), "1.2"),
    ("DELLA - mean of TIES and DARE", ("ties", "dare_elect"), "2.4"),
    ("DELLA - TA", ("ta_elect",), "11.1"),
)
SINGLES: tuple[tuple[str, ...], ...] = tuple((name,) for name in EXPERT_LABELS)


def main_study(cells: Mapping[tuple, Sequence[Run]], unmerged: Sequence[Run]) -> Study:
    """The study behind Table 1: merged cells by (merge, method), single experts and the base by (merge, "unmerged")."""
    single: dict[tuple, list[Run]] = {}
    for run in unmerged:
        single.setdefault((run.merge, UNMERGED), []).append(run)
    return Study({**cells, **single})


def main_table(study: Study, choices: Sequence[Choice], paper: Table1, notes: Sequence[str]) -> Table:
    """Table 1: four merges x {TA, DARE, TIES, DELLA}, the plain sums, methods the paper has not, the models alone."""
    table = Table("table1", "DELLA's Table 1: ours beside the paper's", _header(), labels=3, notes=list(notes))
    others = sorted({method for _, method in study.cells} - {*FRAME, *PLAIN, UNMERGED})
    for methods in filter(None, (FRAME, PLAIN, others)):
        for merge in MERGES:
            table.rule()
            for method in methods:
                _merge_row(table, study, choices, paper, merge, method)
    table.rule()
    for merge in (*SINGLES, ()):
        _single_row(table, study, paper, merge)
    merged = [[key for key in study.cells if key == (merge, key[1]) and key[1] != UNMERGED] for merge in MERGES]
    own = {key: benchmarks_of(key[0]) for keys in merged for key in keys}
    table.notes += pairs_note(study, merged, own, "between two methods of one merge")
    return table


def _header() -> list[str]:
    columns = [text for name in (*BENCHMARKS, "avg") for text in (BENCHMARK_LABELS[name], "paper")]
    return ["Merge", "Method", "Chosen", *columns]


def _chosen(choices: Sequence[Choice], merge: tuple[str, ...], method: str) -> list[Choice]:
    return [choice for choice in choices if (choice.merge, choice.name) == (merge, method)]


def _merge_row(
    table: Table, study: Study, choices: Sequence[Choice], paper: Table1, merge: tuple[str, ...], method: str
) -> None:
    own, key = benchmarks_of(merge), (merge, method)
    found: dict[str, Estimate | None] = {name: study.score(key, name) for name in own}
    found["avg"] = study.average(key, own)
    runs = study.cells.get(key, [])
    chosen = sorted({choice.label for choice in _chosen(choices, merge, method)}) or [NOT_APPLICABLE]
    row = [merge_label(merge), METHOD_LABELS.get(method, method), " / ".join(chosen) if runs else NOT_APPLICABLE]
    for name in (*BENCHMARKS, "avg"):
        if name not in found:
            row += [NOT_APPLICABLE, NOT_APPLICABLE]
            continue
        printed = paper.printed(merge, method, name) if method in FRAME else NOT_APPLICABLE
        row += [score_text(found[name]), printed]
        options = " / ".join(sorted({options_text(dict(run.options)) for run in runs}))
        keys: dict[str, Any] = {"merge": merge_label(merge), "method": method, "options": options, "benchmark": name}
        table.record(found[name], published="" if printed == NOT_APPLICABLE else printed, **keys, **_origin(runs))
    table.rows.append(row)


def _single_row(table: Table, study: Study, paper: Table1, merge: tuple[str, ...]) -> None:
    key = (merge, UNMERGED)
    name = f"{merge_label(merge)} expert" if merge else "base"
    row = [name, "unmerged", NOT_APPLICABLE]
    for benchmark in BENCHMARKS:
        found = study.score(key, benchmark)
        printed = paper.printed(merge, "expert", benchmark)
        row += [score_text(found), printed]
        keys: dict[str, Any] = {"merge": merge_label(merge), "method": UNMERGED, "benchmark": benchmark}
        published = "" if printed == NOT_APPLICABLE else printed
        table.record(found, published=published, **keys, **_origin(study.cells.get(key, [])))
    table.rows.append([*row, NOT_APPLICABLE, NOT_APPLICABLE])


def _origin(runs: Sequence[Run]) -> dict[str, Any]:
    """The family and training seeds of a cell, for the CSV."""
    seeds = sorted({str(run.family_seed) for run in runs})
    return {"family": runs[0].family, "training_seed": " ".join(seeds)} if runs else {}


def gap_terms(others: Sequence[str], merges: Sequence[tuple[str, ...]]) -> dict:
    """The terms of DELLA's mean Avg over merges minus the mean of the others', for `Study.estimate`."""

    def mean(method: str, weight: float) -> dict:
        terms: dict = {}
        for merge in merges:
            terms |= averaged((merge, method), benchmarks_of(merge), weight / len(merges))
        return terms

    rest: dict = {}
    for method in others:
        rest |= mean(method, 1 / len(others))
    return difference(mean("della", 1.0), rest)


def gaps_table(study: Study, paper: Table1) -> Table:
    """The four headline gaps, then each gap by merge: printed, from the printed cells, ours."""
    table = Table(
        "gaps",
        "DELLA minus the others: mean of Table 1's Avg cells, percentage points",
        ["Gap", "Merges", "paper, printed", "paper, from its cells", "ours [95 % interval]", "n", "detectable"],
        labels=2,
    )
    for label, others, printed in GAPS:
        _gap_row(table, study, paper, label, others, MERGES, printed)
    for merge in MERGES:
        table.rule()
        for label, others, _ in GAPS:
            if len(others) == 1:
                _gap_row(table, study, paper, label, others, (merge,), NOT_APPLICABLE)
    table.notes = [
        "Ours: paired on the same prompts; where the interval holds 0 the benchmarks cannot tell the two apart.",
        "detectable: the smallest true difference that would be found with 80 % power at a two-sided 5 % level, "
        f"{DETECTABLE:.2f} standard errors, points.",
        "n: prompts behind a gap, all its benchmarks together, x mask seeds.",
    ]
    return table


def _gap_row(
    table: Table,
    study: Study,
    paper: Table1,
    label: str,
    others: tuple[str, ...],
    merges: tuple[tuple[str, ...], ...],
    printed: str,
) -> None:
    found = study.estimate(gap_terms(others, merges))
    published = paper.gap("della", others, merges)
    where = "all four" if len(merges) > 1 else merge_label(merges[0])
    mark = NOT_APPLICABLE if printed == NOT_APPLICABLE else f"+{printed}"
    if found is None:
        ours = [NOT_RUN, NOT_APPLICABLE, NOT_APPLICABLE]
    else:
        seeds = "" if found.seeds == (1, 1) else f"x{found.seeds[1]}"
        ours = [gap_text(found, 2), f"{found.n}{seeds}", f"{100 * DETECTABLE * found.error:.2f}"]
    table.rows.append([label, where, mark, signed(published, 2), *ours])
    table.record(found, quantity="difference", merge=where, method=label, benchmark="avg", published=published)
