'''HumanEval (Chen et al. 2021): 164 functions to complete, one greedy program, right if the problem's tests pass.

    {"task_id": "HumanEval/23", "prompt": "\\n\\ndef strlen(string: str) -> int:\\n    """ Return length of ... """\\n",
     "canonical_solution": "    return len(string)\\n", "entry_point": "strlen",
     "test": "...\\n\\ndef check(candidate):\\n    assert candidate('') == 0\\n ..."}

DARE's Table 1 has it, DELLA's tables don't. A program is what openai/human-eval runs (at 12d15a0, execution.py):
prompt, completion, test, then `check(entry_point)`, in one module that is not __main__, with 3 seconds, the default of
its evaluate_functional_correctness; here in eval/sandbox.py, with the standard library alone. Prompt and completion are
compiled apart from the test, so that no completion can swallow it: one that ends in a decorator or in a line
continuation fails here.

Prompt and cleaning of answers (MergeLM at 6d49ad9, test_human_eval) belong to the family (eval/tasks/prompts.py).
'''

from __future__ import annotations

import json
from pathlib import Path

from eval.sandbox import Program, run_programs
from eval.tasks.prompts import find_format

TIMEOUT_SECONDS = 3.0


def program(document: dict, completion: str) -> Program:
    """What human-eval would execute for a completion, in the sandbox's parts."""
    return Program(
        code=f"{document['prompt']}{completion}\n",
        tests=[document["test"], f"check({document['entry_point']})"],
    )


def score(
    documents: list[dict], outputs: list[str], *, prompts: str | None, cache: Path | None = None, workers: int = 1
) -> dict[str, list[float]]:
    """pass_at_1, 0.0 or 1.0 per document: whether the cleaned output passes the problem's check in the sandbox.

    prompts: the family whose cleaning is used; None takes outputs as completions, to the character.
    """
    clean = find_format(prompts, "humaneval").clean if prompts else str
    programs = [program(document, clean(output)) for document, output in zip(documents, outputs, strict=True)]
    verdicts = run_programs(programs, timeout_s=TIMEOUT_SECONDS, workers=workers, cache=cache)
    return {"pass_at_1": [float(verdict.passed) for verdict in verdicts]}


def process_results(row: dict, results: list[str]) -> dict[str, float]:
    """lm-eval's per-document hook: the same scorer on a batch of one."""
    scores = score([json.loads(row["document"])], results, prompts=row["prompts"])
    return {name: values[0] for name, values in scores.items()}
