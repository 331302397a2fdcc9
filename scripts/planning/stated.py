"""The time model of a family without records, on a GPU of which only the data sheet is known.

    prompts   2 FLOP per parameter and token, at a share of the card's matrix throughput
    answers   a step writes one token of every answer in the batch; it reads all weights and the batch's keys and values
              at a share of the memory bandwidth, or computes 2 FLOP per parameter and answer, whichever takes longer
    batch     as many answers as the engine takes at a time and as the memory left by the weights holds
    merge     seconds per 10^9 parameters and method as `make bench` measured them, times parameters, over cores
    swap      the weights are copied to the GPU and back and hashed on both sides (engine.checksum=full)

Everything here is an estimate: a factor of two either way is possible. A dozen runs give records, and records go first.
"""

import json
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from della.errors import InputError
from scripts.planning.assumptions import Assumptions
from scripts.planning.counts import Run
from scripts.planning.gpus import find_gpu
from scripts.planning.shape import WIDTH, Shape
from scripts.planning.texts import Text
from scripts.schema import SweepPlanConfig
from scripts.timing.models import parameters_of

BENCH = Path(__file__).resolve().parents[2] / "results" / "bench" / "measurements.jsonl"
BENCH_CORES = 2
LIKE = {"average": "linear", "dare": "dare_ties", "dare_elect": "dare_ties", "ta_elect": "task_arithmetic"}  # same work
GIGA = 1e9
UTILIZATION = 0.92  # vLLM 0.32's default share of the memory
WORKSPACE = 2e9  # bytes beside weights and cache
SCORED_PROGRAM_S = 0.03
PCIE_GB_S = 10.0


