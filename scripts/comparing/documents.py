"""The prompts and references behind runs: read from the benchmarks' files where these are at hand, never kept by us.

A record names its data by hash, not by place. Looked through are the folder that the user names, that of the outcomes,
DELLA_DATA_DIR and every family's own data under paths.work; the first that holds the very file is taken.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from della.errors import InputError
from eval.errors import InputError as EvalInputError
from eval.tasks.data import VARIABLE, data_sha256, load_rows
from scripts.comparing.runs import Given

# Which fields of a document are its reference, by benchmark: what a right answer looks like.
REFERENCE = {
    "gsm8k": ("answer",),
    "mbpp": ("code", "test_setup_code", "test_list"),
    "humaneval": ("canonical_solution", "test"),
    "alpaca_eval": ("output", "rule"),
}


def documents(
    runs: Sequence[Given], benchmark: str, named: str | None, work: Path
) -> dict[str, tuple[str, str]] | None:
    """id -> (prompt as the model saw it, reference) of a benchmark; None where its data is not at hand.

    Raises InputError where the folder that the user named does not hold the data.
    """
    asked = next((run.benchmarks[benchmark].asked for run in runs if run.benchmarks[benchmark].asked.get("data")), None)
    asked = asked or runs[0].benchmarks[benchmark].asked
    split, prompts, wanted = asked.get("split", "test"), asked.get("prompts"), asked.get("data")
    if prompts is None:
        return None
    told = [run.data for run in runs if run.data]
    others = [os.environ.get(VARIABLE), *sorted(map(str, work.glob("experts/*/data")))]
    for folder in [named] if named else [*told, *others]:
        if not folder:
            continue
        try:
            fits = wanted in (None, data_sha256(benchmark, folder, split))
            if fits:
                rows = load_rows(benchmark, data=folder, split=split, prompts=prompts)
                return {row["id"]: (row["prompt"], reference(benchmark, json.loads(row["document"]))) for row in rows}
        except EvalInputError:
            if named:
                raise
            continue
    if named:
        raise InputError(
            f"data={named}: its {split} data of {benchmark} is not what the runs answered; name that folder"
        )
    return None


def reference(benchmark: str, document: dict[str, Any]) -> str:
    """The reference of a document as text: its fields one below the other, lists line by line."""
    parts = [document[field] for field in REFERENCE.get(benchmark, ()) if document.get(field)]
    return "\n\n".join("\n".join(map(str, part)) if isinstance(part, list) else _text(part) for part in parts)


def _text(part: object) -> str:
    return part if isinstance(part, str) else json.dumps(part, ensure_ascii=False)
