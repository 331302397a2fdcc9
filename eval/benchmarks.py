"""The papers' benchmarks (DELLA section 3, DARE Table 1) run on an lm-eval model: one score per prompt and metric.

Tasks, requests and filters are lm-eval's own (eval/tasks). lm-eval's `evaluate` itself is not used: it reloads data,
hashes the git tree and bootstraps at every call, about a second for each of the hundreds of checkpoints of a sweep.
Here a task is built once per process and each further checkpoint costs its generation and its scoring.

    lm = open_engine("vllm", Path("model")).lm
    evaluate(lm, ["gsm8k"], data=Path("data"), prompts="tiny", split="dev")["gsm8k"].mean("flexible")
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from eval.errors import InputError
from eval.judge import Judge
from eval.judges.gsm8k import SolutionJudge
from eval.tasks import alpaca_eval, gsm8k, humaneval, mbpp
from eval.tasks.chat import chat_prompt
from eval.tasks.data import data_sha256
from eval.tasks.prompts import find_format

TASKS = Path(__file__).parent / "tasks"
REMEMBERED_TASKS = 32  # benchmarks x splits x limits that one process goes through


@dataclass(frozen=True)
class Benchmark:
    """A row of BENCHMARKS. Bump the version whenever the same outputs would get other prompts or other scores."""

    task: str
    metric: str
    version: int


BENCHMARKS = {
    "gsm8k": Benchmark("della_gsm8k", "flexible", version=1),
    "mbpp": Benchmark("della_mbpp", "pass_at_1", version=1),
    "alpaca_eval": Benchmark("della_alpaca_eval", "win_rate", version=1),
    "humaneval": Benchmark("della_humaneval", "pass_at_1", version=1),
}


def metrics_of(benchmark: str, prompts: str) -> tuple[str, ...] | None:
    """The metrics that a benchmark has with a family's prompts; None where the judge decides, or for no row above."""
    if benchmark == "gsm8k":
        return gsm8k.metrics(prompts)
    return ("pass_at_1",) if benchmark in ("mbpp", "humaneval") else None


@dataclass(frozen=True)
class Outcome:
    """What one model did on one benchmark; every list is in the order of the documents.

    seconds: what it took to "generate" and to "score".
    """

    ids: list[str]
    metrics: dict[str, list[float | None]]
    groups: list[str]
    outputs: list[str]
    seconds: dict[str, float] = field(default_factory=dict, compare=False)

    def mean(self, metric: str) -> float:
        """The mean over the prompts that have a score; None (no verdict) is left out."""
        scores = [score for score in self.metrics[metric] if score is not None]
        return sum(scores) / len(scores)


Scorer = Callable[[list[dict], list[str]], dict[str, list]]


def evaluate(
    lm,
    benchmarks: list[str],
    data: str | Path | None,
    prompts: str,
    split: str,
    limit: int | None = None,
    judge: Judge | None = None,
    code_cache: Path | None = None,
    max_new_tokens: int | None = None,
    workers: int = 1,
    only: Mapping[str, Sequence[int]] | None = None,
) -> dict[str, Outcome]:
    """Score an lm_eval.api.model.LM on benchmarks, one generate call each.

    data: folder of the benchmarks' files; None is DELLA_DATA_DIR, or the hub where that is not set;
    prompts: a family, with its protocol as `eval.tasks.prompts.prompt_family` writes it.
    limit takes the first documents of the split; max_new_tokens replaces the prompt family's own limit;
    code_cache is where the verdicts on programs are kept; workers: programs that run at once; only: benchmark -> which
    of these documents to ask, by their number from 0, in this order.
    Raises InputError for an unknown benchmark, family or split, for missing data, and for alpaca_eval without a judge.
    """
    unknown = [name for name in benchmarks if name not in BENCHMARKS]
    if unknown:
        raise InputError(f"unknown benchmark {unknown[0]!r}: write one of {', '.join(BENCHMARKS)}")
    if limit is not None and limit < 1:
        raise InputError(f"limit={limit}: write a number of documents from 1, or null for all")
    scorers = _scorers(benchmarks, prompts, judge, code_cache, workers)
    # Every task is loaded before anything is generated: missing data of the last must not cost the work of the first.
    folder = str(data) if data else None
    loaded = {
        name: _load(name, folder, prompts, split, limit, max_new_tokens, data_sha256(name, folder, split))
        for name in benchmarks
    }
    if judge is not None and "alpaca_eval" in loaded:
        judge.accept(loaded["alpaca_eval"].documents)
    if judge is not None and judge.gsm8k is not None and "gsm8k" in loaded:
        judge.gsm8k.accept()
    asked = loaded if only is None else {name: loaded[name].part(only[name]) for name in benchmarks}
    return {name: _run(lm, asked[name], scorers[name]) for name in benchmarks}


