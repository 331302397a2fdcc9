"""What scripts.evaluate says of its outcomes beside them, so that scripts.compare knows which may be compared."""

from pathlib import Path
from typing import Any

from della.checkpoint import file_sha256
from eval.benchmarks import BENCHMARKS
from eval.tasks.data import data_sha256
from eval.tasks.prompts import prompt_family
from scripts.schema import EvaluateConfig


def what_was_asked(config: EvaluateConfig, data: Path | None) -> dict[str, Any]:
    """Prompts, limits, the judge's file, versions, hashes of the data, under the names that a record has for them."""
    inputs: dict[str, Any] = {"data": {name: data_sha256(name, data, config.split) for name in config.benchmarks}}
    if config.judge.file:
        inputs["judge"] = file_sha256(Path(config.judge.file))
    return {
        "prompts": prompt_family(config.prompts, config.protocol),
        "limit": config.limit,
        "max_new_tokens": config.max_new_tokens,
        "data": None if data is None else str(data),
        "inputs": inputs,
        "versions": {name: BENCHMARKS[name].version for name in config.benchmarks},
    }
