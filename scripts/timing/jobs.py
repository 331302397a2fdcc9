"""What is measured, in which order, and the command of each measurement.

A job is one run of one command: a size, a number of experts, a case, a tool and a round. The cases are methods at the
same settings for both tools, ours in variants that need a whole tensor, copying (the floor), and further points of a
sweep in memory. A family that is next to nothing gives the start-up of both.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from scripts.timing.models import parameters_of
from scripts.timing.settings import BenchConfig

ROOT = Path(__file__).resolve().parents[2]
START = 0.0001  # billions of parameters: what a merge of it takes is start-up
EXPERTS = 3
COPY, FLUSHED, POINTS = "copy", "copy and flush", "ten points"

# density is 1 - drop_rate; mergekit's epsilon is half a window, ours a whole one. lambda is 1, weights are 1.
_HALF: dict[str, Any] = {"density": 0.5}
MERGEKIT: dict[str, dict[str, Any]] = {
    "linear": {},
    "task_arithmetic": {},
    "ties": _HALF,
    "dare_ties": _HALF,
    "della": _HALF | {"epsilon": 0.07},
}
_DROP = ["method.drop_rate=0.5"]
_WINDOW = [*_DROP, "method.epsilon=0.14"]
OURS: dict[str, list[str]] = {
    "linear": [],
    "task_arithmetic": [],
    "ties": _DROP,
    "dare_ties": _DROP,
    "della": _WINDOW,
}
# Ours alone: what has to see a whole tensor, or all, before it merges the first value.
VARIANTS: dict[str, list[str]] = {
    "della rescale=l1": [*_WINDOW, "method.rescale=l1"],
    "della rank_over=tensor": [*_WINDOW, "method.rank_over=tensor"],
    "dare_ties rescale=l1": [*_DROP, "method.rescale=l1"],
    "ties trim_over=global": [*_DROP, "method.trim_over=global"],
}
PEERS = {"della rescale=l1": "della", "dare_ties rescale=l1": "dare_ties"}  # mergekit rescales so, and only so


@dataclass(frozen=True)
class Job:
    """One measurement.

    size: billions of parameters, about. round: from 1; 0 is the first merge of files that were never hashed.
    """

    size: float
    experts: int
    case: str
    tool: str
    round: int

    def __str__(self) -> str:
        size = "start-up" if self.size == START else f"{self.size:g} B"
        return f"{size}, {self.experts} expert{'s' * (self.experts != 1)}, {self.case}, {self.tool}, round {self.round}"


def all_jobs(config: BenchConfig) -> list[Job]:
    """Every measurement, in the order they are made: families by size, cases one by one, tools in turns."""
    jobs = list(_start(config))
    for size in sorted({*config.sizes, *([config.counts_size] if config.counts else [])}):
        counts = set(config.counts) if size == config.counts_size else set()
        for experts in sorted(counts | ({EXPERTS} if size in config.sizes else set())):
            jobs += _family(config, size, experts, varied=experts in counts)
    return list(dict.fromkeys(jobs))


def _start(config: BenchConfig) -> Iterator[Job]:
    for case in dict.fromkeys([*config.methods, *(config.counts_methods if config.counts else [])]):
        first = Job(START, EXPERTS, case, "ours", 1)
        for number in range(1, config.rounds + 1):
            yield replace(first, round=number)
            yield replace(first, round=number, tool="mergekit")


def _family(config: BenchConfig, size: float, experts: int, varied: bool) -> Iterator[Job]:
    rounds = range(1, config.rounds + 1)
    whole = experts == EXPERTS and size in config.sizes
    methods = list(dict.fromkeys([*(config.methods if whole else []), *(config.counts_methods if varied else [])]))
    first = Job(size, experts, "", "ours", 1)
    if whole:
        yield replace(first, case=methods[0], round=0)
    for number in rounds:
        yield replace(first, case=COPY, tool="floor", round=number)
        yield replace(first, case=FLUSHED, tool="floor", round=number)
    for case in methods:
        for number in rounds:
            yield replace(first, case=case, round=number)
            yield replace(first, case=case, tool="mergekit", round=number)
    if not whole:
        return
    for case in (name for name in VARIANTS if name.split()[0] in methods):
        yield from (replace(first, case=case, round=number) for number in rounds)
    if "della" in methods:
        yield from (replace(first, case=POINTS, round=number) for number in rounds)


def mergekit_program() -> Path:
    """mergekit-yaml in its own environment."""
    return Path(os.environ.get("DELLA_MERGEKIT", ROOT / ".venv-mergekit/bin/mergekit-yaml")).absolute()


def command(job: Job, folders: Sequence[Path], small: Path, out: Path) -> list[str]:
    """The command of a job.

    Args:
        folders: the base and as many experts as the job has.
        small: the folder of the family whose merge is all start-up.
        out: what it writes; a configuration of mergekit's is written beside it.
    """
    if job.tool == "floor":
        program = ROOT / "scripts" / "timing" / "floor.py"
        return [sys.executable, "-I", str(program), str(out), str(int(job.case == FLUSHED)), *map(str, folders)]
    if job.case == POINTS:
        return [sys.executable, "-m", "scripts.timing.points", str(small), *map(str, folders)]
    return _mergekit(job, folders, out) if job.tool == "mergekit" else ours(job.case, folders, out)


def ours(case: str, folders: Sequence[Path], out: Path) -> list[str]:
    """The command that merges with this repository."""
    base, *experts = folders
    models = [f"experts.models.{folder.name}={folder}" for folder in experts]
    options = [f"method={case.split()[0]}", *(OURS | VARIANTS)[case]]
    return [sys.executable, "-m", "scripts.merge", f"experts.base={base}", *models, *options, f"out={out}"]


def _mergekit(job: Job, folders: Sequence[Path], out: Path) -> list[str]:
    """The command that merges with mergekit."""
    base, *experts = folders
    parameters = {"weight": 1.0, **MERGEKIT[job.case]}
    recipe: dict[str, Any] = {
        "merge_method": job.case,
        "models": [{"model": str(folder), "parameters": parameters} for folder in experts],
        "dtype": "bfloat16",
    }
    if job.case != "linear":
        recipe["base_model"] = str(base)
    file = out.with_suffix(".yml")
    file.write_text(yaml.safe_dump(recipe))
    options = ["--no-copy-tokenizer", "--no-write-model-card", "--random-seed", "1"]
    return [str(mergekit_program()), str(file), str(out), *options]


# Seconds a billion parameters of one expert take, about: how long what was never measured may take.
_GUESS = {"linear": 4.0, "task_arithmetic": 5.0, "dare_ties": 35.0, "ties": 73.0, "della": 93.0}


def guess(job: Job) -> float:
    """About how many seconds a job takes on two cores; only the time left is told by it."""
    work = parameters_of(job.size) / 1e9 * (job.experts + 1)
    if job.tool == "mergekit":
        return 5 + work * _GUESS[job.case]
    if job.tool == "floor":
        return 0.1 + work
    return 8 + 12 * work if job.case == POINTS else 1 + 2 * work
