"""A sweep that has run, predicted from a few of its runs: the time model beside what was measured.

    python -m scripts.plan sweep=seeds experts=tiny compare=true calibrate=10

The model sees the first run of each worker, `calibrate` others spread evenly over the sweep, and nothing else; with
calibrate_on=OTHER it sees the records of another sweep instead. What it says of the remaining runs is compared with
their seconds, and the schedule of all runs with the time from the start of the first worker to the last record.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from della.errors import InputError
from della.record import load_records
from scripts.planning.clock import schedule
from scripts.planning.measured import STEPS, Pace, Record, begun, ended, first_runs, process_of, size_of, usable
from scripts.planning.page import hours, table
from scripts.schema import SweepPlanConfig

PROMISED = 0.25  # of the measured time


def compare(config: SweepPlanConfig) -> dict[str, Any]:
    """Predicted and measured times of a sweep, as JSON can hold them.

    Raises InputError where its records, or those to calibrate on, don't say what their parts took.
    """
    if config.sweep.arms:
        raise InputError(
            f"sweep={config.sweep.name}: trials stopped early leave no record to compare; name another sweep"
        )
    records = load_records(Path(config.paths.work) / "records")
    runs = invocation_of(records, config, config.sweep.name)
    if config.calibrate_on:
        seen, firsts = invocation_of(records, config, config.calibrate_on), first_runs(runs)
        rest = [record for record in runs if record["identity"] not in firsts]
    else:
        seen, rest = spread(runs, config.calibrate)
    if not rest:
        raise InputError(
            f"sweep {config.sweep.name}: {len(runs)} runs were recorded, too few to predict some from others"
        )
    pace = Pace(seen)
    unknown = sorted({name for r in rest for name in size_of(r) if (name, "generate") not in pace.lines})
    if unknown:
        raise InputError(
            f"no run to calibrate on was evaluated on {', '.join(unknown)}: raise calibrate, or name another"
        )
    predicted, measured = parts_of(rest, pace), measured_parts(rest)
    half = pace.half_width(len(rest))
    total, took = sum(predicted.values()), sum(measured.values())
    wall, clock = wall_of(runs), clock_of(runs, pace)
    return {
        "sweep": config.sweep.name,
        "family": config.experts.family,
        "calibrated_on": {"sweep": config.calibrate_on or config.sweep.name, "runs": len(seen)},
        "runs": len(runs),
        "workers": len({process_of(record) for record in runs}),
        "rest": {
            "runs": len(rest),
            "predicted": total,
            "interval": [max(0.0, total - half), total + half],
            "measured": took,
        },
        "parts": {name: {"predicted": predicted[name], "measured": measured[name]} for name in predicted},
        "wall": {"predicted": clock, "measured": wall},
        "within": abs(clock / wall - 1) <= PROMISED and abs(total / took - 1) <= PROMISED,
    }


def invocation_of(records: Sequence[Record], config: SweepPlanConfig, sweep: str) -> list[Record]:
    """The largest set of runs that one command made of a sweep, in the order in which they began."""
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        facts = record["provenance"]
        if usable(record) and facts.get("sweep") == sweep and record["config"]["family"] == config.experts.family:
            groups[str(facts.get("invocation"))].append(record)
    if not groups:
        raise InputError(
            f"sweep {sweep}, family {config.experts.family}: no record in {config.paths.work}/records says what its "
            "parts took; run the sweep"
        )
    largest = max(groups.values(), key=len)
    return sorted(largest, key=begun)


def spread(runs: Sequence[Record], count: int) -> tuple[list[Record], list[Record]]:
    """The first run of each worker and `count` others, evenly spread; and the rest."""
    firsts = first_runs(runs)
    others = [record for record in runs if record["identity"] not in firsts]
    step = len(others) / count
    picked = {others[int((i + 0.5) * step)]["identity"] for i in range(count)} if len(others) > count else set()
    seen = [record for record in runs if record["identity"] in firsts or record["identity"] in picked]
    return seen, [record for record in others if record["identity"] not in picked] if picked else []


def parts_of(runs: Sequence[Record], pace: Pace) -> dict[str, float]:
    """Predicted seconds of each part, of all runs together, pauses between runs left out."""
    out: dict[str, float] = defaultdict(float)
    for record in runs:
        method, merge = record["config"]["method"]["name"], record["config"]["merge"]
        for name, seconds in pace.parts(method, len(merge), size_of(record)).items():
            out[name] += seconds - (pace.gap if name == "other" else 0.0)
    return dict(out)


def measured_parts(runs: Sequence[Record]) -> dict[str, float]:
    """What the same parts took."""
    out: dict[str, float] = defaultdict(float)
    for record in runs:
        parts = record["provenance"]["parts"]
        for name in ("merge", "swap"):
            out[name] += parts[name]
        for step in STEPS:
            out[step] += sum(parts[name][step] for name in size_of(record))
    out["other"] = sum(record["provenance"]["seconds"] for record in runs) - sum(out.values())
    return dict(out)


def wall_of(runs: Sequence[Record]) -> float:
    """Seconds from the start of the first worker's process to the end of the last run."""
    starts = [begun(record) - record["provenance"]["parts"].get("boot", 0.0) for record in runs]
    return max(map(ended, runs)) - min(starts)


def clock_of(runs: Sequence[Record], pace: Pace) -> float:
    """The wall-clock time that the model gives to all runs on as many workers."""
    timed = []
    for record in runs:
        parts = pace.parts(record["config"]["method"]["name"], len(record["config"]["merge"]), size_of(record))
        timed.append((record["config"]["family_seed"], sum(parts.values())))
    timed.sort(key=lambda run: run[0] or 0)  # a sweep's runs are in the order of their families
    return schedule([timed], len({process_of(record) for record in runs}), pace.start, pace.switch).wall


def text(facts: Mapping[str, Any]) -> str:
    """For a terminal."""
    rest, wall = facts["rest"], facts["wall"]
    rows = [("", "predicted", "measured", "predicted / measured")]
    for name, both in (*facts["parts"].items(), (f"{rest['runs']} runs", rest), ("wall-clock, all runs", wall)):
        ratio = both["predicted"] / both["measured"] if both["measured"] else float("nan")
        rows.append((name, hours(both["predicted"]), hours(both["measured"]), f"{ratio:.3f}"))
    low, high = (hours(value) for value in rest["interval"])
    seen = facts["calibrated_on"]
    return "\n".join(
        [
            f"sweep {facts['sweep']}, family {facts['family']}: {facts['runs']} runs, workers: {facts['workers']}; "
            f"predicted from {seen['runs']} runs of {seen['sweep']}",
            table(rows),
            f"95 % interval of the {rest['runs']} runs: {low} to {high}",
            f"within {100 * PROMISED:.0f} %: {'yes' if facts['within'] else 'no'}",
        ]
    )
