"""A config's benchmarks: what is checked of them before anything is opened, and which of them a run is evaluated on."""

from collections.abc import Collection, Mapping
from typing import Any

from omegaconf import MISSING

from della.errors import InputError
from eval.benchmarks import BENCHMARKS, metrics_of
from eval.tasks.prompts import find_format


def some_benchmark(benchmarks: Mapping[str, Any], prompts: str | None = None, judged: bool = False) -> None:
    """Raises InputError for no benchmark at all, and for one without a template or metric in these prompts.

    benchmarks: name -> something with a metric; prompts: a family's name as `prompt_family` writes it; None checks
    the number of benchmarks alone; judged: a model also reads GSM8K's answers, which gives the metric `judged`.
    """
    if not benchmarks:
        raise InputError(f"benchmarks=[]: name at least one of {', '.join(BENCHMARKS)}")
    if prompts is None:
        return
    for name, spec in benchmarks.items():
        find_format(prompts, name)
        known = metrics_of(name, prompts)
        if name == "gsm8k" and known:
            known = (*known, "judged") if judged else known
            if spec.metric == "judged" and not judged:
                raise InputError(f"benchmarks.gsm8k.metric=judged goes with judge.gsm8k=true; or write {known[0]}")
        if known and spec.metric not in (*known, MISSING):
            raise InputError(f"benchmarks.{name}.metric={spec.metric}: write one of {', '.join(known)}")


def evaluated_on(benchmarks: Mapping[str, Any], merge: Collection[str], on: str) -> list[str]:
    """Names, sorted, of the benchmarks a run is evaluated on: those of the experts in its merge, or all.

    benchmarks: name -> something with an expert; merge: of the run, empty for the base; on: "merge" | "all".
    """
    return sorted(name for name, spec in benchmarks.items() if on == "all" or not merge or spec.expert in merge)
