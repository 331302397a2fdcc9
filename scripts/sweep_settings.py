"""What a sweep file says (configs/sweep): blocks of a grid, or searches."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from della.errors import InputError
from della.methods import METHODS
from scripts.fields import at_least, one_of, option
from scripts.search_settings import Search


@dataclass
class Grid:
    """A block of a sweep: every merge x method x combination of option values x seed."""

    merge: list[list[str]] = option(MISSING, "the sets of experts to merge; [] is the base alone")
    method: str = option(MISSING, "name of a method")
    options: dict[str, list[Any]] = option({}, "values of each option of the method")
    choose: bool = option(True, "true: choose the best combination first, then run it; false: run every combination")
    on: str = option("merge", "benchmarks: merge (those of the merged experts) | all")

    def __post_init__(self) -> None:
        one_of("sweep.grids.on", self.on, ("merge", "all"))
        one_of("sweep.grids.method", self.method, ("unmerged", *METHODS))


@dataclass
class Sweep:
    name: str = option("", "name of the sweep; empty: a single run")
    family_seeds: list[int] = option([], "training seeds of the family; empty: experts.seed alone")
    dev_limit: int = option(300, "development prompts per benchmark used to choose")
    test_limit: int | None = option(None, "test prompts per benchmark; null: all")
    choose_seed: int = option(0, "mask seed of the runs that choose")
    merges: list[list[str]] = option([], "sets of experts that the blocks refer to")
    drop_rates: list[float] = option([], "drop rates that the blocks refer to")
    lambdas: list[float] = option([], "lambdas that the blocks refer to")
    epsilons: list[float] = option([], "epsilons that the blocks refer to")
    seeds: list[int] = option([1, 2, 3, 4, 5], "mask seeds of the final runs of a random method")
    grids: dict[str, Grid] = option({}, "the blocks of the sweep")
    search: Search = field(default_factory=Search)
    searches: dict[str, Search] = option({}, "instead: several searches by name, each as sweep.search, to be compared")

    def __post_init__(self) -> None:
        at_least("sweep.dev_limit", self.dev_limit, 1)
        at_least("sweep.test_limit", self.test_limit, 1)
        if sum(map(bool, (self.grids, self.searches, self.search.method))) > 1:
            raise InputError(f"sweep={self.name}: write one of grids, search and searches")

    @property
    def arms(self) -> dict[str, Search]:
        """The searches by name; a single one has the name of its method. Empty for a sweep of grids."""
        return self.searches or ({self.search.method: self.search} if self.search.method else {})
