"""MBPP (Austin et al. 2021): 500 test problems, zero-shot, one greedy program, right if all three asserts pass.

    {"task_id": 11, "text": "Write a python function to remove first and last occurrence of a given ...",
     "test_list": ["assert remove_Occ(\\"hello\\",\\"l\\") == \\"heo\\"", ...], "test_setup_code": "", "code": ...}

Prompt and cleaning of answers (declare-lab/della at 8067515, generate.py, test_mbpp) belong to the family
(eval/tasks/prompts.py); programs run in eval/sandbox.py. The paper scored with bigcode-evaluation-harness.
"""

from __future__ import annotations

import json
from pathlib import Path

from eval.sandbox import Program, run_programs
from eval.tasks.prompts import find_format

# MBPP's own solution of task 123 needs 2.6 s of an idle core; the tiny family's programs need milliseconds.
TIMEOUT_SECONDS = {"tiny": 3.0}
LONGEST_SECONDS = 15.0


def program(document: dict, code: str) -> Program:
    """An answer with its three asserts; the setup runs between the two, as task 367 needs it."""
    return Program(code, tests=list(document["test_list"]), setup=document.get("test_setup_code", ""))


def score(
    documents: list[dict], outputs: list[str], *, prompts: str | None, cache: Path | None = None, workers: int = 1
) -> dict[str, list[float]]:
    """pass_at_1, 0.0 or 1.0 per document: whether the cleaned output passes every assert in the sandbox.

    prompts: the family whose cleaning is used; None takes outputs as programs, to the character.
    """
    clean = find_format(prompts, "mbpp").clean if prompts else str
    programs = [program(document, clean(output)) for document, output in zip(documents, outputs, strict=True)]
    seconds = TIMEOUT_SECONDS.get(prompts or "", LONGEST_SECONDS)
    verdicts = run_programs(programs, timeout_s=seconds, workers=workers, cache=cache)
    return {"pass_at_1": [float(verdict.passed) for verdict in verdicts]}


def process_results(row: dict, results: list[str]) -> dict[str, float]:
    """lm-eval's per-document hook: the same scorer on a batch of one."""
    scores = score([json.loads(row["document"])], results, prompts=row["prompts"])
    return {name: values[0] for name, values in scores.items()}
