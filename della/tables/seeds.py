"""How much of a score is luck: its spread over mask seeds and over training seeds, beside the error from prompts."""

from collections.abc import Hashable, Sequence

import numpy as np
from scipy import stats

from della.outcomes import METHOD_LABELS, UNMERGED, Run, benchmarks_of, merge_label, merge_order
from della.selection import SEARCHED, defaults
from della.statistics import LEVEL, pooled_spread
from della.study import Study
from della.tables.detectable import pairs_note
from della.tables.render import NOT_APPLICABLE, Table, options_text, score_text


def seeds_table(runs: Sequence[Run], notes: Sequence[str]) -> Table | None:
    """One row per merge, method and options that ran with several seeds; None where none did.

    Where some ran on several training seeds, those with the most of them are shown alone.
    """
    groups: dict[tuple, list[Run]] = {}
    for run in runs:
        if run.split == "test" and run.method != UNMERGED and len(run.merge) > 1 and as_in_table1(run):
            groups.setdefault(run.point, []).append(run)
    groups = {point: found for point, found in groups.items() if len(found) > 1}
    families = {point: len({run.family_seed for run in found}) for point, found in groups.items()}
    most = max(families.values(), default=0)
    points = sorted((p for p in groups if families[p] == most), key=lambda p: (merge_order(p[0]), *map(str, p[1:])))
    if not points:
        return None
    study = Study({point: groups[point] for point in points})
    header = ["Merge", "Method", "Options", "Avg", "training seeds", "sd, mask seeds", "sd, training seeds"]
    title = "Spread of Avg over mask seeds and training seeds, percentage points"
    table = Table("seeds", title, [*header, "s.e., prompts"], labels=3)
    for point in points:
        _row(table, study, point)
    table.notes = [
        *notes,
        "sd, mask seeds: between merges that differ in the mask seed alone, pooled over training seeds. "
        "sd, training seeds: between the families' means, what is left of the masks' noise included. Both with "
        "chi-squared 95 % intervals and degrees of freedom.",
        "s.e., prompts: standard error of one run's Avg that comes from which prompts were asked.",
    ]
    merges = list(dict.fromkeys(merge for merge, _, _ in points))
    alike = [[point for point in points if point[0] == merge] for merge in merges]
    own: dict[Hashable, Sequence[str]] = {point: benchmarks_of(point[0]) for point in points}
    table.notes += pairs_note(study, alike, own, "between two rows of one merge")
    return table


def as_in_table1(run: Run) -> bool:
    """Whether all but the searched options of a run have their defaults."""
    usual = defaults(run.method)
    return all(value == usual.get(name) for name, value in run.options if name not in SEARCHED)


def _run_average(run: Run) -> float:
    return float(np.mean([np.nanmean(run.scores[name]) for name in benchmarks_of(run.merge, run.scores)]))


def _prompt_error(run: Run) -> float:
    own = benchmarks_of(run.merge, run.scores)
    return float(np.sqrt(sum(np.nanvar(run.scores[b], ddof=1) / run.scores[b].size for b in own)) / len(own))


def spread_interval(sd: float, freedom: int) -> tuple[float, float]:
    """The chi-squared 95 % interval of a standard deviation with `freedom` degrees of freedom."""
    tail = (1 - LEVEL) / 2
    ends = stats.chi2.ppf([1 - tail, tail], freedom)
    return float(sd * np.sqrt(freedom / ends[0])), float(sd * np.sqrt(freedom / ends[1]))


def _spread_text(table: Table, groups: list[list[float]], quantity: str, keys: dict) -> str:
    """`1.21 [0.90, 1.85] df=12`, points; `-` where nothing varies."""
    sd, freedom = pooled_spread(groups), sum(len(group) - 1 for group in groups)
    if sd is None:
        return NOT_APPLICABLE
    low, high = spread_interval(sd, freedom)
    row = {"table": table.name, "quantity": quantity, "value": 100 * sd, "low": 100 * low, "high": 100 * high}
    table.data.append(row | {"n": freedom + 1} | keys)
    return f"{100 * sd:.2f} [{100 * low:.2f}, {100 * high:.2f}] df={freedom}"


def _row(table: Table, study: Study, point: tuple) -> None:
    merge, method, options = point
    by_family: dict[str, list[float]] = {}
    for run in study.cells[point]:
        by_family.setdefault(str(run.family_seed), []).append(_run_average(run))
    searched = {name: value for name, value in options if name in SEARCHED}
    keys = {"merge": merge_label(merge), "method": method, "options": options_text(dict(options)), "benchmark": "avg"}
    found = study.average(point, benchmarks_of(merge))
    table.record(found, **keys)
    within = _spread_text(table, list(by_family.values()), "sd over mask seeds", keys)
    between = _spread_text(
        table, [[float(np.mean(values)) for values in by_family.values()]], "sd over training seeds", keys
    )
    error = float(np.mean([_prompt_error(run) for run in study.cells[point]]))
    table.data.append({"table": table.name, "quantity": "s.e. from prompts", "value": 100 * error} | keys)
    label = [merge_label(merge), METHOD_LABELS.get(method, method), options_text(searched) or NOT_APPLICABLE]
    table.rows.append([*label, score_text(found), str(len(by_family)), within, between, f"{100 * error:.2f}"])
