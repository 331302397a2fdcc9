"""How far a sweep is: done, running (where, since when), failed (why), pending, and the time left.

    python -m scripts.status sweep=main_table
    python -m scripts.status sweep=drop_rate experts=wizard_13b watch=true
    python -m scripts.status sweep=main_table json=true

For sweeps on this machine and on a cluster, from any machine that sees paths.work. Its arguments are those of the
sweep. The time left is the median of the runs so far, times those that are pending, shared by the workers that are
there. Of a sweep that searches: trials, the best so far, the winners' runs. Exit code 1 if runs have failed. It loads
no model and makes no family.
"""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from della.errors import InputError
from della.plan_text import duration
from scripts.door import RunsFailed, door
from scripts.progress import Progress, StageProgress, Survey
from scripts.schema import RunConfig, StatusConfig

WATCH_SECONDS = 10.0
SHOWN = 20  # running and failed runs; JSON has all


def text(found: Progress) -> str:
    """What a person reads."""
    runs, done = found.count("runs"), found.count("done")
    share = f"{100 * done / runs:.0f} %" if runs else "nothing to do"
    counts = f"{found.count('running')} running, {len(found.failed)} failed, {found.count('pending')} pending"
    parts = [
        f"sweep {found.sweep}, experts {found.experts}: {done} of {runs} runs done ({share}), {counts}; {rest(found)}"
    ]
    titles = ["stage", "runs", "done", "running", "failed", "pending", "median"]
    parts.append(table([titles, *(row(stage) for stage in found.stages)], right=range(1, 7)))
    now = time.time()
    running = [run for stage in found.stages for run in stage.running]
    if running:
        rows = [[run.label, where(run.holder), since(run.holder, now)] for run in running[:SHOWN]]
        parts.append(table([["running", "where", "for"], *rows], right=[2]) + more(running))
    if found.failed:
        lines = [f"  {run.identity}  {run.label}\n      {run.reason}" for run in found.failed[:SHOWN]]
        parts.append("\n".join(["failed; the next invocation tries them again", *lines]) + more(found.failed))
    for jobs in found.jobs:
        said = jobs.submission
        states = ", ".join(f"{count} {state.lower()}" for state, count in sorted((jobs.states or {}).items()))
        parts.append(f"job {said.job} on {said.cluster}: {states or 'cannot be asked from here'}; logs {said.folder}")
    return "\n\n".join(parts)


def rest(found: Progress) -> str:
    """The time left, or why it is not known."""
    if not found.count("pending") and not found.count("running"):
        return "failed runs are left" if found.failed else "complete"
    if not found.workers:
        return "no worker is at it: the sweep's command goes on with it"
    workers = f"{found.workers} worker{'s' if found.workers > 1 else ''}"
    return f"no run measured yet, {workers}" if found.left is None else f"about {duration(found.left)} left, {workers}"


def row(stage: StageProgress) -> list[str]:
    """A stage's line."""
    median = (
        "-" if stage.seconds is None else f"{stage.seconds:.1f} s" if stage.seconds < 10 else duration(stage.seconds)
    )
    counts = [stage.runs, stage.done, len(stage.running), len(stage.failed), stage.pending]
    return [stage.name if stage.known else f"{stage.name} (not chosen yet)", *map(str, counts), median]


def where(holder: Any) -> str:
    """Host and job, or host and process."""
    return f"{holder.host} job {holder.job['job']}" if holder.job else f"{holder.host} process {holder.pid}"


def since(holder: Any, now: float) -> str:
    """How long a run has been in a worker's hands."""
    return "-" if holder.since is None else duration(max(0.0, now - holder.since))


def more(runs: Sequence[object]) -> str:
    """A line for those that are not shown."""
    return f"\n  and {len(runs) - SHOWN} more" if len(runs) > SHOWN else ""


def table(rows: list[list[str]], right: Sequence[int] | range = ()) -> str:
    """Aligned columns, two blanks apart."""
    widths = [max(len(cells[at]) for cells in rows) for at in range(len(rows[0]))]
    lines = [
        [
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        for cells in rows
    ]
    return "\n".join("  ".join(line).rstrip() for line in lines)


def as_json(found: Progress) -> str:
    """Every run that runs or failed, and the counts of the others."""
    counts = {what: found.count(what) for what in ("runs", "done", "running", "failed", "pending")}
    stages = [asdict(stage) for stage in found.stages]
    jobs = [asdict(jobs) for jobs in found.jobs]
    facts = {"sweep": found.sweep, "experts": found.experts, **counts, "workers": found.workers}
    return json.dumps({**facts, "seconds_left": found.left, "stages": stages, "jobs": jobs}, indent=1)


def show(config: RunConfig) -> None:
    """Prints how far a sweep is whose jobs have ended. Raises RunsFailed unless every run is done."""
    found = Survey(config).look()
    print(text(found), flush=True)
    if found.failed:
        raise RunsFailed(f"{len(found.failed)} runs, tried again by the next invocation: {found.failed[0].reason}")
    if found.count("done") < found.count("runs"):
        raise RunsFailed(f"{found.count('runs') - found.count('done')} runs are left and no job: see the jobs' logs")


def searched(config: StatusConfig) -> int:
    """Prints how far a sweep that searches is; returns how many trials and winners' runs failed."""
    from scripts.searching.progress import show_search  # imports optuna

    if config.watch or config.json:
        raise InputError(f"sweep={config.sweep.name} searches: watch and json are for sweeps of grids; leave them out")
    return show_search(config)[0]


@door("status")
def main(config: StatusConfig) -> None:
    if config.sweep.arms:
        sys.exit(min(1, searched(config)))
    survey = Survey(config)
    while True:
        found = survey.look()
        if config.watch and sys.stdout.isatty():
            print("\033[H\033[2J", end="")
        print(as_json(found) if config.json else text(found), flush=True)
        if not config.watch or not (found.count("pending") or found.count("running")):
            break
        time.sleep(WATCH_SECONDS)
    if found.failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
