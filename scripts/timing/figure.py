"""The figures of a bench: time and peak memory against model size and against the number of experts."""

from collections.abc import Sequence

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from della.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, STYLE
from scripts.timing.jobs import COPY, EXPERTS, OURS, START, Job
from scripts.timing.models import parameters_of
from scripts.timing.results import Results, Value, peak, wall

COLOURS = dict(zip(OURS, (PURPLE, ORANGE, GREEN, RED, BLUE), strict=True))
TOOLS = {"ours": ("-", "o"), "mergekit": ("--", "s")}
PANELS: tuple[tuple[str, Value, float], ...] = (
    ("wall time of the process (s)", wall, 1.0),
    ("peak private memory (GB)", peak, 1e-9),
)


def size_figure(results: Results) -> Figure | None:
    """Against the parameters of the model, three experts; None if nothing was measured."""
    sizes = [size for size in results.sizes(EXPERTS) if size != START]
    cases = [case for case in OURS if any(case in results.cases(size, EXPERTS, "ours") for size in sizes)]
    places = [(parameters_of(size), size, EXPERTS) for size in sizes]
    return _figure(results, cases, places, "parameters", lambda x, _: f"{x / 1e9:.2g} B") if cases else None


def experts_figure(results: Results) -> Figure | None:
    """Against the number of experts, at the size that was merged with most numbers; None if there is only one."""
    size = max((job.size for job in results.of), key=lambda size: len(results.counts(size)), default=START)
    counts = results.counts(size)
    if len(counts) < 2:
        return None
    measured = {case for count in counts if count != EXPERTS for case in results.cases(size, count, "ours")}
    places = [(float(count), size, count) for count in counts]
    label = f"experts, {parameters_of(size) / 1e9:.2g} billion parameters each"
    return _figure(results, [case for case in OURS if case in measured], places, label, lambda x, _: f"{x:g}")


def _figure(
    results: Results,
    cases: Sequence[str],
    places: Sequence[tuple[float, float, int]],
    xlabel: str,
    write,
) -> Figure:
    """Two panels with one legend; places are (x, size, experts)."""
    with matplotlib.style.context(["default", STYLE]):
        figure = Figure(figsize=(8.2, 4.1), layout="constrained")
        for axes, (ylabel, value, scale) in zip(figure.subplots(1, 2), PANELS, strict=True):
            for case in cases:
                for tool, (line, marker) in TOOLS.items():
                    jobs = [(x, Job(size, experts, case, tool, 1)) for x, size, experts in places]
                    _line(
                        axes,
                        results,
                        jobs,
                        value,
                        scale,
                        ls=line,
                        marker=marker,
                        color=COLOURS[case],
                        label=f"{case}, {tool}",
                    )
            if value is wall:
                jobs = [(x, Job(size, experts, COPY, "floor", 1)) for x, size, experts in places]
                _line(axes, results, jobs, value, scale, ls=":", marker="x", color=GREY, label="copying the files")
            _scale(axes, [x for x, _, _ in places], xlabel, ylabel, write)
        handles = dict(zip(*reversed(figure.axes[0].get_legend_handles_labels()), strict=True))
        figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=4, fontsize=8)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once, for both formats
    return figure


def _line(axes: Axes, results: Results, jobs: Sequence[tuple[float, Job]], value: Value, scale: float, **style) -> None:
    found = [(x, y * scale) for x, job in jobs if (y := results.median(job, value)) is not None]
    if found:
        axes.plot(*zip(*found, strict=True), **style)


def _scale(axes: Axes, ticks: Sequence[float], xlabel: str, ylabel: str, write) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(ticks)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(write))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
