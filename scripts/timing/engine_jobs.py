"""What is measured of the engines, in which order, and on which models and prompts.

A job is one process: an engine opened on a model, then asked. Engines take turns within a round.
"""

import json
import random
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.timing.engine_settings import TINY, EngineBenchConfig, size_of

THROUGHPUT, SWAP, RESTART, AGREEMENT = "throughput", "swap", "restart", "agreement"
PROMPT_TOKENS = 64  # of a model without a trained tokenizer
BENCHMARKS = ("gsm8k", "mbpp", "alpaca_eval")
SENTENCE = "a tokenizer that nothing is read with: prompts are token ids"


@dataclass(frozen=True)
class EngineJob:
    """One measurement.

    model: tiny, or billions of parameters. batch: answers generated at a time; 0 where that does not matter.
    """

    model: str
    case: str
    batch: int
    engine: str
    round: int

    def __str__(self) -> str:
        name = self.model if self.model == TINY else f"{self.model} B"
        batch = f" {self.batch}" if self.batch else ""
        return f"{name}, {self.case}{batch}, {self.engine}, round {self.round}"


def all_jobs(config: EngineBenchConfig) -> list[EngineJob]:
    """Every measurement, in the order they are made."""
    jobs = []
    for model in config.models:
        cases = [(THROUGHPUT, batch) for batch in config.batches] + [(RESTART, 0), (SWAP, 0)]
        for case, batch in cases:
            for number in range(1, config.rounds + 1):
                jobs += [EngineJob(model, case, batch, engine, number) for engine in config.engines]
    if TINY in config.models and len(config.engines) > 1:
        jobs.append(EngineJob(TINY, AGREEMENT, 0, "both", 1))
    return list(dict.fromkeys(jobs))


@dataclass(frozen=True)
class Model:
    """A folder, another model of the same shapes to swap in, and a JSON file of prompts as token ids."""

    folder: Path
    other: Path
    prompts: Path


def make_model(name: str, recipe: str, work: Path) -> Model:
    """The model of a bench and its prompts, made where they are missing."""
    prompts = work / f"prompts-{name}-{recipe if name == TINY else PROMPT_TOKENS}.json"
    made = _tiny(recipe, work, prompts) if name == TINY else _random(float(name), work, prompts)
    return made


def _tiny(recipe: str, work: Path, prompts: Path) -> Model:
    """The Math expert of a tiny family, asked the dev and test prompts of the three benchmarks, mixed."""
    from tokenizers import Tokenizer

    from della.tiny.family import build_family
    from della.tiny.recipe import RECIPES
    from eval.tasks.data import read_documents
    from eval.tasks.prompts import FAMILIES

    family = build_family(work / "experts", 0, RECIPES[recipe])
    if not prompts.exists():
        texts = [
            FAMILIES["tiny"][name].prompt(document)
            for name in BENCHMARKS
            for split in ("dev", "test")
            for document in read_documents(name, family.data, split)
        ]
        random.Random(0).shuffle(texts)
        tokenizer = Tokenizer.from_file(str(family.base / "tokenizer.json"))
        prompts.write_text(json.dumps([one.ids for one in tokenizer.encode_batch(texts)]))
    return Model(family.models["math"], family.models["lm"], prompts)


def _random(size: float, work: Path, prompts: Path) -> Model:
    """Two random models of Llama's shapes, asked random tokens."""
    from della.tiny.tokenizer import save_tokenizer, train_tokenizer
    from scripts.timing.models import make_family, shape_of

    folders = make_family(work, size, 1)
    made = []
    for folder in folders:
        with_tokenizer = work / f"served-{size:g}" / folder.name
        with_tokenizer.mkdir(parents=True, exist_ok=True)
        for file in folder.iterdir():
            (with_tokenizer / file.name).unlink(missing_ok=True)
            (with_tokenizer / file.name).symlink_to(file.resolve())
        save_tokenizer(train_tokenizer([SENTENCE], 300), with_tokenizer)
        made.append(with_tokenizer)
    if not prompts.exists():
        draw, vocab = random.Random(0), shape_of(size).vocab
        prompts.write_text(json.dumps([[draw.randrange(3, vocab) for _ in range(PROMPT_TOKENS)] for _ in range(1024)]))
    return Model(made[0], made[1], prompts)


def command(job: EngineJob, model: Model, config: EngineBenchConfig) -> list[str]:
    """The command of a job."""
    asked = {
        **asdict(job),
        "folder": str(model.folder),
        "other": str(model.other),
        "file": str(model.prompts),
        "prompts": max(config.prompts, 2 * job.batch),
        "new_tokens": config.new_tokens,
        "swaps": config.swaps,
    }
    return [sys.executable, "-m", "scripts.timing.engine_run", json.dumps(asked)]


def parameters(model: str) -> str:
    """How a model is called in tables."""
    size = size_of(model)
    return "tiny, 0.7 M" if size is None else f"{size:g} B"
