"""What can be chosen about an engine, checked before one is opened; light to import.

read_settings("hf", dtype="float32", batch_size=64)
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from eval.errors import InputError

ENGINES = ("vllm", "hf")


@dataclass(frozen=True)
class Settings:
    """What can be chosen about an engine; one set for all of them, each takes what it knows.

    dtype: float32 | bfloat16 | float16; max_model_len: tokens of prompt and answer together (None: the model's own);
    max_num_seqs: answers vLLM generates at a time; kv_cache_bytes: vLLM's cache (None: 256 MiB on the CPU, on a GPU
    vLLM's share of its memory);
    enforce_eager: no compilation in vLLM (faster to open); seed: vLLM's (greedy decoding draws nothing);
    batch_size: prompts hf generates at a time.
    """

    dtype: str = "float32"
    max_model_len: int | None = None
    max_num_seqs: int = 256
    kv_cache_bytes: int | None = None
    enforce_eager: bool = True
    seed: int = 0
    batch_size: int = 128

    def __post_init__(self) -> None:
        if self.dtype not in ("float32", "bfloat16", "float16"):
            raise InputError(f"engine dtype {self.dtype!r}: write float32, bfloat16 or float16")
        for name in ("max_model_len", "max_num_seqs", "kv_cache_bytes", "batch_size"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise InputError(f"engine {name}={value}: write a whole number from 1")
        if not isinstance(self.enforce_eager, bool):
            raise InputError(f"engine enforce_eager={self.enforce_eager}: write true or false")
        if type(self.seed) is not int:
            raise InputError(f"engine seed={self.seed}: write a whole number")


def read_settings(name: str, **settings) -> Settings:
    """The settings of an engine, checked before anything is opened. Raises InputError as `open_engine` does."""
    if name not in ENGINES:
        raise InputError(f"unknown engine {name!r}: write {' or '.join(ENGINES)}")
    known = [field.name for field in fields(Settings)]
    for unknown in sorted(set(settings) - set(known)):
        raise InputError(f"unknown engine setting {unknown!r}: write one of {', '.join(known)}")
    return Settings(**settings)
