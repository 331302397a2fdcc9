"""What is checked of a config's benchmarks before anything is opened."""

from collections.abc import Mapping
from typing import Any

from omegaconf import MISSING

from della.errors import InputError
from eval.benchmarks import BENCHMARKS, metrics_of
from eval.tasks.prompts import find_format


def some_benchmark(benchmarks: Mapping[str, Any], prompts: str | None = None) -> None:
    """Raises InputError for no benchmark at all, and for one without a template or metric in these prompts.

    benchmarks: name -> something with a metric; prompts: a family's name as `prompt_family` writes it; None checks
    the number of benchmarks alone.
    """
    if not benchmarks:
        raise InputError(f"benchmarks=[]: name at least one of {', '.join(BENCHMARKS)}")
    if prompts is None:
        return
    for name, spec in benchmarks.items():
        find_format(prompts, name)
        known = metrics_of(name, prompts)
        if known and spec.metric not in (*known, MISSING):
            raise InputError(f"benchmarks.{name}.metric={spec.metric}: write one of {', '.join(known)}")
