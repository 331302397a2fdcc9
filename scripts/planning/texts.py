"""Prompts and answers in tokens: counted on the benchmarks' files where they are, else from stated means.

Stated means are of the published test data, in bytes of UTF-8: GSM8K's 1,319 questions and their reference solutions,
MBPP's 500 problems (text, each assert, reference code), AlpacaEval's 805 instructions and the outputs of one 13B expert
on them (wizardlm-13b, tatsu-lab/alpaca_eval at cd543a1), HumanEval's 164 prompts and solutions. A test counts them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from della.errors import InputError
from della.tiny.recipe import RECIPES
from eval.errors import InputError as EvalInputError
from eval.tasks.data import PUBLISHED, load_rows
from eval.tasks.prompts import find_format, prompt_family
from scripts.data import data_folder
from scripts.planning.assumptions import Assumptions
from scripts.planning.shape import folders
from scripts.schema import SweepPlanConfig

# Stands for a document of the published data: as long as these are on average.
MEAN_DOCUMENT: dict[str, dict[str, Any]] = {
    "gsm8k": {"question": "x" * 240},
    "mbpp": {"task_id": 0, "text": "x" * 79, "test_list": ["x" * 63] * 3},
    "alpaca_eval": {"instruction": "x" * 165},
    "humaneval": {"prompt": "x" * 451},
}
# Bytes of an answer, and why.
MEAN_ANSWER = {
    "gsm8k": (586.0, "twice the reference solutions' 293 bytes: models explain more"),
    "mbpp": (367.0, "twice the reference programs' 183 bytes: models explain more"),
    "alpaca_eval": (986.0, "wizardlm-13b's published outputs"),
    "humaneval": (361.0, "twice the reference programs' 181 bytes: models explain more"),
}
BYTES_PER_TOKEN = (
    3.5,
    "assumed, rather too many tokens: GPT-4's took 4.6 bytes of AlpacaEval's prompts, and has more words than Llama's",
)
TINY_ANSWER_SHARE = 0.5  # of its limit


@dataclass(frozen=True)
class Text:
    """One benchmark. documents: of each split, as far as known; prompt: its mean tokens; answer: mean tokens of an
    answer; limit: the longest answer, tokens."""

    documents: Mapping[str, int]
    prompt: float
    answer: float
    limit: int


class Texts:
    """Reads a sweep's benchmarks. `problems`: splits that a named folder of data does not have.

    answers: benchmark -> (mean tokens of an answer, where measured).
    """

    def __init__(
        self, config: SweepPlanConfig, book: Assumptions, answers: Mapping[str, tuple[float, str]] | None = None
    ) -> None:
        self.config, self.book, self.answers = config, book, answers or {}
        self.prompts = prompt_family(config.experts.prompts, config.experts.protocol)
        self.problems: list[str] = []
        self.place, self.tokenizer = self._place(), find_tokenizer(config)

    def _place(self) -> Path | None:
        """The folder of the benchmarks' files; None: the hub, or a family that is not made yet."""
        if self.config.experts.recipe in RECIPES:
            base, _ = folders(self.config)
            made = base.parent / "data" if base is not None else None
            return made if made is not None and made.is_dir() else None
        return data_folder(self.config.experts.data)

    def read(self, benchmark: str, splits: Iterable[str]) -> Text:
        """A benchmark's splits, in tokens. Prompts are counted on the test split where it is there."""
        form = find_format(self.prompts, benchmark)
        limit = self.config.experts.max_new_tokens or form.max_new_tokens
        rows = {split: self._rows(benchmark, split) for split in splits}
        known = {split: found for split, found in sorted(rows.items(), reverse=True) if found is not None}
        counted = stated = None
        if known:
            split, found = next(iter(known.items()))
            how = "by the base's tokenizer" if self.tokenizer is not None else "by their bytes"
            counted = self._tokens([row["prompt"] for row in found]), f"{len(found):,} {split} prompts, {how}"
        else:
            text = form.prompt(MEAN_DOCUMENT[benchmark])
            stated = len(text.encode()) / self._bytes_per_token(), "stated: the template around a mean document"
        option = self.config.assume.prompt_tokens.get(benchmark)
        prompt = self.book.settle(f"prompt_tokens.{benchmark}", "tokens", option, counted, stated) or 0.0
        counts = {split: self._documents(benchmark, split, found) for split, found in rows.items()}
        documents = {split: count for split, count in counts.items() if count is not None}
        return Text(documents, prompt, min(self._answer(benchmark, limit), limit), limit)

    def _tokens(self, texts: list[str]) -> float:
        """Mean tokens of some texts."""
        if self.tokenizer is not None:
            return sum(len(found.ids) for found in self.tokenizer.encode_batch(texts)) / len(texts)
        return sum(len(text.encode()) for text in texts) / len(texts) / self._bytes_per_token()

    def _bytes_per_token(self) -> float:
        option = self.config.assume.bytes_per_token
        return self.book.settle("bytes_per_token", "bytes", option, default=BYTES_PER_TOKEN) or BYTES_PER_TOKEN[0]

    def _answer(self, benchmark: str, limit: int) -> float:
        option = self.config.assume.answer_tokens.get(benchmark)
        measured, default = self.answers.get(benchmark), None
        if option is None and measured is None:
            if self.config.experts.recipe in RECIPES:
                default = limit * TINY_ANSWER_SHARE, "assumed: half of the limit"
            else:
                count, why = MEAN_ANSWER[benchmark]
                default = count / self._bytes_per_token(), f"assumed: {why}"
        return self.book.settle(f"answer_tokens.{benchmark}", "tokens", option, measured, default) or 0.0

    def _rows(self, benchmark: str, split: str) -> list[dict] | None:
        if self.place is None:
            return None
        try:
            return load_rows(benchmark, data=str(self.place), split=split, prompts=self.prompts)
        except (EvalInputError, InputError) as error:
            self.problems.append(str(error))
            return None

    def _documents(self, benchmark: str, split: str, rows: list[dict] | None) -> int | None:
        """How many a split has; where it is not at hand, as many as it is known to have elsewhere."""
        if rows is not None:
            return len(rows)
        recipe = RECIPES.get(self.config.experts.recipe or "")
        if recipe is not None:
            return recipe.dev if split == "dev" else recipe.test
        published = PUBLISHED.get((benchmark, split))
        return published.documents if published else None


def find_tokenizer(config: SweepPlanConfig) -> Any:
    """The base's tokenizer; None where its folder is not there, or where assume.bytes_per_token replaces it."""
    base, _ = folders(config)
    if base is None or not (base / "tokenizer.json").is_file() or config.assume.bytes_per_token is not None:
        return None
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(base / "tokenizer.json"))
