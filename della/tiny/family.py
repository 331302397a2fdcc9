"""Builds a tiny family and its data, stage by stage: tokenizer, base, the three experts, data with the references.

    python -m scripts.experts experts=tiny experts.seed=0

A stage is written under a temporary name and renamed when whole: a killed build loses the stage in progress, and the
next one goes on from there to the same bytes.
"""

import fcntl
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

from tokenizers import Tokenizer
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from della.tiny import arithmetic, instructions, programs
from della.tiny.models import encode, load_model, make_model, save_model, train_base, train_expert
from della.tiny.pretraining import write_documents
from della.tiny.recipe import EXPERTS, Recipe, family_folder
from della.tiny.references import answer_all
from della.tiny.tokenizer import save_tokenizer, train_tokenizer
from della.tiny.words import Problem

STAGES = ("tokenizer", "base", *EXPERTS, "data")
BENCHMARKS = {"lm": "alpaca_eval", "math": "gsm8k", "code": "mbpp"}
DRAW: dict[str, Callable[[Random, str], Problem | None]] = {
    "lm": instructions.draw_problem,
    "math": arithmetic.draw_problem,
    "code": programs.draw_problem,
}
# The base's documents that, with the problems, the tokenizer is learnt from: enough to meet every word.
TOKENIZER_DOCUMENTS = 20_000
# Often enough that each is one token after a blank, the rarest result included.
NUMBERS = "".join(f" {number}" for number in range(100))


@dataclass(frozen=True)
class Family:
    """A family on disk: complete Hugging Face folders of the base and the experts, and the benchmarks' data."""

    folder: Path
    base: Path
    models: dict[str, Path]
    data: Path


def is_whole(folder: Path) -> bool:
    """Whether every stage of the family is there."""
    return all((folder / stage).is_dir() for stage in STAGES)


def build_family(root: Path, seed: int, recipe: Recipe, progress: bool = True) -> Family:
    """Makes what is missing of a family and says where it lies; a whole family is only looked up.

    Two builds of one family at once take turns. Same recipe, seed and machine: same bytes, however often interrupted.

    Args:
        root: the folder that holds families.
        seed: fixes the weights drawn, the texts and the problems.
        progress: whether to show a bar with the time left for each stage.
    """
    folder = family_folder(root, seed, recipe)
    if not is_whole(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with _only_builder(folder):
            _Builder(folder, seed, recipe, progress).build()
    return Family(folder, folder / "base", {name: folder / name for name in EXPERTS}, folder / "data")


@contextmanager
def _only_builder(folder: Path) -> Iterator[None]:
    """Holds the folder's lock, which the system gives back when a process dies; clears what a dead one left."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in folder.glob(".partial-*"):
            shutil.rmtree(left)
        yield


def draw_problems(expert: str, split: str, count: int, seed: int) -> list[Problem]:
    """`count` problems of a benchmark's split, no two with the same instruction."""
    rng = Random(f"{seed} {expert} {split}")
    problems: dict[str, Problem] = {}
    while len(problems) < count:
        problem = DRAW[expert](rng, split)
        if problem is not None:
            problems.setdefault(problem.instruction, problem)
    return list(problems.values())


def gather_tokenizer_texts() -> list[str]:
    """What the tokenizer is learnt from: texts of seed 0 whatever the family's, so that all share one tokenizer."""
    texts = write_documents(0, TOKENIZER_DOCUMENTS) + [NUMBERS] * 500
    for expert in EXPERTS:
        texts += ["".join(problem.text()) for problem in draw_problems(expert, "train", 3_000, 0)]
    return texts


class _Builder:
    """One family being built; what stages share (problems, tokenizer) is made again from the seed when needed."""

    def __init__(self, folder: Path, seed: int, recipe: Recipe, progress: bool):
        self.folder, self.seed, self.recipe, self.progress = folder, seed, recipe, progress

    def build(self) -> None:
        self._stage("tokenizer", self._write_tokenizer)
        self.tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer" / "tokenizer.json"))
        self._stage("base", self._write_base)
        for expert in EXPERTS:
            self._stage(expert, partial(self._write_expert, expert))
        self._stage("data", self._write_data)

    def _stage(self, name: str, write: Callable[[Path], None]) -> None:
        if (self.folder / name).is_dir():
            return
        partial = self.folder / f".partial-{name}"
        partial.mkdir()
        write(partial)
        partial.rename(self.folder / name)

    def _label(self, stage: str) -> str | None:
        return f"tiny family {self.seed}: {stage:<5}" if self.progress else None

    def _problems(self, expert: str, split: str) -> list[Problem]:
        counts = {"train": getattr(self.recipe, f"{expert}_examples"), "dev": self.recipe.dev, "test": self.recipe.test}
        return draw_problems(expert, split, counts[split], self.seed)

    def _write_tokenizer(self, out: Path) -> None:
        save_tokenizer(train_tokenizer(gather_tokenizer_texts(), self.recipe.vocab), out)

    def _write_base(self, out: Path) -> None:
        model = make_model(self.recipe, self.seed)
        documents = write_documents(self.seed, self.recipe.base_documents)
        train_base(model, self.tokenizer, documents, self.recipe, self.seed, self._label("base"))
        self._write_model(model, out)

    def _write_expert(self, expert: str, out: Path) -> None:
        model = load_model(self.folder / "base", self.recipe)
        prompts, answers = zip(*(problem.text() for problem in self._problems(expert, "train")), strict=True)
        examples = encode(self.tokenizer, list(prompts), list(answers))
        rate = getattr(self.recipe, f"{expert}_rate")
        train_expert(model, examples, rate, self.recipe.batch, f"{self.seed} {expert}", self._label(expert))
        self._write_model(model, out)

    def _write_model(self, model: LlamaForCausalLM, out: Path) -> None:
        save_model(model, out)
        for file in (self.folder / "tokenizer").iterdir():
            shutil.copyfile(file, out / file.name)

    def _write_data(self, out: Path) -> None:
        for expert, benchmark in BENCHMARKS.items():
            (out / benchmark).mkdir()
            for split in ("train", "dev", "test"):
                documents = [problem.document for problem in self._problems(expert, split)]
                if expert == "code":
                    documents = [{"task_id": number, **document} for number, document in enumerate(documents, 1)]
                if expert == "lm":
                    if split != "train":
                        self._add_references(documents, split)
                    text = json.dumps(documents, indent=1)
                    (out / benchmark / f"{split}.json").write_text(text + "\n")
                else:
                    lines = "".join(json.dumps(document) + "\n" for document in documents)
                    (out / benchmark / f"{split}.jsonl").write_text(lines)

    def _add_references(self, documents: list[dict], split: str) -> None:
        """The base's own greedy outputs: what a model is compared with, so that the base itself wins half."""
        model = load_model(self.folder / "base", self.recipe)
        tokenizer = PreTrainedTokenizerFast.from_pretrained(self.folder / "base")
        asked = [document["instruction"] for document in documents]
        for document, output in zip(
            documents, answer_all(model, tokenizer, asked, self._label(f"refs {split}")), strict=True
        ):
            document["output"] = output
