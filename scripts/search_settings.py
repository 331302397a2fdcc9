"""The options of a sweep that searches, `sweep.search.*`, and of its spaces; what runs them is scripts/searching/."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from omegaconf import MISSING

from della.errors import InputError
from della.methods import METHODS
from della.search.stopping import RULES
from scripts.fields import at_least, one_of, option

SAMPLERS = ("tpe", "cmaes", "random", "grid")
PER = ("all", "expert", "layer_group", "expert_and_layer_group")
LOCKS = ("symlink", "open")


@dataclass
class Space:
    """The values that one option may take: a range, or a list."""

    low: float | None = option(None, "least value of a range")
    high: float | None = option(None, "largest value of a range")
    log: bool = option(False, "a range is searched on a logarithmic scale")
    step: float | None = option(None, "distance of the values of a range; null: any value")
    values: list[Any] = option([], "a list of values instead of a range")
    init: float | None = option(None, "where cmaes starts; null: the middle of the range")
    per: str = option("all", f"one value each for: {' | '.join(PER)}")
    groups: int = option(0, "with layer_group: ranges of layers that share a value; 0: each layer its own")

    def __post_init__(self) -> None:
        one_of("sweep.search.space.NAME.per", self.per, PER)
        at_least("sweep.search.space.NAME.groups", self.groups, 0)
        if bool(self.values) == (self.low is not None or self.high is not None):
            raise InputError("sweep.search.space.NAME: write low and high, or values, one of the two")
        if self.groups and "layer" not in self.per:
            raise InputError(
                f"sweep.search.space.NAME.groups={self.groups} is of layers; write per=layer_group with it"
            )
        if self.values:
            self._check_list()
        else:
            self._check_range()

    def _check_list(self) -> None:
        for index, value in enumerate(self.values):
            if value in self.values[:index]:
                raise InputError(f"sweep.search.space.NAME.values: {value} is there twice; write it once")
        if self.log or self.step is not None or self.init is not None:
            raise InputError("sweep.search.space.NAME: log, step and init are of a range; leave them out beside values")

    def _check_range(self) -> None:
        if self.low is None or self.high is None or not self.low < self.high:
            raise InputError(f"sweep.search.space.NAME: low={self.low} and high={self.high}; write a low below high")
        if self.log and (self.low <= 0 or self.step is not None):
            raise InputError("sweep.search.space.NAME.log=true: write a low above 0, and no step")
        if self.step is not None and not 0 < self.step <= self.high - self.low:
            raise InputError(f"sweep.search.space.NAME.step={self.step:g}: write one above 0 that fits into the range")
        if self.init is not None and not self.low <= self.init <= self.high:
            raise InputError(f"sweep.search.space.NAME.init={self.init:g}: write one from low to high")

    @property
    def points(self) -> list[Any]:
        """The values of a grid: the list, or those of a range with a step."""
        if self.values or self.step is None:
            return list(self.values)
        assert self.low is not None
        assert self.high is not None
        count = math.floor((self.high - self.low) / self.step + 1e-9) + 1
        return [round(self.low + number * self.step, 9) for number in range(count)]


@dataclass
class Search:
    """How a sweep searches; without a method it does not."""

    method: str = option("", "the method whose options are searched; empty: this sweep does not search")
    options: dict[str, Any] = option({}, "options of the method that all trials share")
    space: dict[str, Space] = field(default_factory=dict)
    sampler: str = option("tpe", "who proposes: tpe | cmaes | random | grid (every combination, in random order)")
    trials: int = option(100, "trials at most; a grid has as many as combinations")
    budget: float | None = option(
        None, "prompts of all trials together, in whole trials: none begins after them; null: no limit"
    )
    seed: int = option(0, "of the sampler, of the order of a grid and of the order of the prompts")
    seeds: list[int] = option([], "search again with each of these seeds; empty: seed alone")
    prune: str = option("paired", f"test that stops a trial: {' | '.join(RULES)} (della/search/stopping.py)")
    risk: float = option(0.01, "of the test at each look: how sure it must be that a trial cannot win")
    looks: int = option(20, "parts that the prompts are asked in; fewer fill a GPU better, more save more prompts")
    screen: bool = option(True, "grid: ask every point the first part, then go on with the most promising ones first")
    startup: int = option(10, "tpe: random trials before the first proposal")
    population: int | None = option(None, "cmaes: trials of a generation; null: 4 + floor(3 ln n), n the parameters")
    sigma: float | None = option(None, "cmaes: first step, part of each range; null: 1/6")
    lock: str = option("symlink", "of the shared journal file: symlink (any NFS) | open (NFSv3 or later, and Windows)")

    def __post_init__(self) -> None:
        if not self.method:
            return
        one_of("sweep.search.method", self.method, tuple(METHODS))
        one_of("sweep.search.sampler", self.sampler, SAMPLERS)
        one_of("sweep.search.prune", self.prune, tuple(RULES))
        one_of("sweep.search.lock", self.lock, LOCKS)
        for name in ("trials", "looks", "startup"):
            at_least(f"sweep.search.{name}", getattr(self, name), 1)
        at_least("sweep.search.population", self.population, 2)
        if not 0 < self.risk < 0.5:
            raise InputError(f"sweep.search.risk={self.risk:g}: write a number above 0 and below 0.5, such as 0.01")
        if self.budget is not None and not self.budget > 0:  # nan too
            raise InputError(
                f"sweep.search.budget={self.budget:g}: write a number above 0, such as 25 for 25 whole trials"
            )
        if self.sigma is not None and not 0 < self.sigma <= 1:
            raise InputError(f"sweep.search.sigma={self.sigma:g}: write a number above 0, at most 1")
        if not self.space and self.method != MISSING:
            raise InputError("sweep.search.space: name at least one option to search, as space.lambda_={low: 0.5, ...}")
        self._check_sampler()

    @property
    def lasting(self) -> dict[str, Any]:
        """What decides the trials: all but when the search ends and how its file is locked, which may change."""
        return {name: value for name, value in asdict(self).items() if name not in ("trials", "budget", "lock")}

    @property
    def screens(self) -> bool:
        """Whether points are screened: where it can save anything."""
        return self.screen and self.sampler == "grid" and self.prune != "none" and self.looks > 1

    def _check_sampler(self) -> None:
        for name, space in self.space.items():
            if self.sampler == "grid" and not space.points:
                raise InputError(f"sweep.search.space.{name}: a grid needs a step, or a list of values")
            if self.sampler == "cmaes" and space.values:
                raise InputError(
                    f"sweep.search.space.{name}: cmaes searches ranges; write low and high, or sampler=tpe"
                )
