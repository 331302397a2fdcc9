"""A sweep that searches, as each of its workers runs it: one search per family and merge, then the winners' runs.

    python -m scripts.run -m sweep=search_della

All workers join the same studies (scripts/searching/study.py). When all searches are over, each winner is run like the
chosen point of any sweep: on the whole development split if it was chosen there, and on the test split with every seed.
"""

import contextlib
import hashlib
import itertools
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState
from tqdm import tqdm

from della.errors import InputError
from della.files import canonical
from della.layers import count_layers
from della.record import find_done, write_record
from della.search.order import Order, interleaved, parts
from della.search.replay import grid_order, promising
from della.search.stopping import Scores
from scripts.data import check_choosing
from scripts.door import RunsFailed
from scripts.points import Point, family_seeds, ignored, options_of, unique
from scripts.schema import RunConfig
from scripts.search_settings import Search
from scripts.searching.space import SearchSpace, trial_point, winners_points
from scripts.searching.study import SharedStudy
from scripts.searching.trial import Trials
from scripts.session import Session
from scripts.shift import Shift
from scripts.sweep import (
    DRAIN_SECONDS,
    JOB_POLL_SECONDS,
    POLL_SECONDS,
    Stage,
    die_with_parent,
    fit,
    invocation,
    open_tracker,
    summarise,
    work,
)


@dataclass(frozen=True)
class Task:
    """One search: a merge of one family. arm: its name among the sweep's searches."""

    config: RunConfig
    session: Session
    arm: str
    family_seed: int
    merge: tuple[str, ...]
    search: Search
    space: SearchSpace

    @property
    def template(self) -> Point:
        """A trial's point but for what is searched."""
        return trial_point(self.config, self.search, self.family_seed, self.merge)

    @property
    def identity(self) -> str:
        """16 hexadecimal digits of all that decides what the trials are: their config and inputs, space and sampler."""
        template = self.template
        if self.space.by_activations:  # other norms are other trials: a journal of theirs is not gone on with
            template = replace(template, options=options_of(self.search.method, {"rank_by": "wanda"}))
        described = {**self.session.describe(template), "search": self.search.lasting}
        return hashlib.sha256(canonical(described).encode()).hexdigest()[:16]

    @property
    def journal(self) -> Path:
        """The study's file."""
        return journals(self.config) / f"{self.identity}.journal"

    @property
    def label(self) -> str:
        """For progress lines."""
        merge, seed = "+".join(self.merge), self.search.seed
        return f"{self.config.sweep.name}: {merge} of family {self.family_seed}, {self.arm}, seed {seed}"

    @property
    def order(self) -> Order:
        """The prompts in the order in which every trial is asked them."""
        return interleaved(self.session.sizes(self.template), self.search.seed)

    def open(self) -> SharedStudy:
        """The shared study."""
        order = self.order
        sizes = len(order), sum(map(len, parts(order, self.search.looks)[0].values()))
        return SharedStudy(self.journal, self.space, self.search, sizes, self.config.workers, invocation())


def journals(config: RunConfig) -> Path:
    """The folder of all journals."""
    return Path(config.paths.work) / "search"


def tasks(config: RunConfig, session: Session) -> list[Task]:
    """The searches of a sweep, family by family. Raises InputError before anything runs."""
    sweep = config.sweep
    if not sweep.merges or not all(sweep.merges):
        raise InputError(f"sweep={sweep.name}: name the experts to merge, as sweep.merges=[[lm,math]]")
    for search, merge in itertools.product(sweep.arms.values(), sweep.merges):  # before a family is made or opened
        SearchSpace(search, tuple(sorted(merge)), max([1, *(space.groups for space in search.space.values())]))
    out = []
    for family_seed, merge in itertools.product(family_seeds(config), sweep.merges):
        family = session.family(family_seed)
        family.check(merge)
        layers, experts = count_layers(family.base.headers), tuple(sorted(merge))
        for arm, named in sweep.arms.items():
            for number in named.seeds or [named.seed]:
                search = replace(named, seed=number, seeds=[])
                space = SearchSpace(search, experts, layers)
                out.append(Task(config, session, arm, family_seed, experts, search, space))
    return out


def run_search(config: RunConfig) -> None:
    """Runs this worker's share of a search.

    Raises RunsFailed if a trial or a final run failed, in worker 0 or, where workers are jobs, in each; Leave in a job
    whose time is over.
    """
    die_with_parent()
    check_choosing(config)
    if config.worker == 0 and (note := ignored(config)):
        print(f"note: {note}", file=sys.stderr)
    shift = Shift.of_this_process()
    reports = config.worker == 0 or shift.in_job
    folder = Path(config.paths.work) / "records"
    tracker = open_tracker(config, folder) if reports else None
    session = Session(config)
    try:
        found = tasks(config, session)
        studies = [search(task, folder, shift) for task in found]
        last = final_points(found, studies)
        stage = Stage(session, last, folder)
        if last:
            work(stage, session, config, f"{config.sweep.name}: winners on the test split", shift)
    finally:
        if not shift.over:  # as in scripts/sweep.py
            session.close()
            if tracker:
                tracker.finish(timeout_s=DRAIN_SECONDS)
    if reports:
        say(found, studies)
        summarise(list(stage.finished.values()), folder, config)
        failed = [t for study in studies for t in study.finished if t.state == TrialState.FAIL]
        if failed:
            reasons = "; ".join(sorted({t.user_attrs["error"] for t in failed})[:3])
            again = any(study.failed for study in studies)
            what = "tried again by the next invocation" if again else "not tried again, the budget is used up"
            raise RunsFailed(f"{len(failed)} trials, {what}: {reasons}")


