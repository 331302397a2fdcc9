"""Models for the tests: tensors made of Philox integers, the same on every machine, and tiny Llama folders."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from della.checkpoint import MemoryCheckpoint
from della.merge import Merged
from della.random import uniform_words

SHAPES = {"a.weight": (6, 40), "b.weight": (3, 1), "c.bias": (17,), "norm": (1,), "w.conv": (2, 3, 5)}


def philox_tensor(name: str, shape: tuple[int, ...], scale: float = 1.0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Values scale * k / 2**11 with integers k from -2**10 to 2**10 - 1: they repeat, and some are zero."""
    count = torch.Size(shape).numel()
    integers = (uniform_words(0, "test", name, 0, count) >> 21) - 2**10
    return (integers.to(torch.float32) * (scale / 2**11)).view(shape).to(dtype)


def philox_model(
    name: str, shapes: Mapping[str, tuple[int, ...]] = SHAPES, scale: float = 1.0, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    return {tensor: philox_tensor(f"{name}/{tensor}", shape, scale, dtype) for tensor, shape in shapes.items()}


def philox_family(
    experts: Iterable[str] = ("code", "lm", "math"), dtype: torch.dtype = torch.float32
) -> tuple[MemoryCheckpoint, dict[str, MemoryCheckpoint]]:
    """A base and experts whose deltas are about an eighth of it."""
    base = philox_model("base", dtype=dtype)
    models = {}
    for name in experts:
        delta = philox_model(name, scale=0.125)
        models[name] = MemoryCheckpoint({key: (base[key].float() + delta[key]).to(dtype) for key in base}, name)
    return MemoryCheckpoint(base, "base"), models


def content_hash(merged: Iterable[Merged]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    for part in merged:
        digest.update(f"{part.name} {part.tensor.dtype} {tuple(part.tensor.shape)}\n".encode())
        digest.update(part.tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_llama(folder: Path, seed: int = 0, **settings) -> Path:
    """A tiny random float32 Llama with a tokenizer, saved by transformers."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(seed)
    sizes = {
        "vocab_size": 48,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 64,
        "tie_word_embeddings": True,
        "initializer_range": 0.1,
    }
    save = {key: settings.pop(key) for key in ("max_shard_size",) if key in settings}
    LlamaForCausalLM(LlamaConfig(**(sizes | settings))).save_pretrained(folder, **save)
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(48)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="w1", unk_token="w0").save_pretrained(folder)
    return folder
