"""The tables of the engines' bench, Markdown, from its measurements alone; what was not measured is not run."""

from collections.abc import Mapping
from typing import Any

from scripts.timing.engine_jobs import AGREEMENT, RESTART, SWAP, THROUGHPUT, EngineJob, parameters
from scripts.timing.engine_settings import ENGINES
from scripts.timing.results import Results, inner, wall
from scripts.timing.table import NOT_RUN, markdown, ratio_text, seconds_text

NOTES = """\
- Every measurement is a process of its own; medians over rounds, in which the engines take turns. A ratio is the median
  of the rounds' ratios, then the lowest and the highest. float32 on the CPU, all cores, no compilation.
- Throughput: prompts of a benchmark answered greedily so many at a time (vLLM: max_num_seqs, hf: batch_size), the
  median of three passes after one that is not measured; tokens are those of the answers. tiny: the Math expert of a
  trained tiny family on its own prompts, whose answers end by themselves; others: random weights of Llama's shapes,
  random prompts of 64 tokens.
- Swap: from tensors in memory, or by the merge's folder, what the engine holds compared with the merge in full
  (checked), in 16 columns of each matrix (sample) or not at all. Open anew: another engine in the same process, to its
  first answer. Restart: a new process, Python's start and imports included, to its first answer and its end.
- Same outputs: token ids of vLLM's and transformers' greedy answers. Where two part, transformers computes the logits
  of both tokens in float64; a gap of at most 4 times the largest error of a float32 logit there is a tie."""


def tables(results: Results, machine: Mapping[str, Any]) -> str:
    """All of them under one title."""
    parts = [f"# Engines: throughput, swaps, agreement\n\n{_machine(results, machine)}\n"]
    parts += [
        f"## {title}\n\n{markdown(rows)}\n"
        for title, rows in (
            ("Throughput", throughput(results)),
            ("A swap of weights against a restart", swaps(results)),
            ("Same outputs", agreement(results)),
        )
        if len(rows) > 1
    ]
    return "\n".join([*parts, f"## Notes\n\n{NOTES}\n"])


def throughput(results: Results) -> list[list[str]]:
    """One row per model and batch size."""
    head = ["model", "at a time"]
    head += [f"{engine}, {what}/s" for engine in ENGINES for what in ("prompts", "tokens")]
    rows = [[*head, "vllm / hf", "rounds"]]
    places = dict.fromkeys((job.model, job.batch) for job in results.of if job.case == THROUGHPUT)
    for model, batch in places:
        jobs = [EngineJob(model, THROUGHPUT, batch, engine, 1) for engine in ENGINES]
        row = [parameters(model), str(batch)]
        for job in jobs:
            row += [_count(results.median(job, inner(f"{what}_per_s"))) for what in ("prompts", "tokens")]
        ratio = results.ratio(jobs[0], jobs[1], inner("prompts_per_s"))
        rows.append([*row, ratio_text(ratio), str(ratio.rounds if ratio else 0)])
    return rows


def swaps(results: Results) -> list[list[str]]:
    """One row per model and engine."""
    kinds = ("full", "sample", "none", "folder")
    head = ["checked, ms", "sample, ms", "unchecked, ms", "by folder, ms", "open anew, s", "restart, s"]
    rows = [["model", "engine", *head, "restart / checked swap"]]
    for model in dict.fromkeys(job.model for job in results.of if job.case == SWAP):
        for engine in ENGINES:
            job, again = EngineJob(model, SWAP, 0, engine, 1), EngineJob(model, RESTART, 0, engine, 1)
            row = [parameters(model), engine, *(_count(results.median(job, inner(kind))) for kind in kinds)]
            row += [seconds_text(results.median(job, inner("reopen"))), seconds_text(results.median(again))]
            ratio = results.ratio(again, job, wall, lambda measurement: measurement.inner["full"] / 1e3)
            rows.append([*row, ratio_text(ratio)])
    return rows


def agreement(results: Results) -> list[list[str]]:
    """One row, and what every difference was."""
    rows = [["model", "prompts", "same", "share", "differences: gap of the logits (float32 error there)"]]
    for job, measurement in results.of.items():
        if job.case == AGREEMENT:
            found = measurement.inner
            told = [
                f"{one['gap']:.1e} ({one['error']:.1e}{'' if one['is_tie'] else ', NO TIE'})" for one in found["gaps"]
            ]
            share = f"{100 * found['same'] / found['prompts']:.1f} %"
            told_all = "; ".join(told) or "none"
            rows.append([parameters(job.model), str(found["prompts"]), str(found["same"]), share, told_all])
    return rows


def _count(value: float | None) -> str:
    if value is None:
        return NOT_RUN
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _machine(results: Results, machine: Mapping[str, Any]) -> str:
    busiest = max((measurement.others for measurement in results.of.values()), default=0.0)
    commits = sorted({str(measurement.commit) for measurement in results.of.values()})
    return (
        f"{machine.get('cores')} cores of {machine.get('cpu')}, {machine.get('memory_gb')} GB, "
        f"{machine.get('system')}; Python {machine.get('python')}, vllm {machine.get('vllm')}, transformers "
        f"{machine.get('transformers')}, torch {machine.get('torch')}. At commit {', '.join(commits) or 'none'}. "
        f"While a process ran, everything else kept at most {busiest:.2f} cores busy."
    )
