"""A file of samples and the problems they answer.

    {"id": 11, "output": "def remove_Occ(s, ch): ..."}

One JSON object per line (a name that ends in .gz is read as gzip), any number of lines per problem, in any order; equal
lines are so many samples. `id` is the 0-based row of the test split for gsm8k, the task_id for mbpp and humaneval
("HumanEval/0", or 0). Further keys are ignored. What is wrong with a file is said with its line.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.errors import InputError
from eval.tasks.data import read_documents
from eval.tasks.prompts import FAMILIES

BENCHMARKS = ("gsm8k", "mbpp", "humaneval")


@dataclass(frozen=True)
class Samples:
    """The problems that have samples, in the benchmark's order; outputs[i] are the samples of problem ids[i]."""

    ids: list[str]
    documents: list[dict]
    outputs: list[list[str]]
    missing: int

    @property
    def count(self) -> int:
        return sum(map(len, self.outputs))


def cleaner(prompts: str, benchmark: str) -> Callable[[str], str]:
    """Raw output -> what is scored, as the prompt family says; a family without this benchmark changes nothing."""
    forms = FAMILIES[prompts]
    return forms[benchmark].clean if benchmark in forms else str


def read_problems(benchmark: str, folder: str | Path | None) -> dict[str, dict]:
    """The test problems by id, in the benchmark's order. Raises InputError for missing or broken data."""
    documents = read_documents(benchmark, folder, "test")
    return {str(document.get("task_id", row)): document for row, document in enumerate(documents)}


def read_samples(benchmark: str, path: str | Path, problems: dict[str, dict], partial: bool = False) -> Samples:
    """The samples of a file, by problem.

    Raises InputError for a missing, empty or malformed file, an unknown id, and, unless partial, for problems without
    a sample.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f'no samples file {path}: write one JSON object per line, {{"id": ..., "output": "..."}}')
    found: dict[str, list[str]] = {id_: [] for id_ in problems}
    for number, line in _lines(path):
        id_, output = _read_line(benchmark, line, f"{path}, line {number}")
        if id_ not in found:
            known = f"{next(iter(problems))} to {next(reversed(problems))}"
            raise InputError(f"{path}, line {number}: {benchmark} has no problem {id_}; write an id from {known}")
        found[id_].append(output)
    missing = [id_ for id_, outputs in found.items() if not outputs]
    if len(missing) == len(found):
        raise InputError(f"{path} holds no sample: write at least one line")
    if missing and not partial:
        raise InputError(
            f"{path}: {len(missing)} of {len(found)} problems of {benchmark} have no sample (first: {missing[0]}); "
            "add them, or write partial=true to score those there are"
        )
    kept = {id_: outputs for id_, outputs in found.items() if outputs}
    return Samples(list(kept), [problems[id_] for id_ in kept], list(kept.values()), len(missing))


def check_k(samples: Samples, ks: Sequence[int]) -> None:
    """Raises InputError for a k of which some problem has fewer samples: pass@k has no unbiased estimate then."""
    few = [(id_, len(some)) for id_, some in zip(samples.ids, samples.outputs, strict=True) if len(some) < max(ks)]
    if few:
        raise InputError(
            f"k={max(ks)}: {len(few)} of {len(samples.ids)} problems have fewer samples (first: {few[0][0]}, "
            f"{few[0][1]}); write a k up to {min(count for _, count in few)}"
        )


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers from 1."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}, line {number}: not UTF-8 ({error.reason}); write the file in UTF-8") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path} is not a whole gzip file ({error}); write it again") from None


def _read_line(benchmark: str, line: str, where: str) -> tuple[str, str]:
    """(id, output) of a line."""
    try:
        entry = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        what = getattr(error, "msg", "nested too deep")
        raise InputError(f'{where}: not JSON ({what}); write {{"id": ..., "output": "..."}}') from None
    if not isinstance(entry, dict) or "id" not in entry or "output" not in entry:
        raise InputError(f'{where}: write an object with "id" and "output"')
    id_, output = entry["id"], entry["output"]
    if not isinstance(output, str):
        raise InputError(f"{where}: output is {json.dumps(output)[:40]}; write a string")
    if isinstance(id_, bool) or not isinstance(id_, int | str):
        raise InputError(f"{where}: id is {json.dumps(id_)[:40]}; write {_id_form(benchmark)}")
    text = str(id_).strip()
    if benchmark == "humaneval" and text.isdecimal():
        text = f"HumanEval/{int(text)}"
    elif text.isdecimal():
        text = str(int(text))
    return text, output


def _id_form(benchmark: str) -> str:
    forms = {"gsm8k": "the row in the test split, from 0", "mbpp": "a task_id, as 11"}
    return forms.get(benchmark, 'a task_id, as "HumanEval/0"')
