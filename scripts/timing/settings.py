"""The options of `python -m scripts.bench`."""

from dataclasses import dataclass, field

from della.errors import InputError
from scripts.fields import Paths, at_least, one_of, option

METHODS = ("linear", "task_arithmetic", "ties", "dare_ties", "della")
TOOLS = ("ours", "mergekit", "floor")


@dataclass
class BenchConfig:
    """Merging, ours beside mergekit: time and memory (`python -m scripts.bench`)."""

    sizes: list[float] = option([0.1, 0.3, 1.0], "models to merge three experts of, billions of parameters")
    methods: list[str] = option(list(METHODS), f"what is measured at each size: {', '.join(METHODS)}")
    counts: list[int] = option([1, 2, 4, 8], "numbers of experts to merge; []: three alone")
    counts_size: float = option(0.1, "size at which their number varies, billions of parameters")
    counts_methods: list[str] = option(["task_arithmetic", "della"], "what is measured at each number of experts")
    rounds: int = option(3, "measured rounds, interleaved; the table has their medians")
    again: list[str] = option([], f"measure these again, though it was done: {', '.join(TOOLS)}")
    keep: bool = option(False, "keep the random models (gigabytes) for the next time")
    profile: bool = option(False, "instead: where the time of our merges goes, at the largest size")
    publish: bool = option(False, "also write measurements, table and figures into paths.results/bench")
    paths: Paths = field(default_factory=Paths)

    def __post_init__(self) -> None:
        at_least("rounds", self.rounds, 1)
        for count in self.counts:
            at_least("counts", count, 1)
        for size in (*self.sizes, self.counts_size):
            if not 0.0001 <= size <= 100:
                raise InputError(f"a size of {size:g}: write billions of parameters, from 0.0001 to 100")
        for where in ("methods", "counts_methods"):
            for method in getattr(self, where):
                one_of(where, method, METHODS)
        for tool in self.again:
            one_of("again", tool, TOOLS)
