"""What stopping trials early saves: searches through a grid, replayed, beside the whole grid.

    python -m scripts.study_savings sweep=search_savings             # runs what is missing, then prints the tables
    python -m scripts.study_savings sweep=search_savings publish=true

Every point of the grid is evaluated on all dev prompts, with each case's mask seed (records, as of any sweep: it can be
stopped, and goes on). The searches are then replayed on these scores, which are what a search asking the same prompts
would get (checked for every winner: its prompts are asked again, part by part), and where the winners differ both are
run on the test split with the sweep's mask seeds. The rule's settings were chosen on the committed records of training
seed 0 (`rules`), which none of the cases uses.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from della.compact import read_compact
from della.errors import InputError
from della.files import canonical, write_atomically
from della.outcomes import read_runs
from della.record import find_done
from della.search.order import by_benchmark, interleaved, parts
from della.search.replay import grid_winner, paired_loss, replay
from della.search.stopping import Scores
from scripts.door import door
from scripts.points import Point
from scripts.report import commits_of
from scripts.schema import CONFIGS, ReportConfig
from scripts.searching.run import Task, tasks
from scripts.searching.space import winners_points
from scripts.searching.trial import Asked
from scripts.session import Session
from scripts.shift import Shift
from scripts.sweep import Stage, die_with_parent, summarise, work

TUNING = CONFIGS.parent / "results" / "tiny" / "main_table.jsonl"
# Rule, risk, whether the grid is screened.
TRIED = (
    *(("paired", risk, True) for risk in (0.005, 0.01, 0.02, 0.05)),
    *(("wilcoxon", risk, True) for risk in (0.05, 0.1)),
    *(("mcnemar", risk, True) for risk in (0.01, 0.02, 0.05)),
    *(("anytime", risk, True) for risk in (0.05, 0.1, 0.2)),
    ("certain", 0.01, True),
    ("paired", 0.01, False),
    ("wilcoxon", 0.1, False),
    ("mcnemar", 0.02, False),
)
ORDERS = 5  # of prompts and trials, per grid of the tuning records
FORMAT = "della-savings-1"


def grid_points(task: Task) -> list[Point]:
    """Every point of a search's grid, with its seed as the mask seed, in the order written."""
    template = replace(task.template, seed=task.search.seed)
    return [task.space.point(params, template) for params in task.space.combinations]


def main_scores(record: dict[str, Any]) -> dict[str, np.ndarray]:
    """The main metric of a record, float64[n] per benchmark."""
    blocks = record["scores"].items()
    return {name: np.array([np.nan if v is None else v for v in b["metrics"][b["metric"]]]) for name, b in blocks}


def points_on_test(task: Task, point: Point) -> list[Point]:
    """A winner's runs on test."""
    return [found for found in winners_points(task.config, point) if found.split == "test"]


class Records:
    """Runs the points that have no record, and reads the scores of those that have."""

    def __init__(self, session: Session, config: ReportConfig):
        self.session, self.config, self.folder = session, config, Path(config.paths.work) / "records"
        self.all: dict[str, dict[str, Any]] = {}

    def make(self, points: list[Point], what: str) -> None:
        stage = Stage(self.session, points, self.folder)
        work(stage, self.session, self.config, f"{self.config.sweep.name}: {what}", Shift())
        self.all |= stage.finished

    def scores(self, point: Point) -> dict[str, np.ndarray]:
        record = find_done(self.folder, self.session.identity(point))
        if record is None:
            raise InputError(f"{point.label}: has no record; the same command tries it again")
        return main_scores(record)

    def test(self, task: Task, point: Point) -> Scores:
        """A winner's test scores, the mean over mask seeds."""
        found = [self.scores(one) for one in points_on_test(task, point)]
        return {name: np.mean([scores[name] for scores in found], axis=0) for name in found[0]}


