"""The options of input activations, a part of every command that merges."""

from dataclasses import dataclass

from scripts.fields import at_least, one_of, option


@dataclass
class Activations:
    samples: int = option(128, "with rank_by=wanda: texts per expert (128 in the paper)")
    max_tokens: int = option(2048, "longest text, tokens; the rest is cut off (ours: the paper says nothing)")
    data: dict[str, str] = option(
        {},
        "an expert's texts: activations.data.NAME=gsm8k | mbpp | alpaca_eval | c4, or a file (.jsonl, .json.gz, .txt)",
    )
    files: dict[str, str] = option({}, "activations that were computed before: activations.files.NAME=FILE")
    dtype: str | None = option(None, "dtype of the forward passes: float32 | bfloat16 | float16; null: the model's own")
    device: str = option("auto", "where they run: auto (a GPU where there is one) | cpu | cuda")

    def __post_init__(self) -> None:
        at_least("activations.samples", self.samples, 1)
        at_least("activations.max_tokens", self.max_tokens, 1)
        if self.dtype is not None:
            one_of("activations.dtype", self.dtype, ("float32", "bfloat16", "float16"))
        one_of("activations.device", self.device, ("auto", "cpu", "cuda"))