def search(task: Task, folder: Path, shift: Shift) -> SharedStudy:
    """Takes trials of a search until it is over; the study then holds them all. Raises Leave."""
    study = task.open()
    study.poll_seconds = JOB_POLL_SECONDS if shift.in_job else POLL_SECONDS
    trials = Trials(task.session, task.search, task.order, folder, study)
    if not study.filled:
        study.fill(screened(task, trials, shift) if task.search.screens else ())
    longest = 0.0
    with progress(task, study) as bar:
        while True:
            shift.check(longest)
            with study.take() as trial:
                if trial is None:
                    return study
                started = time.monotonic()
                try:
                    attempt(trial, task, study, trials, shift)
                finally:
                    show(bar, study)
                longest = max(longest, time.monotonic() - started)


def screened(task: Task, trials: Trials, shift: Shift) -> list[dict[str, Any]]:
    """A grid's combinations, the most promising first: every point is asked the first part, by whichever worker."""
    rows = task.space.combinations
    points = [task.space.point(row, task.template) for row in rows]
    with tqdm(total=len(points), desc=f"{task.label}: screening", unit="point", disable=task.config.worker != 0) as bar:
        while left := [n for n in grid_order(task.search.seed, len(rows)) if trials.first(points[n]) is None]:
            bar.update(len(points) - len(left) - bar.n)
            turned = left[len(left) * task.config.worker // max(task.config.workers, 1) :] + left
            if not any(trials.screen(points[number], shift) for number in turned):
                time.sleep(trials.study.poll_seconds)
        bar.update(len(points) - bar.n)
    return [rows[n] for n in promising([trials.first(point) or 0.0 for point in points], task.search.seed)]


def attempt(trial: Any, task: Task, study: SharedStudy, trials: Trials, shift: Shift) -> None:
    """Evaluates one trial and tells the study how it ended; a failure is the trial's own. Raises Leave."""
    facts = {"invocation": invocation(), "sweep": task.config.sweep.name, "search": study.name, "trial": trial.number}
    point, trials.asking = task.template, None
    try:
        point = study.space.point(study.space.suggest(trial), task.template)
        with shift.running():
            fit(task.session, point)
            tried = trials.run(point, lambda: best_scores(study, trials), facts)
        if math.isnan(tried.raced.value):
            without = [name for name, values in tried.raced.scores.items() if np.isnan(values).all()]
            raise InputError(
                f"no verdict on any prompt of {', '.join(without)}; delete record {tried.record} to ask again"
            )
        value: float | None = tried.raced.value
        known: dict[str, Any] = {"whole": tried.raced.whole, "prompts": tried.raced.prompts, "of": len(trials.order)}
        known |= {"record": tried.record, "reused": tried.reused, "judges": tried.judges}
    except Exception as error:  # whatever it is, it is this trial's: recorded, and the search goes on
        tqdm.write(f"failed: trial {trial.number}: {point.label}: {error}")
        failure = task.session.failure(point, error, facts)
        if study.held and find_done(trials.folder, failure["identity"]) is None:
            write_record(trials.folder, failure)
        value, known = None, {"error": failure["error"], "prompts": trials.prompts}
    if study.held:
        study.tell(trial, value, **known)
    else:
        tqdm.write(f"not told: trial {trial.number}: another worker took it over while this one was suspended")


def best_scores(study: SharedStudy, trials: Trials) -> Scores | None:
    """The scores of the best trial so far; None while there is none."""
    best = study.best
    return None if best is None else trials.scores(best.user_attrs["record"])


def final_points(found: list[Task], studies: list[SharedStudy]) -> list[Point]:
    """What the winners are still to be run at."""
    points: list[Point] = []
    for task, study in zip(found, studies, strict=True):
        if (best := study.best) is not None:
            points += winners_points(task.config, study.space.point(best.params, task.template))
    return unique(points)


@contextlib.contextmanager
def progress(task: Task, study: SharedStudy) -> Iterator[tqdm]:
    """Worker 0's bar: trials, time left, prompts and the best so far."""
    bar = tqdm(total=study.wanted, desc=task.label, unit="trial", disable=task.config.worker != 0, dynamic_ncols=True)
    bar.n = bar.initial = len(study.finished)
    show(bar, study)
    try:
        yield bar
    finally:
        bar.close()


def show(bar: tqdm, study: SharedStudy) -> None:
    """Brings the bar up to date."""
    best = study.best
    bar.update(len(study.finished) - bar.n)
    value = f"{100 * best.value:.1f}" if best is not None and best.value is not None else "none"
    bar.set_postfix_str(f"best {value}, {study.spent} prompts")


def say(found: list[Task], studies: list[SharedStudy]) -> None:
    """Says for each search what was tried, what it cost and what won."""
    for task, study in zip(found, studies, strict=True):
        done = [t for t in study.trials if t.state == TrialState.COMPLETE]
        stopped = sum(not t.user_attrs["whole"] for t in done)
        full = sum(t.user_attrs["of"] for t in done if not t.user_attrs["reused"])
        share = f" ({100 * study.spent / full:.0f} % of {full})" if full else ""
        print(f"{task.label}: {len(done)} trials, {stopped} stopped early, {study.spent} prompts{share}")
        if study.best is not None:
            print(f"  best {100 * (study.best.value or 0):.2f} on {task.template.split}: {winner_text(study.best)}")


def winner_text(trial: FrozenTrial) -> str:
    """The parameters of a trial, one after the other."""
    return " ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in trial.params.items())


def recorded_finals(found: list[Task], studies: list[SharedStudy], folder: Path) -> tuple[list[dict[str, Any]], int]:
    """The records of the winners' runs that exist, and how many have none."""
    session = found[0].session
    records = [find_done(folder, session.identity(point)) for point in final_points(found, studies)]
    return [record for record in records if record], sum(record is None for record in records)
