"""Evaluate one model folder.

    python -m scripts.evaluate model=DIR benchmarks=[gsm8k,mbpp] limit=100 engine=hf

Prints each benchmark's metrics with n and standard error; out=FILE.json keeps every prompt's outcome.
"""

import json
from dataclasses import asdict
from pathlib import Path

from della.checkpoint import Checkpoint
from della.files import write_atomically
from eval.benchmarks import evaluate
from eval.engines import open_engine
from eval.tasks.data import data_sha256
from scripts.door import door
from scripts.family import data_folder
from scripts.schema import EvaluateConfig
from scripts.session import open_judge
from scripts.show import scores_text


@door("evaluate")
def main(config: EvaluateConfig) -> None:
    model = Checkpoint(Path(config.model))
    data = data_folder(config.data)
    for name in config.benchmarks:
        data_sha256(name, data, config.split)  # a missing file shows here, not after the engine is open
    judge = open_judge(config.judge)
    settings = config.engine
    engine = open_engine(
        settings.name, model.folder, dtype=settings.dtype, max_model_len=settings.max_model_len, **settings.settings
    )
    try:
        outcomes = evaluate(
            engine.lm,
            sorted(config.benchmarks),
            data,
            config.prompts,
            config.split,
            config.limit,
            judge,
            Path(config.paths.work) / "cache" / "verdicts",
            config.max_new_tokens,
        )
    finally:
        engine.close()
    print(scores_text({name: outcome.metrics for name, outcome in outcomes.items()}))
    if config.out:
        text = {
            "model": config.model,
            "split": config.split,
            "engine": settings.name,
            "outcomes": {name: asdict(outcome) for name, outcome in outcomes.items()},
        }
        write_atomically(Path(config.out), (json.dumps(text, indent=1, sort_keys=True) + "\n").encode())


if __name__ == "__main__":
    main()
