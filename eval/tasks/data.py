"""Benchmark files, as the benchmarks publish them or as the tiny family writes them: one reader for both.

Under one folder: gsm8k/{split}.jsonl, mbpp/{split}.jsonl, alpaca_eval/{split}.json; or, as published, gsm8k/test.jsonl
and train.jsonl (openai/grade-school-math), mbpp/mbpp.jsonl (google-research, split by task_id) and
alpaca_eval/text_davinci_003_outputs.json (AlpacaEval 1.0's instructions and reference outputs).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

from eval.errors import InputError
from eval.tasks.prompts import find_format

VARIABLE = "DELLA_DATA_DIR"
GSM8K_DEV = 1000  # the last problems of the training file: no test problem is ever used to choose anything
MBPP_TEST = range(11, 511)
MBPP_DEV = range(511, 975)

Rows = list[dict]
# (benchmark, split) -> where that split is: (file, which of its rows), the first file that exists wins
SOURCES: dict[tuple[str, str], list[tuple[str, Callable[[Rows], Rows]]]] = {
    ("gsm8k", "test"): [("test.jsonl", list)],
    ("gsm8k", "dev"): [("dev.jsonl", list), ("train.jsonl", lambda rows: rows[-GSM8K_DEV:])],
    ("mbpp", "test"): [("test.jsonl", list), ("mbpp.jsonl", lambda rows: by_task_id(rows, MBPP_TEST))],
    ("mbpp", "dev"): [("dev.jsonl", list), ("mbpp.jsonl", lambda rows: by_task_id(rows, MBPP_DEV))],
    ("alpaca_eval", "test"): [("test.json", list), ("text_davinci_003_outputs.json", list)],
    ("alpaca_eval", "dev"): [("dev.json", list)],
}
FIELDS = {
    "gsm8k": ("question", "answer"),
    "mbpp": ("task_id", "text", "test_list"),
    "alpaca_eval": ("instruction", "output"),
}


def by_task_id(rows: Rows, wanted: range) -> Rows:
    return sorted((row for row in rows if row["task_id"] in wanted), key=lambda row: row["task_id"])


def find_source(benchmark: str, folder: str | Path, split: str) -> tuple[Path, Callable[[Rows], Rows]]:
    """The file that holds a split, and the function that takes the split's rows out of it.

    Raises InputError when the split is unknown or no such file exists, naming the files that would do.
    """
    if (benchmark, split) not in SOURCES:
        raise InputError(f"unknown split {split!r} of {benchmark}: write dev or test")
    here = Path(folder) / benchmark
    for name, select in SOURCES[benchmark, split]:
        if (here / name).is_file():
            return here / name, select
    names = " or ".join(name for name, _ in SOURCES[benchmark, split])
    raise InputError(f"no {split} data of {benchmark}: put {names} into {here}, or name the right data folder")


def data_sha256(benchmark: str, folder: str | Path, split: str) -> str:
    """SHA-256 (hex) of the file a split is read from."""
    return hashlib.sha256(find_source(benchmark, folder, split)[0].read_bytes()).hexdigest()


def read_documents(benchmark: str, folder: str | Path, split: str) -> Rows:
    """The documents of a split as the file has them, in the file's order (MBPP's published file: by task_id).

    Raises InputError for a missing file, a line that is not JSON, or a document without one of FIELDS.
    """
    path, select = find_source(benchmark, folder, split)
    text = path.read_text(encoding="utf-8")
    try:
        if path.suffix == ".json":
            rows = json.loads(text)
        else:
            rows = [json.loads(line) for line in text.split("\n") if line.strip()]
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is not valid JSON ({error}): fetch the file again") from None
    for number, row in enumerate(rows):
        missing = [field for field in FIELDS[benchmark] if field not in row]
        if missing:
            raise InputError(f"{path}: document {number} (from 0) lacks {', '.join(missing)}")
    return select(rows)


def load_rows(benchmark: str, *, data: str | None = None, split: str = "test", prompts: str = "wizard_13b") -> Rows:
    """One flat row per document: id (str), group (str), prompt (str), prompts (str) and document (JSON text).

    The id is the 0-based row of the split, or MBPP's task_id. The document travels as text because lm-eval's dataset
    tables would give every document the union of all documents' keys.
    """
    folder = data or os.environ.get(VARIABLE)
    if not folder:
        raise InputError(f'no data folder: set {VARIABLE}, or pass --metadata \'{{"data": "DIR"}}\' to lm_eval')
    form = find_format(prompts, benchmark)
    return [
        {
            "id": str(document.get("task_id", number)),
            "group": document.get("group", "all"),
            "prompt": form.prompt(document),
            "prompts": prompts,
            "document": json.dumps(document),
        }
        for number, document in enumerate(read_documents(benchmark, folder, split))
    ]
