"""Pruning one expert without a merge (DELLA, Table 6 and Figure 3): DARE against MAGPRUNE at equal drop rates."""

from collections.abc import Sequence
from dataclasses import dataclass

from della.outcomes import EXPERT_BENCHMARK, EXPERT_LABELS, UNMERGED, Run, benchmarks_of, merge_label, merge_order
from della.selection import defaults
from della.statistics import Estimate
from della.study import Study
from della.tables.detectable import detectable_note
from della.tables.published import Published
from della.tables.render import NOT_APPLICABLE, NOT_RUN, Table, gap_text, options_text, score_text, signed

VARIANTS = {
    "dare": "DARE",
    "magnitude row": "MAGPRUNE, row",
    "magnitude tensor": "MAGPRUNE, tensor",
    "random row": "random rank, row",
    "random tensor": "random rank, tensor",
    "proportional row": "proportional, row",
}
MAGPRUNE = "magnitude row"


@dataclass(frozen=True)
class Pruning:
    """The study behind the table and the figure: cells (expert, variant, drop rate), (expert, "unmerged", 0.0).

    epsilons: MAGPRUNE's at each drop rate that it ran at.
    """

    study: Study
    experts: list[str]
    variants: list[str]
    drop_rates: list[float]
    epsilons: dict[float, float]

    @property
    def epsilon(self) -> float:
        """That of most drop rates (then the smallest)."""
        found = list(self.epsilons.values())
        return min(found, key=lambda epsilon: (-found.count(epsilon), epsilon))

    @property
    def epsilon_note(self) -> str:
        """`MAGPRUNE: epsilon 0.14; 0.1 at drop rate 0.93, 0.94.`"""
        others: dict[float, list[float]] = {}
        for rate, epsilon in sorted(self.epsilons.items()):
            if epsilon != self.epsilon:
                others.setdefault(epsilon, []).append(rate)
        more = [f"; {e:g} at drop rate {', '.join(f'{p:g}' for p in rates)}" for e, rates in sorted(others.items())]
        return f"MAGPRUNE: epsilon {self.epsilon:g}{''.join(more)}."

    def rates_of(self, expert: str) -> list[float]:
        """The drop rates that an expert ran at."""
        return [p for p in self.drop_rates if any((expert, name, p) in self.study.cells for name in self.variants)]

    def score(self, expert: str, variant: str, drop_rate: float) -> Estimate | None:
        """A pruned expert's score on its own benchmark."""
        return self.study.score((expert, variant, drop_rate), benchmark_of(expert))

    def gain(self, expert: str, drop_rates: Sequence[float]) -> Estimate | None:
        """MAGPRUNE (row) minus DARE, mean over drop rates."""
        own, share = benchmark_of(expert), 1 / len(drop_rates)
        terms = {((expert, MAGPRUNE, p), own): share for p in drop_rates}
        return self.study.estimate(terms | {((expert, "dare", p), own): -share for p in drop_rates})


def benchmark_of(expert: str) -> str:
    """An expert's own benchmark."""
    return EXPERT_BENCHMARK[expert]


def _variant(run: Run) -> str | None:
    """The name of a run's pruning, or None where it is not one that the table compares (no rescale, other lambda)."""
    usual = defaults(run.method)
    changed = {name for name, value in run.options if value != usual.get(name)}
    if changed - {"drop_rate", "epsilon", "rank_by", "rank_over"} or run.option("lambda_", 1.0) != 1.0:
        return None
    return "dare" if run.method == "dare" else f"{run.option('rank_by')} {run.option('rank_over')}"


def pruning_study(runs: Sequence[Run]) -> Pruning | None:
    """Collects the test runs of pruned single experts; None without both DARE and MAGPRUNE.

    Of several epsilons, that with most drop rates is shown (then the smallest), and at a drop rate without it the next:
    `della.tables.epsilon` has the others.
    """
    alone = [r for r in runs if r.split == "test" and len(r.merge) == 1 and r.merge[0] in EXPERT_BENCHMARK]
    alone = [r for r in alone if set(benchmarks_of(r.merge)) <= set(r.scores)]
    pruned = [run for run in alone if run.method in ("dare", "della") and _variant(run)]
    if not {"dare", "della"} <= {run.method for run in pruned}:
        return None
    rates: dict[float, set] = {}
    for run in pruned:
        if run.method == "della":
            rates.setdefault(float(run.option("epsilon")), set()).add(run.option("drop_rate"))  # type: ignore[arg-type]
    order = sorted(rates, key=lambda e: (-len(rates[e]), e))
    epsilons = {float(p): next(e for e in order if p in rates[e]) for p in set().union(*rates.values())}
    cells: dict[tuple[str, str, float], list[Run]] = {}
    for run in pruned:
        drop_rate = float(run.option("drop_rate"))  # type: ignore[arg-type]
        if run.method == "dare" or run.option("epsilon") == epsilons[drop_rate]:
            cells.setdefault((run.merge[0], _variant(run) or "", drop_rate), []).append(run)
    experts = sorted({key[0] for key in cells}, key=lambda name: merge_order([name]))
    variants = [name for name in VARIANTS if any(key[1] == name for key in cells)]
    drop_rates = sorted({key[2] for key in cells})
    for run in alone:
        if run.method == UNMERGED and run.merge[0] in experts:
            cells.setdefault((run.merge[0], UNMERGED, 0.0), []).append(run)
    return Pruning(Study(cells), experts, variants, drop_rates, epsilons)


