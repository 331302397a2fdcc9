"""The figure of the engines' bench: answers per second against how many are generated at a time."""

import matplotlib.style
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from della.figures import BLUE, ORANGE, STYLE
from scripts.timing.engine_jobs import THROUGHPUT, EngineJob, parameters
from scripts.timing.engine_settings import ENGINES
from scripts.timing.results import Results, inner

LOOK = {"vllm": (BLUE, "-", "o"), "hf": (ORANGE, "--", "s")}


def throughput_figure(results: Results) -> Figure | None:
    """One panel per model; None if nothing was measured."""
    jobs = [job for job in results.of if job.case == THROUGHPUT]
    models = list(dict.fromkeys(job.model for job in jobs))
    if not models:
        return None
    with matplotlib.style.context(["default", STYLE]):
        figure = Figure(figsize=(4.1 * len(models), 3.4), layout="constrained")
        for axes, model in zip(figure.subplots(1, len(models), squeeze=False)[0], models, strict=True):
            batches = sorted({job.batch for job in jobs if job.model == model})
            for engine in ENGINES:
                colour, line, marker = LOOK[engine]
                places = [(b, EngineJob(model, THROUGHPUT, b, engine, 1)) for b in batches]
                medians = [(b, results.median(job, inner("prompts_per_s"))) for b, job in places]
                points = [(b, value) for b, value in medians if value is not None]
                if points:
                    axes.plot(*zip(*points, strict=True), ls=line, marker=marker, color=colour, label=engine)
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
            axes.set_xticks(batches)
            axes.xaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_minor_locator(NullLocator())
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.set_title(parameters(model))
            axes.set_xlabel("answers generated at a time")
            axes.set_ylabel("prompts per second")
            axes.legend()
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once, for both formats
    return figure
