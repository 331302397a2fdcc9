"""MBPP (Austin et al. 2021): 500 test problems, zero-shot, one greedy program, right if all three asserts pass.

    {"task_id": 11, "text": "Write a python function to remove first and last occurrence of a given ...",
     "test_list": ["assert remove_Occ(\\"hello\\",\\"l\\") == \\"heo\\"", ...], "test_setup_code": "", "code": ...}

The prompt and the cleaning of answers belong to the family (eval/tasks/prompts.py); programs run in eval/sandbox.py.
"""

from __future__ import annotations

import json
from pathlib import Path

from eval.sandbox import Program, run_programs
from eval.tasks.prompts import find_format

# MBPP's own solution of task 123 needs 2.6 s of an idle core; the tiny family's programs need milliseconds.
TIMEOUT_SECONDS = {"tiny": 3.0}
LONGEST_SECONDS = 15.0


def score(
    documents: list[dict], outputs: list[str], *, prompts: str, cache: Path | None = None, workers: int = 1
) -> dict[str, list[float]]:
    """pass_at_1, 0.0 or 1.0 per document: whether the cleaned output passes every assert in the sandbox."""
    clean = find_format(prompts, "mbpp").clean
    programs = [
        Program(code=clean(output), tests=list(document["test_list"]), setup=document.get("test_setup_code", ""))
        for document, output in zip(documents, outputs, strict=True)
    ]
    seconds = TIMEOUT_SECONDS.get(prompts, LONGEST_SECONDS)
    verdicts = run_programs(programs, timeout_s=seconds, workers=workers, cache=cache)
    return {"pass_at_1": [float(verdict.passed) for verdict in verdicts]}


def process_results(row: dict, results: list[str]) -> dict[str, float]:
    """lm-eval's per-document hook: the same scorer on a batch of one."""
    scores = score([json.loads(row["document"])], results, prompts=row["prompts"])
    return {name: values[0] for name, values in scores.items()}
