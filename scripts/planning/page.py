"""The plan of a sweep as one page for a terminal: runs, time, disk, judges, and every number taken for granted."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from della.plan_text import size

TITLES = {
    "merge": "merging",
    "swap": "into the engine, compared",
    "generate": "generating",
    "score": "scoring",
    "judge": "waiting for judges",
    "other": "the rest",
}
SEARCHED = """
a search's trials are counted whole, or by its budget; stopped early they ask less (results/tiny/search_savings)"""


def page(facts: Mapping[str, Any]) -> str:
    """All of it."""
    parts = [
        _head(facts),
        _runs(facts),
        _benchmarks(facts["benchmarks"]),
        _time(facts),
        _space(facts),
        _judges(facts["judges"]),
        _assumptions(facts["assumptions"]),
    ]
    return "\n\n".join(part for part in parts if part)


def _head(facts: Mapping[str, Any]) -> str:
    model, gpus = facts["model"], facts["gpus_per_worker"]
    what = f"{amount(model['parameters'])} parameters, {model['source']}" if model else "models of unknown size"
    card = f"; each worker {gpus} x {facts['gpu']}" if facts["gpu"] else ""
    engine = facts["engine"]
    chosen = "on the test prompts" if facts["select"] == "test" else "on development prompts"
    return (
        f"sweep {facts['sweep']}, family {facts['family']} ({what}){card}; {engine['name']} {engine['dtype']}\n"
        f"hyperparameters chosen {chosen}; the runs after the choice are counted at most"
        f"{SEARCHED if facts['searches'] else ''}"
    )


def _runs(facts: Mapping[str, Any]) -> str:
    names = ("runs", "merges", "evaluations", "prompts", "prompt_tokens", "answer_tokens", "answer_tokens_at_most")
    rows = [("stage", *names[:4], "prompt tokens", "answer tokens", "at their limits")]
    for title, found in (*facts["stages"].items(), ("all", facts["all"])):
        rows.append((title, *(count(found[name]) for name in names)))
    return table(rows)


def _benchmarks(found: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [("benchmark", "prompts of its splits", "tokens of a prompt", "of an answer", "limit")]
    for name, text in found.items():
        splits = ", ".join(f"{split} {number:,}" for split, number in text["documents"].items()) or "not known"
        rows.append((name, splits, f"{text['prompt']:.0f}", f"{text['answer']:.0f}", str(text["limit"])))
    return table(rows)


def _time(facts: Mapping[str, Any]) -> str:
    time = facts["time"]
    if time is None:
        return (
            "time: not known. No record of this family and engine says what its parts took: run a few points of the "
            "sweep and plan again, or name a card (gpu=)"
        )
    rows = [("part", "one worker alone", "share")]
    for name, seconds in time["parts"].items():
        if seconds:
            rows.append((TITLES[name], hours(seconds), f"{100 * seconds / time['seconds']:.0f} %"))
    rows.append(("all runs", hours(time["seconds"]), ""))
    ranges = []
    if time["interval"]:
        low, high = (hours(value) for value in time["interval"])
        ranges.append(f"95 % interval from the spread of single runs: {low} to {high}")
    if time["at_most"]:
        ranges.append(f"if every answer ran to its limit: {hours(time['at_most'])}")
    unit = "GPU-hours" if facts["gpu"] else "worker-hours"
    clocks = [("workers", "wall-clock", unit, "engines started")]
    for workers, clock in time["workers"].items():
        spent = clock["gpu_hours"] if facts["gpu"] else clock["worker_hours"]
        clocks.append((str(workers), hours(clock["wall"]), f"{spent:,.3g}", str(clock["starts"])))
    return "\n".join([f"time: {time['source']}", table(rows), *ranges, "", table(clocks)])


def _space(facts: Mapping[str, Any]) -> str:
    rows = [("disk", "")] + [(name, size(value)) for name, value in facts["disk"].items()]
    rows.append(("all", size(sum(facts["disk"].values()))))
    if facts["memory"]:
        rows.append(("memory: a merge in each worker", size(facts["memory"]["one merge"])))
        rows.append(("memory: models, read once, kept in the page cache", size(facts["memory"]["models, mapped"])))
    return table(rows)


def _judges(asked: Sequence[Mapping[str, Any]]) -> str:
    if not asked:
        return "judges: nothing is paid"
    rows = [("judge", "model", "stage", "verdicts", "tokens sent", "tokens answered", "cost")]
    for one in asked:
        cost = "unknown" if one["cost"] is None else f"{one['cost']:,.0f}"
        numbers = (count(one[name]) for name in ("verdicts", "tokens_in", "tokens_out"))
        rows.append((one["judge"], str(one["model"]), one["stage"], *numbers, cost))
    if all(one["cost"] is not None for one in asked):
        rows.append(("all", "", "", "", "", "", f"{sum(one['cost'] for one in asked):,.0f}"))
    return table(rows, left=(0, 1, 2))


def _assumptions(found: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [("taken for granted (assume.NAME=VALUE)", "value", "", "from")]
    rows += [(name, number(row["value"]), row["unit"], row["source"]) for name, row in found.items()]
    return table(rows, left=(0, 2, 3))


def amount(parameters: int) -> str:
    """A model's size in words."""
    return f"{parameters / 1e9:.3g} billion" if parameters >= 1e9 else f"{parameters / 1e6:.3g} million"


def number(value: float) -> str:
    """Three digits, no exponent."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def count(value: float) -> str:
    """A number of things; millions and more are rounded to three digits."""
    for limit, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M")):
        if value >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:,.0f}"


def hours(seconds: float) -> str:
    """Seconds, minutes or hours, to three digits or the unit."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 6000 else f"{seconds / 3600:,.3g} h"


def table(rows: Sequence[Sequence[str]], left: Iterable[int] = (0,)) -> str:
    """Rows of the same length in aligned columns, the first row on top; other columns than `left` are set right."""
    left = set(left)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