class Stated:
    """Seconds of a run's parts on a stated GPU.

    Raises InputError for an unknown GPU, or gpu=other without its figures.
    """

    def __init__(
        self,
        config: SweepPlanConfig,
        shape: Shape,
        texts: Mapping[str, Text],
        judged: Mapping[str, bool],
        book: Assumptions,
    ) -> None:
        self.config, self.shape, self.texts, self.judged, self.book = config, shape, texts, judged, book
        self.source = f"stated, not measured: the data sheet of {config.gpu}; a factor of two either way is possible"
        self.width = WIDTH[config.engine.dtype]
        self.gpus = config.engine.tensor_parallel_size
        self.weights = shape.parameters * self.width
        self.memory, self.bandwidth, self.flops = self._card()
        self.cores = int(
            book.settle("cores", "", config.assume.cores, default=(8, "assumed: of a job with one GPU")) or 8
        )
        self.bench = read_bench()
        self.reading = self._take("read_gb_per_s", "GB/s", 1.0, "assumed: a shared file system")
        self.swap, self.start = self._swap(), self._start()
        self.switch = self.start
        self.other = self._take("other_s", "s", 2.0, "assumed: record, claim, hashes of the data")
        self.rates = {name: self._rates(name) for name in texts}
        waits = any(judged.values())
        self.verdict = self._verdict() if waits else 0.0

    def _take(self, name: str, unit: str, value: float, why: str) -> float:
        found = self.book.settle(name, unit, getattr(self.config.assume, name), default=(value, why))
        return value if found is None else found

    def _card(self) -> tuple[float, float, float]:
        """Memory in bytes, bandwidth in bytes/s, FLOP/s, each of one GPU, as far as they are reached."""
        assume, gpu = self.config.assume, find_gpu(self.config.gpu or "other")
        known: tuple[float | None, ...] = (None, None, None)
        if gpu is not None:
            known = gpu.memory, gpu.bandwidth, gpu.tflops32 if self.width == 4 else gpu.tflops16
        out = []
        for (name, unit), value in zip(
            (("gpu_memory_gb", "GB"), ("gpu_bandwidth_gb_s", "GB/s"), ("gpu_tflops", "TFLOP/s")), known, strict=True
        ):
            default = None if value is None else (value, f"data sheet of {self.config.gpu} (scripts/planning/gpus.py)")
            found = self.book.settle(name, unit, getattr(assume, name), default=default)
            if found is None:
                raise InputError(f"gpu={self.config.gpu}: write assume.{name}=N too ({unit} of one GPU)")
            out.append(found)
        why = (
            "assumed: large batches with eager kernels; one answer at a time reached 77 % on an A100 (johnmusgrave.com)"
        )
        reach = self._take("bandwidth_share", "", 0.6, why)
        compute = self._take("compute_share", "", 0.5, "assumed: half of the dense peak")
        return out[0] * GIGA, out[1] * GIGA * reach, out[2] * 1e12 * compute

    def room(self) -> float:
        """Bytes of keys and values that one engine's memory holds beside the weights; below 0 where these don't fit."""
        engine = self.config.engine
        left = (self.memory * (engine.gpu_memory_utilization or UTILIZATION) - WORKSPACE) * self.gpus - self.weights
        return min(left, engine.kv_cache_bytes * self.gpus) if engine.kv_cache_bytes else left

    def batch(self, tokens: float) -> int:
        """Answers at a time, each of so many tokens with its prompt."""
        engine, each = self.config.engine, tokens * self.shape.kv_bytes(self.width)
        most = engine.batch_size if engine.name == "hf" else engine.max_num_seqs
        return max(1, min(most, int(self.room() / each) if each else 1))

    def _rates(self, name: str) -> tuple[float, float]:
        """Tokens of prompts and of answers in a second, for one benchmark."""
        text, assume = self.texts[name], self.config.assume
        prefill = self.flops * self.gpus / (2 * self.shape.parameters)
        prefill = self._take_rate("prefill_tokens_per_s", assume.prefill_tokens_per_s, prefill, "compute_share")
        if assume.decode_tokens_per_s is not None:
            return prefill, self._take_rate("decode_tokens_per_s", assume.decode_tokens_per_s, 0.0, "")
        batch = self.batch(text.prompt + text.answer)
        held = batch * (text.prompt + text.answer / 2) * self.shape.kv_bytes(self.width)
        step = max(
            (self.weights + held) / (self.bandwidth * self.gpus),
            2 * self.shape.parameters * batch / (self.flops * self.gpus),
        )
        why = f"derived: {batch} answers at a time, {1000 * step:.0f} ms a step"
        return prefill, self.book.note(f"decode_tokens_per_s, {name}", batch / step, "tokens/s", why)

    def _take_rate(self, name: str, option: float | None, value: float, share: str) -> float:
        why = f"derived: 2 FLOP per parameter and token at {share}"
        return self.book.settle(name, "tokens/s", option, default=(value, why)) or value

    def _swap(self) -> float:
        hashed = 2 * self.weights / (self.bench.hashing * self.cores / BENCH_CORES * GIGA)
        checks = {"full": hashed, "sample": 0.0, "none": 0.0}[self.config.engine.checksum]
        value = (2 if checks else 1) * self.weights / (PCIE_GB_S * GIGA) + checks
        what = {"full": "all of it hashed on both sides", "sample": "columns compared", "none": "not compared"}
        why = f"derived: {PCIE_GB_S:g} GB/s to the GPU (assumed); {what[self.config.engine.checksum]}"
        if self.config.engine.swaps == "folder":
            value += 2 * self.shape.stored / (self.reading * GIGA)
            why += "; written to a folder and read"
        return self._take("swap_s", "s", value, why)

    def _start(self) -> float:
        value = 60.0 + self.shape.disk / (self.reading * GIGA)
        why = "derived: 60 s for imports and engine (assumed), then all models are read"
        return self._take("start_s", "s", value, why)

    def _verdict(self) -> float:
        parallel = self.config.judge.parallel
        why = f"assumed: 0.96 s (published verdicts on wizardlm-13b) at the package's 5 requests; here {parallel}"
        return self._take("judge_s", "s", 0.96 * 5 / parallel, why)

    def merge(self, method: str, experts: int) -> float:
        """Seconds of one merge, in memory."""
        if self.config.assume.merge_s is not None:
            return self.book.settle("merge_s", "s", self.config.assume.merge_s) or 0.0
        billions = self.shape.parameters / GIGA
        pace = self.bench.pace(method)
        three = billions * pace * BENCH_CORES / self.cores
        source = f"derived: {pace:.1f} s per 10^9 parameters on {BENCH_CORES} cores (results/bench), over cores"
        self.book.note(f"merge_s, {method}", three, "s", f"{source}; three experts")
        return three * (experts + 1) / 4

    def parts(self, method: str, experts: int, prompts: Mapping[str, int], longest: bool = False) -> dict[str, float]:
        """Seconds of each part of a run; longest: every answer runs to its limit."""
        out = {"merge": self.merge(method, experts) if experts else 0.0, "swap": self.swap, "other": self.other}
        out |= {"generate": 0.0, "score": 0.0, "judge": 0.0}
        for name, count in prompts.items():
            text, (prefill, decode) = self.texts[name], self.rates[name]
            answer = text.limit if longest else text.answer
            out["generate"] += count * (text.prompt / prefill + answer / decode)
            out["score"] += count * self._score(name)
            if self.judged.get(name):
                out["judge"] += count * self.verdict
        return out

    def longest(self, runs: Sequence[Run]) -> float:
        """Seconds of all runs if every answer runs to its limit."""
        sizes = [(run.point.method, len(run.point.merge) if run.merges else 0, run.prompts) for run in runs]
        return sum(sum(self.parts(*size, longest=True).values()) for size in sizes)

    def half_width(self, runs: int) -> None:
        """Nothing was measured."""

    def _score(self, name: str) -> float:
        default = (
            (SCORED_PROGRAM_S, "assumed: a program in the sandbox") if name in ("mbpp", "humaneval") else (0.0, "")
        )
        option = self.config.assume.score_s.get(name)
        if option is None and not default[0]:
            return 0.0
        return self.book.settle(f"score_s.{name}", "s", option, default=default) or 0.0


@dataclass(frozen=True)
class Bench:
    """Measured merging. merge: method -> seconds per 10^9 parameters, three experts, start-up apart; hashing: 10^9
    bytes in a second."""

    merge: dict[str, float]
    hashing: float

    def pace(self, method: str) -> float:
        """Of a method; one that was not measured is as slow as the slowest of those that were."""
        return self.merge.get(LIKE.get(method, method), max(self.merge.values()))


def read_bench(file: Path = BENCH) -> Bench:
    """Medians over the rounds of `make bench`, at its largest size; hashing from the first merge of files, which hashes
    them, against later ones."""
    seconds: dict[tuple[str, float, bool], list[float]] = defaultdict(list)
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        job = row.get("job", {})
        if job.get("tool") == "ours" and job.get("experts") == 3 and " " not in job["case"]:
            seconds[job["case"], job["size"], job["round"] == 0].append(row["seconds"])
    median = {key: statistics.median(found) for key, found in seconds.items()}
    sizes = {size for _, size, _ in median}
    small, large = min(sizes), max(sizes)
    parameters = parameters_of(large)
    merge = {
        case: (value - median[case, small, False]) / parameters * GIGA
        for (case, size, first), value in median.items()
        if size == large and not first
    }
    case = next(case for case, size, first in median if first and size == large)
    hashed = 4 * parameters * 2 / GIGA  # base and three experts in bfloat16
    return Bench(merge, hashed / (median[case, large, True] - median[case, large, False]))
