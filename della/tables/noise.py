"""Where a score's noise comes from: mask seeds, prompts, and the two together, and the error for new ones of both."""

from collections.abc import Sequence

import numpy as np

from della.crossed import Crossed, crossed, pooled
from della.outcomes import BENCHMARK_LABELS, METHOD_LABELS, UNMERGED, Run, benchmarks_of, merge_label, merge_order
from della.selection import SEARCHED
from della.statistics import DETECTABLE
from della.tables.render import NOT_APPLICABLE, Table, options_text, tenth
from della.tables.seeds import as_in_table1

QUANTITIES = {  # column -> attribute of Crossed
    "sd, prompts": "sd_prompts",
    "sd, masks": "sd_seeds",
    "sd, both": "sd_both",
    "s.e., prompts": "prompt_error",
    "s.e., masks": "seed_error",
    "s.e.": "error",
}


def noise_table(runs: Sequence[Run], notes: Sequence[str]) -> Table | None:
    """One row per merge, method, options and benchmark that ran with several mask seeds; None where none did."""
    groups: dict[tuple, dict[str, list[Run]]] = {}
    for run in runs:
        if run.split == "test" and run.method != UNMERGED and len(run.merge) > 1 and as_in_table1(run):
            groups.setdefault(run.point, {}).setdefault(str(run.family_seed), []).append(run)
    table = Table(
        "noise",
        "Noise of a score: which masks were drawn, which prompts were asked",
        ["Merge", "Method", "Options", "Benchmark", "score [95 % interval]", *QUANTITIES],
        labels=4,
    )
    for point in sorted(groups, key=lambda p: (merge_order(p[0]), *map(str, p[1:]))):
        for benchmark in benchmarks_of(point[0]):
            parts = [crossed(scores) for found in groups[point].values() if (scores := _scores(found, benchmark)).size]
            if parts:
                _row(table, point, benchmark, pooled(parts))
    table.notes = [
        *notes,
        "score: percent, n=prompts x mask seeds, several training seeds averaged; interval and s.e. (points) are for "
        "other masks and other prompts drawn anew, t with Satterthwaite's degrees of freedom.",
        "sd: standard deviations, points, of the part of a single score that belongs to its prompt, to its mask seed, "
        "and to the two together (analysis of variance, crossed; an estimate below 0 is put at 0). "
        "s.e., prompts and s.e., masks: the parts of s.e.; more seeds shrink the second only.",
        f"Detectable with 80 % power at a two-sided 5 % level: a score {DETECTABLE:.2f} s.e. from a number known "
        "without error. Two methods share their prompts: see the other tables.",
    ]
    return table if table.rows else None


def _scores(runs: Sequence[Run], benchmark: str) -> np.ndarray:
    """float64[seeds, n] of one family's runs; without entries where fewer than two seeds scored the same prompts."""
    found = [run for run in runs if benchmark in run.scores]
    if len(found) < 2 or len({run.prompts_of[benchmark] for run in found}) > 1:
        return np.empty((0, 0))
    return np.stack([run.scores[benchmark] for run in found])


def _row(table: Table, point: tuple, benchmark: str, found: Crossed) -> None:
    merge, method, options = point
    searched = {name: value for name, value in options if name in SEARCHED}
    label = [merge_label(merge), METHOD_LABELS.get(method, method), options_text(searched) or NOT_APPLICABLE]
    low, high = tenth(100 * max(found.low, 0.0)), tenth(100 * min(found.high, 1.0))
    score = f"{tenth(100 * found.mean)} [{low}, {high}] n={found.n}x{found.seeds}"
    values = {name: 100 * getattr(found, attribute) for name, attribute in QUANTITIES.items()}
    table.rows.append([*label, BENCHMARK_LABELS[benchmark], score, *(f"{value:.2f}" for value in values.values())])
    keys = {"merge": label[0], "method": method, "options": options_text(dict(options)), "benchmark": benchmark}
    ends = {"value": 100 * found.mean, "low": 100 * found.low, "high": 100 * found.high}
    counts = {"n": found.n, "mask_seeds": found.seeds, "nulls": found.nulls}
    table.data.append({"table": table.name, "quantity": "score", **keys, **ends, **counts})
    for name, value in values.items():
        table.data.append({"table": table.name, "quantity": name, "value": value, **keys})
