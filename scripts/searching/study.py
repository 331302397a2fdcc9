"""The shared study of a search: Optuna's journal file, which many jobs read and add to, and whose trial is whose.

    shared = SharedStudy(folder / "name.journal", space, search, (900, 45), workers=4, invocation="...")
    shared.fill()                                 # what is known before any trial
    with shared.take() as taken: ...              # a trial that is ours alone, or why there is none

One file per search (scripts/searching/journal.py); it only grows, every worker replays it.

A trial that runs is claimed (della/claim.py). Optuna's journal knows no heartbeat: a running trial whose claim is free
belongs to a worker that is gone, and is taken up again with the parameters that it had. Trials are proposed one at a
time, under a claim of their own, by a sampler seeded with the search's seed and the trial's number: what is proposed is
a function of the seed and of the trials finished by then. With one worker a search that was killed ends as if it
had not been.

CMA-ES keeps its state in the journal as Optuna writes it, a pickle: open no journal that you did not make.
"""

import contextlib
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from della.claim import Claim, claim
from della.search.replay import grid_order
from della.statistics import generator
from scripts.search_settings import Search
from scripts.searching.journal import open_storage
from scripts.searching.space import SearchSpace

POLL_SECONDS = 0.2  # a worker in a job waits longer: many jobs look at one file server
CLAIMS = "claims"
optuna.logging.set_verbosity(optuna.logging.ERROR)


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

    sizes: prompts of a whole trial, and of the first part, which a grid's points are screened on.
    screened: folder of what they did there.

    A failed trial is one with the state FAIL and its error; every other invocation tries its parameters once more, in a
    trial of its own that names the first one (`root`): together they count as one. A trial that was stopped early is
    COMPLETE with its estimated value, so that samplers learn from it, and has `whole` false: the best trial is always a
    whole one, for an estimate is below the best it was stopped by.
    """

    def __init__(
        self,
        path: Path,
        space: SearchSpace,
        search: Search,
        sizes: tuple[int, int],
        workers: int,
        invocation: str,
    ):
        self.space, self.search, (self.prompts, self.first) = space, search, sizes
        self.workers, self.invocation = workers, invocation
        self.claims, self.name, self.screened = path.parent / CLAIMS, path.stem, path.with_suffix(".screened")
        self.poll_seconds = POLL_SECONDS
        self._claim: Claim | None = None
        storage = open_storage(path, search.lock)
        with self._alone("open"):
            self.study = optuna.create_study(
                storage=storage, study_name=self.name, direction="maximize", load_if_exists=True, sampler=_none()
            )

    @property
    def _known(self) -> list[dict[str, Any]]:
        """The parameters that are known before any trial: a grid's combinations, the point where cmaes starts."""
        if self.search.sampler == "grid":
            every = self.space.combinations
            return [every[number] for number in grid_order(self.search.seed, len(every))]
        return [self.space.start] if self.search.sampler == "cmaes" else []

    def _missing(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        there = [t.system_attrs.get("fixed_params") for t in self.trials]
        return [row for row in rows if row not in there]

    @property
    def filled(self) -> bool:
        """Whether the parameters that are known beforehand are all in line."""
        return not self._missing(self._known)

    def fill(self, rows: Sequence[dict[str, Any]] = ()) -> None:
        """Puts them in line, each once, whatever a killed worker had put there; before any trial is taken.

        rows: a grid's combinations in the order to try them; by default the random one of its seed.
        """
        with self._alone("open"):
            for row in self._missing(rows or self._known):
                self.study.enqueue_trial(row)

    @property
    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """All trials, in the order of their numbers."""
        return self.study.get_trials(deepcopy=False)

    @property
    def wanted(self) -> int:
        """How many trials the search is to have."""
        return len(self.space.combinations) if self.search.sampler == "grid" else self.search.trials

    @property
    def ended(self) -> dict[int, optuna.trial.FrozenTrial]:
        """By the number of its first trial how each set of parameters ended: its last trial, done or failed."""
        return _ended(self.trials)

    @property
    def finished(self) -> list[optuna.trial.FrozenTrial]:
        """Those that count: done, or failed in this invocation too."""
        return self._finished(self.trials)

    def _finished(self, trials: Sequence[optuna.trial.FrozenTrial]) -> list[optuna.trial.FrozenTrial]:
        mine = {_root(t) for t in trials if t.state.is_finished() and self._tried(t)}
        return [t for root, t in _ended(trials).items() if t.state == TrialState.COMPLETE or root in mine]

    @property
    def failed(self) -> list[optuna.trial.FrozenTrial]:
        """Failed ones that the next invocation tries again: none where the budget is used up."""
        return [] if self.over_budget else [t for t in self.ended.values() if t.state == TrialState.FAIL]

    def _tried(self, trial: optuna.trial.FrozenTrial) -> bool:
        """Whether this invocation ran a trial, or asked for it."""
        return self.invocation in (trial.user_attrs.get("invocation"), trial.user_attrs.get("wanted_by"))

    @property
    def over_budget(self) -> bool:
        """Whether the prompts are used up; a point read from its record counts as asked in full."""
        if self.search.budget is None:
            return False
        reused = sum(t.user_attrs.get("reused", False) for t in self.trials)
        return self.spent + reused * self.prompts >= self.search.budget * self.prompts

    @property
    def spent(self) -> int:
        """Prompts asked: in trials, and in screening of points whose trial has not begun with them."""
        asked = [t.user_attrs.get("prompts", 0) for t in self.trials if not t.user_attrs.get("reused")]
        return sum(asked) + self.first * max(0, self.screenings - sum(prompts > 0 for prompts in asked))

    @property
    def screenings(self) -> int:
        """How many points have been asked the first part before any trial."""
        return len(list(self.screened.glob("*.json")))

    @property
    def best(self) -> optuna.trial.FrozenTrial | None:
        """The best trial that was asked all prompts; of equals the earliest."""
        whole = [t for t in self.trials if t.state == TrialState.COMPLETE and t.user_attrs["whole"]]
        return max(whole, key=lambda t: (t.value, -t.number), default=None)

    @property
    def over(self) -> bool:
        """Whether there is nothing left to do, for any invocation, but to try what failed again."""
        running = any(t.state == TrialState.RUNNING for t in self.trials)
        return not running and (self.over_budget or len(self.ended) >= self.wanted)

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
                        with contextlib.suppress(Exception):  # it is the trial's own, and raised there again
                            self.space.suggest(trial)
                if trial and self._claim:
                    yield trial
                    return
            if not [t for t in self.trials if t.state == TrialState.RUNNING] and self.exhausted:
                yield None
                return
            time.sleep(self.poll_seconds)

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
        trials = self.trials  # one look: a trial may end at any moment
        for left in trials:
            if left.state == TrialState.RUNNING and self._is_free(left.number):
                self.study.sampler = make_sampler(self.search, self.space, left.number, self.workers)
                return left.number, self._mine(self._resumed(left))
        begun = {_root(t) for t in self._finished(trials)} | {_root(t) for t in trials if t.state == TrialState.RUNNING}
        if self.over_budget or len(begun) >= self.wanted:
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
        """Puts the parameters of trials that failed in other invocations before the sampler's next proposal."""
        tried = {_root(t) for t in self.trials if self._tried(t) or not t.state.is_finished()}
        for root, last in self.ended.items():
            if last.state == TrialState.FAIL and root not in tried and last.params:
                self.study.enqueue_trial(last.params, user_attrs={"root": root, "wanted_by": self.invocation})

    @contextmanager
    def _alone(self, what: str) -> Iterator[None]:
        """One worker at a time; the claim of one that was killed here is taken over."""
        while True:
            with claim(self.claims, f"{self.name}-{what}") as mine:
                if mine:
                    yield
                    return
            time.sleep(self.poll_seconds / 4)


def _ended(trials: Sequence[optuna.trial.FrozenTrial]) -> dict[int, optuna.trial.FrozenTrial]:
    return {_root(t): t for t in trials if t.state.is_finished()}


def _root(trial: optuna.trial.FrozenTrial) -> int:
    return int(trial.user_attrs.get("root", trial.number))


def _none() -> optuna.samplers.BaseSampler:
    """Stands in until a trial is proposed."""
    return optuna.samplers.RandomSampler(seed=0)