def case_of(task: Task, records: Records) -> dict[str, Any]:
    """One search replayed beside its grid; runs both winners on test where they have not been."""
    points, search = grid_points(task), task.search
    grid = [records.scores(point) for point in points]
    found = replay(grid, search.seed, search.prune, search.risk, search.looks, search.screens)
    best = grid_winner(grid)
    differs = asked_live(task, points[found.winner], grid[found.winner])
    loss, error = 0.0, 0.0
    if found.winner != best:
        pair = [points[found.winner], points[best]]
        records.make([one for point in pair for one in points_on_test(task, point)], f"winners of {task.label}")
        loss, error = paired_loss(*(records.test(task, point) for point in pair))
    texts = [canonical(dict(zip(task.space.searched, row.values(), strict=True))) for row in task.space.combinations]
    return {
        "family_seed": task.family_seed,
        "merge": list(task.merge),
        "seed": search.seed,
        "points": len(points),
        "prompts": found.prompts,
        "of": found.of,
        "whole": found.whole,
        "winner": texts[found.winner].strip("{}").replace('"', ""),
        "grid_winner": texts[best].strip("{}").replace('"', ""),
        "loss": loss,
        "error": error,
        "differs": differs,
    }


def asked_live(task: Task, point: Point, whole: Scores) -> int:
    """A point's prompts asked part by part, as a search does: how many scores differ from those of its record."""
    order = interleaved({name: values.size for name, values in whole.items()}, task.search.seed)
    asked: dict[str, list[np.ndarray]] = {}
    ask = Asked(task.session, point)
    for part in parts(order, task.search.looks):
        for name, scores in ask(part).items():
            asked.setdefault(name, []).append(scores)
    at = by_benchmark(order)
    pairs = [(np.concatenate(found), whole[name][at[name]]) for name, found in asked.items()]
    return int(sum((~((one == other) | (np.isnan(one) & np.isnan(other)))).sum() for one, other in pairs))


def measured_rules(looks: int) -> list[dict[str, Any]]:
    """Every rule on the grids of the committed main table, the family that the settings were chosen on."""
    grids: dict[tuple, list[Scores]] = {}
    for run in read_runs(read_compact(TUNING)):
        if run.split == "dev":
            grids.setdefault((run.merge, run.method), []).append(run.scores)
    grids = {key: grid for key, grid in grids.items() if len(grid) >= 25}
    return [measured(list(grids.values()), *tried, looks) for tried in TRIED]


def measured(grids: list[list[Scores]], rule: str, risk: float, screen: bool, looks: int) -> dict[str, Any]:
    """One rule on all grids, each searched in several orders."""
    rows = []
    for grid in grids:
        best = grid_winner(grid)
        for seed in range(ORDERS):
            found = replay(grid, seed, rule, risk, looks, screen)
            loss, error = paired_loss(grid[found.winner], grid[best])
            rows.append((found.prompts / found.of, found.winner == best or loss == 0, loss, loss > error))
    share, same, loss, beyond = np.array(rows, dtype=np.float64).T
    numbers = {"share": share.mean(), "largest": share.max(), "same": same.mean(), "loss": loss.mean()}
    numbers |= {"beyond": beyond.mean()}
    shown = {name: round(float(value), 6) for name, value in numbers.items()}
    return {"rule": rule, "risk": risk, "screen": screen, "looks": looks, "searches": len(rows), **shown}


def publish(config: ReportConfig, cases: list[dict], rules: list[dict], about: tuple[str, str]) -> Path:
    """Writes cases and rules in one file; returns the folder for tables."""
    folder = Path(config.paths.results) / config.experts.family / config.sweep.name
    folder.mkdir(parents=True, exist_ok=True)
    text = {"format": FORMAT, "command": about[0], "commit": about[1], "cases": cases, "rules": rules}
    write_atomically(folder / "study.json", (json.dumps(text, indent=1, sort_keys=True) + "\n").encode())
    return folder


@door("report")
def main(config: ReportConfig) -> None:
    if config.sweep.search.sampler != "grid" or not config.sweep.search.method:
        raise InputError(f"sweep={config.sweep.name}: this study is of searches through a grid; write sampler=grid")
    die_with_parent()
    session = Session(config)
    records = Records(session, config)
    try:
        found = tasks(config, session)
        records.make([point for task in found for point in grid_points(task)], "grids")
        cases = [case_of(task, records) for task in found]
    finally:
        session.close()
    from scripts.searching.study_report import savings_report

    about = (f"python -m scripts.study_savings sweep={config.sweep.name}", commits_of(records.all.values()))
    rules = measured_rules(config.sweep.search.looks)
    report = savings_report(cases, rules, *about)
    print(report.text)
    folder = Path(config.paths.work) / "reports" / config.experts.family / config.sweep.name
    if config.publish:
        folder = publish(config, cases, rules, about)
    report.write(folder)
    print(f"\ntables: {folder}")
    summarise(list(records.all.values()), records.folder, config)


if __name__ == "__main__":
    main()
