"""Figures from run records: score against drop rate and against lambda (DELLA, section 4 and Figure 4), pruning curves
(Figure 3), score against epsilon. PNG and PDF, the same bytes for the same records: no dates, no host.

Colours are Okabe and Ito's, told apart by colour-blind readers; every line has a marker of its own besides.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from della.files import write_atomically
from della.outcomes import (
    BENCHMARK_LABELS,
    EXPERT_LABELS,
    FRAME,
    MERGES,
    METHOD_LABELS,
    UNMERGED,
    Run,
    benchmarks_of,
    merge_label,
)
from della.statistics import Estimate
from della.study import Study
from della.tables.epsilon import Epsilons
from della.tables.pruning import VARIANTS, Pruning, benchmark_of

BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#555555"
METHOD_STYLE = {"ta_elect": (GREY, "s"), "dare_elect": (ORANGE, "o"), "ties": (GREEN, "^"), "della": (BLUE, "D")}
VARIANT_STYLE = {
    "dare": (ORANGE, "o"),
    "magnitude row": (BLUE, "D"),
    "magnitude tensor": (RED, "v"),
    "random row": (PURPLE, "P"),
    "random tensor": (GREEN, "^"),
    "proportional row": (GREY, "s"),
}
CURVE_STYLE = ((BLUE, "D"), (ORANGE, "o"), (GREEN, "^"), (RED, "v"), (PURPLE, "P"))
STYLE = {
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.0,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "savefig.dpi": 160,
}
Curve = Mapping[Any, Estimate | None]


def profiles(runs: Sequence[Run], axis: str) -> Mapping[tuple[tuple[str, ...], str], Curve]:
    """Score against one searched option, the other at its best for each value: (merge, method) -> value -> Avg.

    axis: "drop_rate" or "lambda_". runs: those of the search, all on one split. A method without the option has the
    one value None.
    """
    other = {"drop_rate": "lambda_", "lambda_": "drop_rate"}[axis]
    cells: dict[Any, list[Run]] = {}
    for run in runs:
        if run.merge in MERGES and run.method in FRAME and set(benchmarks_of(run.merge)) <= set(run.scores):
            cells.setdefault((run.merge, run.method, run.option(axis), run.option(other)), []).append(run)
    study = Study(cells)
    best: dict[tuple[tuple[str, ...], str], dict] = {}
    for key in sorted(study.cells, key=str):
        found = study.average(key, benchmarks_of(key[0]))
        curve = best.setdefault(key[:2], {})
        if found and (key[2] not in curve or found.value > curve[key[2]].value):
            curve[key[2]] = found
    return best


def line(axes: Axes, curve: Curve, colour: str, marker: str, label: str) -> None:
    """A curve in percent with its 95 % band."""
    found = [(x, y) for x, y in sorted(curve.items()) if y is not None]
    x = [value for value, _ in found]
    axes.fill_between(
        x, [100 * y.low for _, y in found], [100 * y.high for _, y in found], color=colour, alpha=0.13, lw=0
    )
    axes.plot(x, [100 * y.value for _, y in found], color=colour, marker=marker, label=label)


def level(axes: Axes, found: Estimate, colour: str, label: str) -> None:
    """A horizontal line in percent with its 95 % band."""
    axes.axhspan(100 * found.low, 100 * found.high, color=colour, alpha=0.09, lw=0)
    axes.axhline(100 * found.value, color=colour, ls="--", label=label)


def panels(
    titles: Sequence[str],
    xlabel: str,
    ylabels: Sequence[str],
    ticks: Sequence[float],
    draw: Callable[[Axes, int], None],
    names: Sequence[str] | None = None,
) -> Figure:
    """One panel per title, side by side or two by two, with one scale and one legend for all.

    names: what to write at the ticks; None: their numbers.
    """
    count = len(titles)
    columns = count if count < 4 else 2
    rows = -(-count // columns)
    with matplotlib.style.context(["default", STYLE]):
        figure = Figure(figsize=(max(4.6, 3.1 * columns), 2.75 * rows + 0.5), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for index, axes in enumerate(grid.flat):
            if index >= count:
                axes.set_visible(False)
                continue
            draw(axes, index)
            axes.set_title(titles[index], fontsize=10)
            axes.set_ylabel(ylabels[index])
            axes.set_xlabel(xlabel)
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks] if names is None else names)
            axes.tick_params(labelleft=True)
        handles: dict[str, Any] = {}
        for axes in grid.flat[:count]:
            handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
        _legend(figure, handles, 3 * columns)
        figure.set_layout_engine("none")  # laid out once, for both formats
    return figure


def _legend(figure: Figure, handles: Mapping[str, Any], most: int) -> None:
    """A legend below, with as many entries side by side, `most` at most, as fit."""
    for beside in range(min(most, max(len(handles), 1)), 0, -1):
        legend = figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=beside)
        figure.draw_without_rendering()
        if beside == 1 or legend.get_window_extent().width <= figure.bbox.width:
            break
        legend.remove()


def _methods_figure(found: Mapping[tuple, Curve], xlabel: str, split: str) -> Figure | None:
    merges = [merge for merge in MERGES if any(key[0] == merge for key in found)]
    if not merges:
        return None

    def draw(axes: Axes, index: int) -> None:
        for method in FRAME:
            curve = found.get((merges[index], method), {})
            colour, marker = METHOD_STYLE[method]
            if (whole := curve.get(None)) is not None:
                level(axes, whole, colour, METHOD_LABELS[method])
            elif curve:
                line(axes, curve, colour, marker, METHOD_LABELS[method])

    titles = [merge_label(merge) for merge in merges]
    ticks = sorted({x for curve in found.values() for x in curve if x is not None})
    return panels(titles, xlabel, [f"Avg on {split} prompts (%)"] * len(titles), ticks, draw)


def drop_rate_figure(runs: Sequence[Run], split: str) -> Figure | None:
    """Score against drop rate, each method at its best lambda for each rate; TA, which drops nothing, is a level."""
    return _methods_figure(profiles(runs, "drop_rate"), "drop rate $p$, each at its best $\\lambda$", split)


def lambda_figure(runs: Sequence[Run], split: str) -> Figure | None:
    """Score against lambda, each method at its best drop rate for each lambda."""
    return _methods_figure(profiles(runs, "lambda_"), "$\\lambda$, each at its best drop rate", split)


def pruning_figure(found: Pruning) -> Figure:
    """One panel per expert: its score by drop rate and pruning, the unpruned expert as a level."""

    def draw(axes: Axes, index: int) -> None:
        expert = found.experts[index]
        whole = found.score(expert, UNMERGED, 0.0)
        if whole is not None:
            level(axes, whole, GREY, "not pruned")
        for variant in found.variants:
            curve = {p: score for p in found.drop_rates if (score := found.score(expert, variant, p))}
            if curve:
                line(axes, curve, *VARIANT_STYLE[variant], VARIANTS[variant])

    titles = [f"{EXPERT_LABELS[name]} expert" for name in found.experts]
    ylabels = [f"{BENCHMARK_LABELS[benchmark_of(name)]} (%)" for name in found.experts]
    ticks = [p for p in found.drop_rates if round(p, 1) == p]  # those above 0.9 stand too close for labels
    return panels(titles, "drop rate $p$", ylabels, ticks, draw)


def epsilon_figure(found: Epsilons) -> Figure | None:
    """One panel per merge: score by epsilon, one line per drop rate and lambda."""
    merges = list(dict.fromkeys(merge for merge, _, _ in found.curves))
    if not merges:
        return None
    rates = sorted({curve[1:] for curve in found.curves})
    lambdas = {lambda_ for _, lambda_ in rates}

    def draw(axes: Axes, index: int) -> None:
        for order, (p, lambda_) in enumerate(rates):
            widths = found.curves.get((merges[index], p, lambda_), [])
            label = f"$p$ = {p:g}" + (f", $\\lambda$ = {lambda_:g}" if len(lambdas) > 1 else "")
            if widths:
                curve = {epsilon: found.average((merges[index], p, lambda_), epsilon) for epsilon in widths}
                line(axes, curve, *CURVE_STYLE[order % len(CURVE_STYLE)], label)

    titles = [f"{merge_label(merge)}{' alone' if len(merge) == 1 else ''}" for merge in merges]
    ylabels = [
        "Avg on test prompts (%)" if len(m) > 1 else f"{BENCHMARK_LABELS[benchmarks_of(m)[0]]} (%)" for m in merges
    ]
    ticks = sorted({epsilon for widths in found.curves.values() for epsilon in widths if round(epsilon, 1) == epsilon})
    return panels(titles, "window width $\\epsilon$ (0: DARE)", ylabels, ticks, draw)


def write_figure(figure: Figure, out: Path, name: str, source: str) -> list[Path]:
    """Writes `<name>.png` and `.pdf` with `source` as their description and nothing that changes from day to day."""
    metadata = {
        "png": {"Software": None, "Description": source},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None, "Subject": source},
    }
    paths = []
    with matplotlib.style.context(["default", STYLE]):
        for ending, about in metadata.items():
            data = io.BytesIO()
            figure.savefig(data, format=ending, metadata=about)
            paths.append(out / f"{name}.{ending}")
            write_atomically(paths[-1], data.getvalue())
    return paths
