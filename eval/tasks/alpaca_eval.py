"""AlpacaEval (Li et al. 2023): 805 instructions, the output compared with a reference output by a judge.

    {"instruction": "What are the names of some famous actors that started their careers on Broadway?",
     "output": "Some famous actors that ...", "generator": "text_davinci_003", "dataset": "helpful_base"}

The prompt (declare-lab/della at 8067515, generate.py, test_alpaca_eval) belongs to the family (eval/tasks/prompts.py).
win_rate is 1 when the judge prefers the model, 0 when it prefers the reference, 0.5 for a draw, None without a verdict.
Run through lm_eval alone, documents that carry a rule are judged by it; the published ones need a judge that no
process_results can hold, so only the output's length is reported and the outputs are logged (--log_samples).
"""

from __future__ import annotations

import json

from eval.judge import Judge, RuleJudge


def score(documents: list[dict], outputs: list[str], *, judge: Judge) -> dict[str, list[float | None]]:
    """win_rate in {0, 0.5, 1, None} (or between, for weighted judges) and whatever else the judge measures."""
    instructions = [document["instruction"] for document in documents]
    references = [document["output"] for document in documents]
    preferences = judge.judge(instructions, outputs, references, documents)
    return {"win_rate": preferences, **judge.extra_metrics(outputs, documents)}


def process_results(row: dict, results: list[str]) -> dict[str, float | None]:
    """lm-eval's per-document hook."""
    document = json.loads(row["document"])
    characters = float(len(results[0]))
    if "rule" not in document:
        return {"characters": characters}
    scores = score([document], results, judge=RuleJudge())
    return {**{name: values[0] for name, values in scores.items()}, "characters": characters}