def pruning_table(found: Pruning, rows: Sequence[Published], notes: Sequence[str]) -> Table:
    """Each expert alone: its score by drop rate and pruning, and MAGPRUNE minus DARE, paired."""
    header = ["Expert", "drop rate", *(VARIANTS[name] for name in found.variants)]
    title = "Pruning one expert, no merge: score on its own benchmark"
    table = Table("pruning", title, [*header, "MAGPRUNE - DARE", "paper (math)"], labels=2, notes=list(notes))
    printed = _paper_gains(rows)
    for expert in found.experts:
        table.rule()
        whole = found.score(expert, UNMERGED, 0.0)
        label = EXPERT_LABELS[expert]
        blank = [NOT_APPLICABLE] * (len(found.variants) + 1)
        table.rows.append([label, "none", score_text(whole), *blank])
        table.record(whole, merge=label, method=UNMERGED, benchmark=benchmark_of(expert))
        tried = _tried(found, expert)
        for p in found.rates_of(expert):
            row = [label, f"{p:g}"]
            for variant in found.variants:
                if variant not in tried:
                    row.append(NOT_APPLICABLE)
                    continue
                cell = found.score(expert, variant, p)
                row.append(score_text(cell))
                runs = found.study.cells.get((expert, variant, p), [])
                options = options_text(dict(runs[0].options)) if runs else f"drop_rate={p}"
                keys = {"merge": label, "method": variant, "options": options, "benchmark": benchmark_of(expert)}
                table.record(cell, **keys)
            table.rows.append([*row, *_gain(table, found, expert, [p], f"{p:g}", printed)])
        blank = [NOT_APPLICABLE] * len(found.variants)
        row = [label, "mean", *blank, *_gain(table, found, expert, found.rates_of(expert), "mean", printed)]
        table.rows.append(row)
    table.notes += _detectable(found)
    return table


def pruning_summary(found: Pruning, rows: Sequence[Published], notes: Sequence[str]) -> Table:
    """MAGPRUNE (row) minus DARE alone: one row per drop rate, one column per expert."""
    header = ["drop rate", *(EXPERT_LABELS[expert] for expert in found.experts), "paper (math)"]
    title = "MAGPRUNE (row) minus DARE on single experts, percentage points"
    table = Table("pruning_summary", title, header, notes=list(notes))
    printed = _paper_gains(rows)
    for label, rates in [*((f"{p:g}", [p]) for p in found.drop_rates), ("mean", found.drop_rates)]:
        if label == "mean":
            table.rule()
        ours = [_summary(table, found, expert, rates, label) for expert in found.experts]
        table.rows.append([label, *ours, signed(printed[label]) if label in printed else NOT_APPLICABLE])
    table.notes += _detectable(found)
    return table


def _tried(found: Pruning, expert: str) -> set[str]:
    """The variants that an expert ran with, at whatever drop rate; the others are not in the sweep."""
    return {"dare", MAGPRUNE, *(variant for name, variant, _ in found.study.cells if name == expert)}


def _summary(table: Table, found: Pruning, expert: str, rates: Sequence[float], label: str) -> str:
    """A cell of the short form; `-` at drop rates that the sweep leaves out for an expert."""
    own = [p for p in rates if p in found.rates_of(expert)]
    return _gain(table, found, expert, own, label, {})[0] if own else NOT_APPLICABLE


def _detectable(found: Pruning) -> list[str]:
    gains = {
        EXPERT_LABELS[expert]: [found.gain(expert, [p]) for p in found.rates_of(expert)] for expert in found.experts
    }
    return detectable_note("MAGPRUNE - DARE at one drop rate", gains)


def _gain(
    table: Table, found: Pruning, expert: str, rates: Sequence[float], label: str, printed: dict[str, float]
) -> list[str]:
    """The two last cells of a row: our paired difference and the paper's, which is of the Math expert alone."""
    gain = found.gain(expert, rates)
    published = printed.get(label) if expert == "math" else None
    table.record(
        gain,
        quantity="difference",
        merge=merge_label([expert]),
        method="MAGPRUNE row - DARE",
        options=f"drop_rate={label}",
        benchmark=benchmark_of(expert),
        published="" if published is None else published,
    )
    ours = NOT_RUN if gain is None else f"{gap_text(gain)} n={gain.n}x{gain.seeds[1]}"
    return [ours, NOT_APPLICABLE if published is None else signed(published)]


def _paper_gains(rows: Sequence[Published]) -> dict[str, float]:
    """MAGPRUNE (row) minus DARE in the paper's Table 6, percentage points, by drop rate."""
    cells = {(r.method, r.variant, r.drop_rate): r.value for r in rows if r.table == "6" and r.value is not None}
    gains = {p: 100 * (v - cells["dare", "", p]) for (_, variant, p), v in cells.items() if variant == "magnitude,row"}
    return gains
