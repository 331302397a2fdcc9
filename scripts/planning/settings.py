"""What a plan of a sweep may be told: every assumption as an option. null: measured where records are, else stated."""

from dataclasses import dataclass

from della.errors import InputError
from scripts.fields import option


@dataclass
class Assume:
    prefill_tokens_per_s: float | None = option(None, "tokens of prompts that one worker computes in a second")
    decode_tokens_per_s: float | None = option(None, "tokens of answers that one worker writes in a second")
    bandwidth_share: float | None = option(None, "share of the GPU's memory bandwidth that decoding reaches, 0 to 1")
    compute_share: float | None = option(None, "share of the GPU's FLOP/s that prompts reach, 0 to 1")
    gpu_memory_gb: float | None = option(None, "memory of one GPU, 10^9 bytes; for a card that gpu= does not know")
    gpu_bandwidth_gb_s: float | None = option(None, "memory bandwidth of one GPU, 10^9 bytes a second")
    gpu_tflops: float | None = option(None, "dense matrix products of one GPU in engine.dtype, 10^12 FLOP/s")
    model_config: str | None = option(None, "a config.json of transformers: the model's shape where no folder is there")
    bytes_per_token: float | None = option(None, "of prompts and answers, where the model's tokenizer is not at hand")
    prompt_tokens: dict[str, float] = option({}, "mean tokens of a prompt: assume.prompt_tokens.BENCHMARK=N")
    answer_tokens: dict[str, float] = option({}, "mean tokens of an answer: assume.answer_tokens.BENCHMARK=N")
    score_s: dict[str, float] = option({}, "seconds to score one answer: assume.score_s.BENCHMARK=S")
    start_s: float | None = option(None, "before a worker's first run: process, models, engine; seconds")
    merge_s: float | None = option(None, "of one merge, seconds")
    swap_s: float | None = option(None, "to put a merge into the engine and compare it, seconds")
    other_s: float | None = option(None, "of a run beside these: hashes, record, the next claim; seconds")
    cores: int | None = option(None, "cores of one worker, for merging and hashing")
    read_gb_per_s: float | None = option(None, "reading models from the disk, 10^9 bytes a second")
    judge_s: float | None = option(None, "that a worker waits for one verdict of a paid judge, requests overlapping")
    judge_answer_tokens: float | None = option(None, "of AlpacaEval's judge, mean")
    gsm8k_judge_answer_tokens: float | None = option(None, "of GSM8K's judge, mean")
    record_bytes: float | None = option(None, "on the disk for one scored prompt: record, output, W&B's copy")

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            for key, number in value.items() if isinstance(value, dict) else [("", value)]:
                where = f"assume.{name}{'.' * bool(key)}{key}"
                if isinstance(number, int | float) and not number >= 0:
                    raise InputError(f"{where}={number}: write a number from 0")
                if name not in _MAY_BE_0 and number == 0:
                    raise InputError(f"{where}=0: write a number above 0")
                if name.endswith("_share") and number is not None and number > 1:
                    raise InputError(f"{where}={number}: write a share above 0, at most 1")


_MAY_BE_0 = ("answer_tokens", "score_s", "start_s", "merge_s", "swap_s", "other_s", "judge_s", "record_bytes")