def _scorers(
    benchmarks: list[str], prompts: str, judge: Judge | None, code_cache: Path | None, workers: int
) -> dict[str, Scorer]:
    scorers: dict[str, Scorer] = {
        "gsm8k": partial(gsm8k.score, prompts=prompts),
        "mbpp": partial(mbpp.score, prompts=prompts, cache=code_cache, workers=workers),
        "humaneval": partial(humaneval.score, prompts=prompts, cache=code_cache, workers=workers),
    }
    if judge is not None:
        scorers["alpaca_eval"] = partial(alpaca_eval.score, judge=judge)
    elif "alpaca_eval" in benchmarks:
        raise InputError("alpaca_eval needs a judge: name one, or leave alpaca_eval out of the benchmarks")
    if judge is not None and judge.gsm8k is not None:
        scorers["gsm8k"] = partial(judged_gsm8k, judge.gsm8k, prompts=prompts)
    return scorers


def count_documents(
    benchmarks: Sequence[str],
    data: str | Path | None,
    prompts: str,
    split: str,
    limit: int | None = None,
    max_new_tokens: int | None = None,
) -> dict[str, int]:
    """How many documents `evaluate` with these arguments asks of each benchmark."""
    folder = str(data) if data else None
    return {
        name: len(_load(name, folder, prompts, split, limit, max_new_tokens, data_sha256(name, folder, split)).requests)
        for name in benchmarks
    }


def judged_gsm8k(judge: SolutionJudge, documents: list[dict], outputs: list[str], *, prompts: str) -> dict[str, list]:
    """GSM8K's own scores, and `judged`: the judge's."""
    return {**gsm8k.score(documents, outputs, prompts=prompts), "judged": judge.judge(documents, outputs)}


@dataclass(frozen=True)
class _Loaded:
    task: Any
    requests: list
    documents: list[dict]
    chat: bool  # requests hold messages that the model's chat template has to frame

    def part(self, numbers: Sequence[int]) -> _Loaded:
        """Some of the documents."""
        requests, documents = ([held[number] for number in numbers] for held in (self.requests, self.documents))
        return replace(self, requests=requests, documents=documents)


@lru_cache(maxsize=REMEMBERED_TASKS)
def _load(
    benchmark: str,
    data: str | None,
    prompts: str,
    split: str,
    limit: int | None,
    max_new_tokens: int | None,
    sha256: str,
) -> _Loaded:
    """The lm-eval task with its requests built; sha256 is in the key so that changed data is read again."""
    from lm_eval.tasks import TaskManager  # seconds to import: not before something is evaluated

    form = find_format(prompts, benchmark)
    name = BENCHMARKS[benchmark].task
    metadata = {"data": data, "split": split, "prompts": prompts}
    with _quiet_lm_eval():
        task = TaskManager(include_path=str(TASKS), include_defaults=False, metadata=metadata).load(name)["tasks"][name]
    limits = {"until": list(form.stops), "max_gen_toks": max_new_tokens or form.max_new_tokens}
    task.set_config("generation_kwargs", {"do_sample": False, **limits})
    requests = []
    for number, row in task.doc_iterator(limit=limit):
        context = task.fewshot_context(row, num_fewshot=0)
        requests.append(task.construct_requests(row, context, metadata=(name, number, 1)))
    task._instances = requests
    return _Loaded(task, requests, [json.loads(request.doc["document"]) for request in requests], form.chat)


@contextmanager
def _quiet_lm_eval():
    """lm-eval warns about metadata on every custom data set; its errors still show."""
    logger = logging.getLogger("lm_eval")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _run(lm, loaded: _Loaded, score: Callable[[list[dict], list[str]], dict[str, list]]) -> Outcome:
    if loaded.chat:
        for request in loaded.requests:
            request.arguments = (chat_prompt(lm, request.doc["prompt"]), request.arguments[1])
    started = time.perf_counter()
    for request, response in zip(loaded.requests, lm.generate_until(loaded.requests), strict=True):
        request.resps = [response]
    loaded.task._instances = loaded.requests
    loaded.task.apply_filters()
    outputs = [next(iter(request.filtered_resps.values())) for request in loaded.requests]
    rows, generated = [request.doc for request in loaded.requests], time.perf_counter()
    return Outcome(
        ids=[row["id"] for row in rows],
        metrics=score(loaded.documents, outputs),
        groups=[row["group"] for row in rows],
        outputs=outputs,
        seconds={"generate": generated - started, "score": time.perf_counter() - generated},
    )
