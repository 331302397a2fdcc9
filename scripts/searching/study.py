"""The shared study of a search: Optuna's journal file, which many jobs read and add to, and whose trial is whose.

    shared = SharedStudy(folder / "name.journal", space, search, prompts=900, workers=4, invocation="...")
    with shared.take() as taken: ...              # a trial that is ours alone, or why there is none

One file per search; it only grows, every worker replays it. Its lock is a link beside it (`sweep.search.lock`): both
kinds are atomic on NFS, `symlink` also before version 3; neither needs fcntl, which many NFS servers do not honour. A
lock left by a killed worker is broken after 30 s. The path is absolute: a relative link would point nowhere, and a
stale one would then never be found old.

A trial that runs is claimed (della/claim.py). Optuna's journal knows no heartbeat: a running trial whose claim is free
belongs to a worker that is gone, and is taken up again with the parameters that it had. Trials are proposed one at a
time, under a claim of their own, by a sampler seeded with the search's seed and the trial's number: what is proposed is
a function of the seed and of the trials finished by then. With one worker a search that was killed ends as if it
had not been.

CMA-ES keeps its state in the journal as Optuna writes it, a pickle: open no journal that you did not make.
"""

import contextlib
import os
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalFileSymlinkLock
from optuna.trial import TrialState

from della.claim import Claim, claim
from della.search.replay import grid_order
from della.statistics import generator
from scripts.search_settings import Search
from scripts.searching.space import SearchSpace

POLL_SECONDS = 0.2
CLAIMS = "claims"
optuna.logging.set_verbosity(optuna.logging.ERROR)


def open_storage(path: Path, lock: str) -> JournalStorage:
    """The journal file as a storage; what a power cut left of a line at its end is taken away first."""
    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    held = JournalFileSymlinkLock(str(path)) if lock == "symlink" else JournalFileOpenLock(str(path))
    held.acquire()
    try:
        _mend(path)
    finally:
        held.release()
    return JournalStorage(JournalFileBackend(str(path), lock_obj=held))


def _mend(path: Path) -> None:
    if not path.exists():
        return
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        if size and file.read(1) != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)


def make_sampler(search: Search, space: SearchSpace, number: int, workers: int) -> optuna.samplers.BaseSampler:
    """The sampler that proposes the trial of this number."""
    seed = int(generator(f"search {search.seed} trial {number}").integers(2**31))
    with warnings.catch_warnings():  # of options that are experimental, or will move in a later release than ours
        warnings.simplefilter("ignore")
        if search.sampler == "tpe":
            return optuna.samplers.TPESampler(
                seed=seed, multivariate=True, n_startup_trials=search.startup, constant_liar=workers > 1
            )
        if search.sampler == "cmaes":
            moved = any(p.space.init is not None for p in space.parameters)
            return optuna.samplers.CmaEsSampler(
                seed=seed,
                x0=space.start if moved else None,
                sigma0=search.sigma,
                popsize=search.population,
                warn_independent_sampling=False,
            )
        return optuna.samplers.RandomSampler(seed=seed)


