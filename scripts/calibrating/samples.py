"""The texts that an expert's input activations are measured on.

The DELLA paper (Table 5) takes 128 samples of GSM8K for Math, MBPP's training problems for Code and C4 for LM. Ours,
since it says no more: the first ones of the file, each the prompt of the expert's family, a space and the reference
answer; C4 as plain text. The tiny family's are its own training problems.
"""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from della.activations import read_activations
from della.errors import InputError
from eval.errors import InputError as EvalInputError
from eval.tasks.prompts import find_format

MBPP_TRAIN = range(601, 975)  # the split of Austin et al.
SOURCES = {"math": "gsm8k", "code": "mbpp", "lm": "c4"}
OWN_LM = "alpaca_eval"  # of a family that is made by a recipe
ANSWERS = {"gsm8k": "answer", "mbpp": "code", "alpaca_eval": "output"}
# benchmark -> files of its folder, and which of their rows
Select = Callable[[list[dict]], list[dict]]
FILES: dict[str, list[tuple[str, Select]]] = {
    "gsm8k": [("train.jsonl", list)],
    "mbpp": [
        ("train.jsonl", list),
        ("mbpp.jsonl", lambda rows: [row for row in rows if row.get("task_id") in MBPP_TRAIN]),
    ],
    "alpaca_eval": [("train.json", list)],
}
C4 = ("*.jsonl", "*.jsonl.gz", "*.json.gz", "*.json", "*.txt")


def source_of(expert: str, given: dict[str, str], recipe: str | None) -> str:
    """Whose texts an expert gets: a benchmark, "c4" or a file. Raises InputError for a name without a default."""
    if expert in given:
        return given[expert]
    if expert == "lm" and recipe:
        return OWN_LM
    if expert not in SOURCES:
        raise InputError(
            f"activations.data.{expert} is not set: write gsm8k, mbpp, alpaca_eval, c4 or a file of texts, "
            f"or activations.files.{expert}=FILE"
        )
    return SOURCES[expert]


def texts_of(source: str, data: Path | None, count: int, prompts: str, chat: Callable[[str], str] = str) -> list[str]:
    """The first `count` texts of a source.

    Args:
        source: a benchmark of FILES, "c4" or the path of a file.
        data: folder of the benchmarks' files.
        prompts: prompt family, as `eval.tasks.prompts.prompt_family` names it.
        chat: puts a user's message into the model's chat template.

    Raises:
        InputError: there is no such file, it holds something else, or fewer texts.
    """
    if source in FILES:
        path, rows = _documents(source, data)
        form = find_format(prompts, source)
        texts = [_text(source, row, form, chat, path) for row in rows[:count]]
    else:
        path = _c4(data) if source == "c4" else Path(source)
        texts = _plain(path, count)
    if len(texts) < count:
        raise InputError(f"{path}: has {len(texts)} texts; write activations.samples={len(texts)} or name another file")
    return texts


def find_problems(asked: Any, experts: list[str], recipe: str | None, data: Path | None, prompts: str) -> list[str]:
    """Why input activations could not be measured: one sentence for each expert whose texts or file are not there.

    Args:
        asked: the options, `scripts.calibrating.settings.Activations`.
        experts: whose activations; recipe, data, prompts: as above.
    """
    problems = []
    for name in experts:
        try:
            if name in asked.files:
                read_activations(Path(asked.files[name]))
            else:
                texts_of(source_of(name, asked.data, recipe), data, asked.samples, prompts)
        except (InputError, EvalInputError) as error:
            problems.append(str(error))
    return problems


def _documents(benchmark: str, data: Path | None) -> tuple[Path, list[dict]]:
    names = " or ".join(name for name, _ in FILES[benchmark])
    if data is None:
        raise InputError(
            f"input activations on {benchmark} need its training file: put {benchmark}/{names} into a folder DIR and "
            "write experts.data=DIR, or set DELLA_DATA_DIR=DIR"
        )
    for name, select in FILES[benchmark]:
        path = data / benchmark / name
        if path.is_file():
            return path, select(_rows(path))
    raise InputError(f"no training data of {benchmark}: put {names} into {data / benchmark}")


def _text(benchmark: str, row: dict, form: Any, chat: Callable[[str], str], path: Path) -> str:
    try:
        prompt = form.prompt(row)
    except KeyError as error:
        raise InputError(f"{path}: a document lacks {error.args[0]}; fetch the file again") from None
    prompt = chat(prompt) if form.chat else prompt
    answer = row.get(ANSWERS[benchmark])
    return f"{prompt} {answer}" if answer else prompt


def _c4(data: Path | None) -> Path:
    place = Path("DIR") / "c4" if data is None else data / "c4"
    found = [path for pattern in C4 for path in sorted(place.glob(pattern))] if data is not None else []
    if not found:
        raise InputError(
            f'no texts of C4: put a part of it (c4-train.00000-of-01024.json.gz, or .jsonl with a "text" on each line, '
            f"or .txt with a document on each line) into {place}"
            + (" and write experts.data=DIR, or set DELLA_DATA_DIR=DIR" if data is None else "")
            + "; or name a file as activations.data.lm=FILE"
        )
    return found[0]


def _plain(path: Path, count: int) -> list[str]:
    """The first texts of a file: a line each, or what such a line, an object of JSON, has as its text."""
    is_json = ".json" in path.name
    texts: list[str] = []
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if len(texts) == count:
                    break
                text = _text_field(line, path, number) if is_json and line.strip() else line.strip()
                if text:
                    texts.append(text)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file of texts; write activations.data.NAME=FILE") from None
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); fetch it again") from None
    return texts


def _text_field(line: str, path: Path, number: int) -> str:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {number}: not valid JSON ({error}); write an object per line") from None
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        raise InputError(f'{path}, line {number}: has no "text"; write an object per line, with its text as "text"')
    return row["text"]


def _rows(path: Path) -> list[dict]:
    text = path.read_text(encoding="utf-8")
    try:
        rows = json.loads(text) if path.suffix == ".json" else [json.loads(x) for x in text.split("\n") if x.strip()]
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is not valid JSON ({error}): fetch the file again") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path}: not a list of documents; fetch the file again")
    return rows
