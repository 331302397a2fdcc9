"""MAGPRUNE's window: score by epsilon at a fixed drop rate and lambda. (No table of the paper; epsilon 0 is DARE.)"""

from collections.abc import Sequence

from della.outcomes import BENCHMARK_LABELS, BENCHMARKS, Run, benchmarks_of, merge_label, merge_order
from della.selection import SEARCHED, defaults
from della.statistics import Estimate
from della.study import Study, averaged, difference
from della.tables.detectable import detectable_note
from della.tables.render import NOT_APPLICABLE, Table, gap_text, options_text, score_text

Curve = tuple[tuple[str, ...], float, float]


class Epsilons:
    """The study behind the table and the figure: cells (merge, drop rate, lambda, epsilon), three or more a curve."""

    def __init__(self, runs: Sequence[Run]):
        cells: dict[tuple, list[Run]] = {}
        for run in runs:
            if run.split == "test" and run.method == "della" and _only_searched(run):
                key = (run.merge, run.option("drop_rate"), run.option("lambda_"), run.option("epsilon"))
                cells.setdefault(key, []).append(run)
        widths: dict[Curve, set[float]] = {}
        for merge, p, lambda_, epsilon in cells:
            widths.setdefault((merge, p, lambda_), set()).add(epsilon)
        long = sorted((c for c in widths if len(widths[c]) >= 3), key=lambda c: (merge_order(c[0]), c[1:]))
        self.curves: dict[Curve, list[float]] = {curve: sorted(widths[curve]) for curve in long}
        self.study = Study({key: found for key, found in cells.items() if key[:3] in self.curves})

    def average(self, curve: Curve, epsilon: float) -> Estimate | None:
        """The mean over the merge's benchmarks."""
        return self.study.average((*curve, epsilon), benchmarks_of(curve[0]))

    def gain(self, curve: Curve, epsilon: float) -> Estimate | None:
        """The same minus that of epsilon 0, paired."""
        own = benchmarks_of(curve[0])
        return self.study.estimate(difference(averaged((*curve, epsilon), own), averaged((*curve, 0.0), own)))


def _only_searched(run: Run) -> bool:
    usual = defaults("della")
    return all(value == usual.get(name) for name, value in run.options if name not in (*SEARCHED, "epsilon"))


def epsilon_table(found: Epsilons, notes: Sequence[str]) -> Table:
    """One row per merge, drop rate and epsilon: every benchmark of the merge, Avg, and Avg minus that of epsilon 0."""
    header = ["Merge", "drop rate", "lambda", "epsilon", *(BENCHMARK_LABELS[name] for name in (*BENCHMARKS, "avg"))]
    title = "DELLA by the width of its window, epsilon"
    table = Table("epsilon", title, [*header, "minus epsilon 0"], labels=4, notes=list(notes))
    gains: dict[str, list[Estimate | None]] = {}
    for curve, widths in found.curves.items():
        table.rule()
        merge, p, lambda_ = curve
        own = benchmarks_of(merge)
        for epsilon in widths:
            key = (*curve, epsilon)
            cells = {name: found.study.score(key, name) for name in own} | {"avg": found.average(curve, epsilon)}
            row = [merge_label(merge), f"{p:g}", f"{lambda_:g}", f"{epsilon:g}"]
            row += [score_text(cells[name]) if name in cells else NOT_APPLICABLE for name in (*BENCHMARKS, "avg")]
            options = options_text(dict(found.study.cells[key][0].options))
            for name, cell in cells.items():
                table.record(cell, merge=merge_label(merge), method="della", options=options, benchmark=name)
            gain = found.gain(curve, epsilon) if epsilon and 0.0 in widths else None
            row.append(gap_text(gain, missing=NOT_APPLICABLE))
            if gain:
                gains.setdefault(merge_label(merge), []).append(gain)
                keys = {"merge": merge_label(merge), "method": "della", "options": options, "benchmark": "avg"}
                table.record(gain, quantity="difference", **keys)
            table.rows.append(row)
    table.notes += detectable_note("Avg minus that of epsilon 0", gains)
    return table
