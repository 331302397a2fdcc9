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
from eval.sandbox import LEVELS
from eval.scoring import isolation_of
from eval.tasks.data import data_sha256
from eval.tasks.prompts import prompt_family
from scripts.comparing.asked import what_was_asked
from scripts.data import data_folder
from scripts.door import door
from scripts.fields import file_to_write
from scripts.gpus import cores
from scripts.judges import open_judge
from scripts.schema import EvaluateConfig
from scripts.show import scores_text


@door("evaluate")
def main(config: EvaluateConfig) -> None:
    file_to_write("out", config.out)
    folder = Path(config.model)
    if config.engine.name != "openai":  # the server has the weights; the folder may hold config and tokenizer alone
        folder = Checkpoint(folder).folder
    data = data_folder(config.data)
    for name in config.benchmarks:
        data_sha256(name, data, config.split)  # a missing file shows here, not after the engine is open
    judge = open_judge(config.judge, Path(config.paths.work))
    judge.ready()
    settings = config.engine
    engine = open_engine(settings.name, folder, **settings.options())
    try:
        outcomes = evaluate(
            engine.lm,
            sorted(config.benchmarks),
            data,
            prompt_family(config.prompts, config.protocol),
            config.split,
            config.limit,
            judge,
            Path(config.paths.work) / "cache" / "verdicts",
            config.max_new_tokens,
            workers=cores(),
        )
    finally:
        engine.close()
    print(scores_text({name: outcome.metrics for name, outcome in outcomes.items()}))
    level = isolation_of(outcomes)
    if level is not None:
        print(f"programs ran at isolation level {level}: {LEVELS[level]}")
    if config.out:
        text = {
            "model": config.model,
            "split": config.split,
            "engine": settings.name,
            "isolation": level,
            **what_was_asked(config, data),
            "judge": judge.label,
            "judges": judge.identity(),
            "outcomes": {name: asdict(outcome) for name, outcome in outcomes.items()},
        }
        write_atomically(Path(config.out), (json.dumps(text, indent=1, sort_keys=True) + "\n").encode())


if __name__ == "__main__":
    main()
