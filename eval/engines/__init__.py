"""Engines: a model folder opened for greedy generation, whose weights can be exchanged without opening it again.

    engine = open_engine("vllm", Path("merged"), dtype="float32")
    engine.lm.generate_until(requests)      # engine.lm is an lm_eval.api.model.LM
    engine.swap(tensors)                    # another merge of the same shapes
    engine.close()

Importing this module imports neither vLLM nor transformers.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

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
            if value is not None and value < 1:
                raise InputError(f"engine {name}={value}: write a number from 1")


def read_settings(name: str, **settings) -> Settings:
    """The settings of an engine, checked before anything is opened. Raises InputError as `open_engine` does."""
    if name not in ENGINES:
        raise InputError(f"unknown engine {name!r}: write {' or '.join(ENGINES)}")
    known = [field.name for field in fields(Settings)]
    for unknown in sorted(set(settings) - set(known)):
        raise InputError(f"unknown engine setting {unknown!r}: write one of {', '.join(known)}")
    return Settings(**settings)


def open_engine(name: str, model: str | Path, **settings):
    """Open a Hugging Face model folder (config, tokenizer, safetensors) in the engine of that name.

    Returns an eval.engines.base.Engine. Raises InputError for an unknown engine or setting, a folder without a model,
    or an engine that is not installed.
    """
    chosen = read_settings(name, **settings)
    model = Path(model)
    if not (model / "config.json").is_file():
        raise InputError(f"no model in {model}: it needs config.json, tokenizer files and safetensors")
    if name == "vllm":
        from eval.engines.vllm import VLLMEngine as Chosen
    else:
        from eval.engines.hf import HFEngine as Chosen
    return Chosen(model, chosen)
