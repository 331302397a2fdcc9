"""Adapters for the tests: trained by PEFT on tiny models, all parameters random, or made by hand."""

import json
import warnings
from pathlib import Path

import safetensors.torch
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from della.checkpoint import ADAPTER, MemoryCheckpoint
from della.lora import ADAPTER_WEIGHTS

SAFETENSORS, BIN = ADAPTER_WEIGHTS


def save_gpt2(folder: Path) -> Path:
    """Conv1D stores (in, out): c_attn [16, 48], c_fc [16, 64], mlp.c_proj [64, 16], attn.c_proj square, [16, 16]."""
    torch.manual_seed(1)
    GPT2LMHeadModel(GPT2Config(n_embd=16, n_head=2, n_layer=2, vocab_size=24, n_positions=8)).save_pretrained(folder)
    return folder


def train(base: Path, folder: Path, resize: int | None = None, pickled: bool = False, **settings) -> Path:
    """An adapter of `base` with random parameters, rank 3 and alpha 5 unless said otherwise, as PEFT saves it.

    resize: rows of the embeddings, if others than the base's.
    """
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(base)
    if resize:
        model.resize_token_embeddings(resize)
    with warnings.catch_warnings(action="ignore"):
        model = get_peft_model(model, LoraConfig(**({"r": 3, "lora_alpha": 5} | settings)))
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data.normal_()
        model.save_pretrained(folder, safe_serialization=not pickled)
    return folder


def peft_merged(base: Path, folder: Path) -> dict[str, Tensor]:
    """The state dict that PEFT makes of a base and an adapter, both read from their folders."""
    with warnings.catch_warnings(action="ignore"):
        model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder)
        return model.merge_and_unload().state_dict()


def edit_config(folder: Path, **changes) -> None:
    config = json.loads((folder / ADAPTER).read_text()) | changes
    (folder / ADAPTER).write_text(json.dumps(config))


def write(folder: Path, tensors: dict[str, Tensor], **settings) -> Path:
    """An adapter of hand-made tensors, rank 2 and alpha 4 unless said otherwise."""
    folder.mkdir(exist_ok=True)
    (folder / ADAPTER).write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4} | settings))
    named = {f"base_model.model.{key}": value for key, value in tensors.items()}
    safetensors.torch.save_file(named, folder / SAFETENSORS)
    return folder


def pair(module: str, rows: int = 4, columns: int = 6, rank: int = 2) -> dict[str, Tensor]:
    return {f"{module}.lora_A.weight": torch.ones(rank, columns), f"{module}.lora_B.weight": torch.ones(rows, rank)}


def base_of(*names: str, shape: tuple[int, ...] = (4, 6)) -> MemoryCheckpoint:
    return MemoryCheckpoint({f"{name}.weight": torch.zeros(shape) for name in names}, "base")
