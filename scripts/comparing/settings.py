"""The options of `python -m scripts.compare`."""

from dataclasses import dataclass, field

from scripts.fields import Paths, at_least, option


@dataclass
class CompareConfig:
    """Compare runs on the same prompts: how much they differ, how sure that is, and where
    (`python -m scripts.compare RUN_A RUN_B`). A run: an id or how it begins, a JSON file, or FILE.jsonl:ID."""

    runs: list[str] = option([], "the runs, also written without runs=; all others are compared with the first")
    only: list[str] = option([], "what to compare: BENCHMARK or BENCHMARK.METRIC; empty: all that all runs have")
    show: int = option(10, "prompts with different scores that are shown of each benchmark")
    html: str | None = option(None, "file for a page that shows every prompt with the runs' outputs side by side")
    data: str | None = option(
        None, "folder of the benchmarks' files, for the page; null: DELLA_DATA_DIR or a family's own, whichever fits"
    )
    paths: Paths = field(default_factory=Paths)

    def __post_init__(self) -> None:
        at_least("show", self.show, 0)