class SharedStudy:
    """A search's trials, as one worker sees them.

    prompts: of a whole trial; rows: a grid's combinations in the order to try them, where it is not that of its seed.

    A failed trial is one with the state FAIL and its error; an invocation that comes later tries its parameters again.
    A trial that was stopped early is COMPLETE with its estimated value, so that samplers learn from it, and has
    `whole` false: the best trial is always a whole one, for an estimate is below the best it was stopped by.
    """

    def __init__(
        self,
        path: Path,
        space: SearchSpace,
        search: Search,
        prompts: int,
        workers: int,
        invocation: str,
        rows: Sequence[dict[str, Any]] = (),
    ):
        self.space, self.search, self.prompts = space, search, prompts
        self.workers, self.invocation = workers, invocation
        self.claims, self.name = path.parent / CLAIMS, path.stem
        self._claim: Claim | None = None
        storage = open_storage(path, search.lock)
        with self._alone("open"):
            self.study = optuna.create_study(
                storage=storage, study_name=self.name, direction="maximize", load_if_exists=True, sampler=_none()
            )
            self._enqueue(rows)

    def _enqueue(self, rows: Sequence[dict[str, Any]]) -> None:
        """What is known beforehand: a grid's combinations, the point where cmaes starts; each once, whatever a killed
        worker had put there already."""
        if self.search.sampler == "grid":
            every = self.space.combinations
            rows = rows or [every[number] for number in grid_order(self.search.seed, len(every))]
            there = [t.system_attrs.get("fixed_params") for t in self.trials]
            for row in rows:
                if row not in there:
                    self.study.enqueue_trial(row)
        elif self.search.sampler == "cmaes" and not self.trials:
            self.study.enqueue_trial(self.space.start)

    @property
    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """All trials, in the order of their numbers."""
        return self.study.get_trials(deepcopy=False)

    @property
    def wanted(self) -> int:
        """How many trials the search is to have."""
        return len(self.space.combinations) if self.search.sampler == "grid" else self.search.trials

    @property
    def finished(self) -> list[optuna.trial.FrozenTrial]:
        """Those that count: done, or failed in this invocation."""
        return [t for t in self.trials if t.state == TrialState.COMPLETE or self._failed_now(t)]

    @property
    def over_budget(self) -> bool:
        """Whether the prompts are used up; a point read from its record counts as asked in full."""
        if self.search.budget is None:
            return False
        costs = [self.prompts if t.user_attrs.get("reused") else t.user_attrs.get("prompts", 0) for t in self.trials]
        return sum(costs) >= self.search.budget * self.prompts

    @property
    def spent(self) -> int:
        """Prompts that the trials were asked."""
        return sum(t.user_attrs.get("prompts", 0) for t in self.trials)

    @property
    def best(self) -> optuna.trial.FrozenTrial | None:
        """The best trial that was asked all prompts; of equals the earliest."""
        whole = [t for t in self.trials if t.state == TrialState.COMPLETE and t.user_attrs["whole"]]
        return max(whole, key=lambda t: (t.value, -t.number), default=None)

    def _failed_now(self, trial: optuna.trial.FrozenTrial) -> bool:
        return trial.state == TrialState.FAIL and trial.user_attrs.get("invocation") == self.invocation

    @property
    def exhausted(self) -> bool:
        """Whether no trial is to begin any more."""
        return self.over_budget or len(self.finished) >= self.wanted

    @contextmanager
    def take(self) -> Iterator[optuna.Trial | None]:
        """A trial that is this worker's until the block ends; None once the search is over, after waiting for what
        others still run."""
        while True:
            with contextlib.ExitStack() as stack:
                with self._alone("take"):
                    number, trial = self._next()
                    if trial:
                        self._claim = stack.enter_context(claim(self.claims, f"{self.name}-{number}"))
                if trial and self._claim:
                    yield trial
                    return
            if not [t for t in self.trials if t.state == TrialState.RUNNING] and self.exhausted:
                yield None
                return
            time.sleep(POLL_SECONDS)

    @property
    def held(self) -> bool:
        """Whether the trial taken is still this worker's: one that was suspended may have lost it."""
        return bool(self._claim and self._claim.held())

    def tell(self, trial: optuna.Trial, value: float | None, **facts: Any) -> None:
        """How the trial taken ended: its value, or None for a failure, and what else is known of it."""
        for name, known in facts.items():
            trial.set_user_attr(name, known)
        self.study.tell(trial, value, TrialState.FAIL if value is None else None)

    def _next(self) -> tuple[int, optuna.Trial | None]:
        """A trial whose worker is gone, else a new one, else none. Called by one worker at a time."""
        for left in self.trials:
            if left.state == TrialState.RUNNING and self._is_free(left.number):
                self.study.sampler = make_sampler(self.search, self.space, left.number, self.workers)
                return left.number, self._mine(self._resumed(left))
        running = [t for t in self.trials if t.state == TrialState.RUNNING]
        if self.exhausted or len(self.finished) + len(running) >= self.wanted:
            return -1, None
        self._retry()
        waiting = [t.number for t in self.trials if t.state == TrialState.WAITING]
        number = waiting[0] if waiting else len(self.trials)
        self.study.sampler = make_sampler(self.search, self.space, number, self.workers)
        trial = self._mine(self.study.ask())
        return trial.number, trial

    def _resumed(self, left: optuna.trial.FrozenTrial) -> optuna.Trial:
        """A trial left behind. Where only some of its parameters were written, the sampler's numbers for these are
        drawn again, so that the others get those that they would have had."""
        trial, fixed = optuna.Trial(self.study, left._trial_id), left.system_attrs.get("fixed_params", {})
        for name, distribution in left.distributions.items():
            if name not in fixed and name not in trial.relative_params and not distribution.single():
                self.study.sampler.sample_independent(self.study, left, name, distribution)
        return trial

    def _mine(self, trial: optuna.Trial) -> optuna.Trial:
        trial.set_user_attr("invocation", self.invocation)
        return trial

    def _is_free(self, number: int) -> bool:
        with claim(self.claims, f"{self.name}-{number}") as mine:
            return bool(mine)

    def _retry(self) -> None:
        """Puts the parameters of trials that failed in earlier invocations before the sampler's next proposal."""
        trials = self.trials
        tried = {t.user_attrs.get("retries") for t in trials}
        for old in trials:
            if old.state == TrialState.FAIL and not self._failed_now(old) and old.number not in tried and old.params:
                self.study.enqueue_trial(old.params, user_attrs={"retries": old.number})

    @contextmanager
    def _alone(self, what: str) -> Iterator[None]:
        """One worker at a time; the claim of one that was killed here is taken over."""
        while True:
            with claim(self.claims, f"{self.name}-{what}") as mine:
                if mine:
                    yield
                    return
            time.sleep(POLL_SECONDS / 4)


def _none() -> optuna.samplers.BaseSampler:
    """Stands in until a trial is proposed."""
    return optuna.samplers.RandomSampler(seed=0)
