"""Pico folders of real architectures, as transformers writes them, and as its older versions did."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

ROWS = 24
SMALL = {
    "vocab_size": ROWS,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 32,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
HEADS = {key: value for key, value in SMALL.items() if key != "num_key_value_heads"}
GPT2 = {
    "vocab_size": ROWS,
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 2,
    "n_positions": 32,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
MOE = {**SMALL, "num_experts_per_tok": 2}
QWEN_MOE = {**MOE, "num_experts": 3, "moe_intermediate_size": 8}
WINDOW = {**SMALL, "head_dim": 8, "sliding_window": 8}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
CLIP = {"model_type": "clip_vision_model", **VISION}
ROPE = {"rope_type": "default", "rope_theta": 10000.0}

# name -> model type of transformers, settings.
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", SMALL),
    "llama_tied_with_biases": ("llama", {**SMALL, "tie_word_embeddings": True, "attention_bias": True}),
    "mistral": ("mistral", {**SMALL, "sliding_window": 8}),
    "qwen2": ("qwen2", {**SMALL, "tie_word_embeddings": True}),
    "qwen3": ("qwen3", {**SMALL, "head_dim": 8, "tie_word_embeddings": True}),
    "gemma": ("gemma", {**SMALL, "head_dim": 8}),
    "gemma2": ("gemma2", WINDOW),
    "gemma3": ("gemma3_text", WINDOW),
    "phi": ("phi", {**SMALL, "num_key_value_heads": 2}),
    "phi3": ("phi3", SMALL),
    "gpt_neox": ("gpt_neox", HEADS),
    "gpt2": ("gpt2", GPT2),
    "mixtral": ("mixtral", {**MOE, "num_local_experts": 3}),
    "qwen2_moe": ("qwen2_moe", {**QWEN_MOE, "shared_expert_intermediate_size": 8}),
    "qwen3_moe": ("qwen3_moe", {**QWEN_MOE, "head_dim": 8}),
    "gpt_oss": ("gpt_oss", {**MOE, "num_local_experts": 3, "head_dim": 8, "rope_parameters": ROPE}),
    "llava": (
        "llava",
        {"text_config": {"model_type": "llama", **SMALL}, "vision_config": CLIP, "image_token_index": 3},
    ),
    "gemma3_with_images": ("gemma3", {"text_config": WINDOW, "vision_config": VISION, "mm_tokens_per_image": 4}),
}


def _neox_buffers(layer: str) -> dict[str, Tensor]:
    return {
        f"{layer}.attention.bias": torch.ones(1, 1, 32, 32, dtype=torch.bool).tril(),
        f"{layer}.attention.masked_bias": torch.tensor(-1e9),
        f"{layer}.attention.rotary_emb.inv_freq": torch.ones(1),
    }


# name -> architecture, and what older files hold beside the parameters: buffers, and a copy of tied embeddings.
OLD: dict[str, tuple[str, Callable[[Mapping[str, Tensor]], dict[str, Tensor]]]] = {
    "gpt_neox_with_masks": ("gpt_neox", lambda tensors: _neox_buffers("gpt_neox.layers.0")),
    "gpt2_with_masks": ("gpt2", lambda tensors: {"transformer.h.0.attn.bias": torch.ones(1, 1, 32, 32).tril()}),
    "llama_with_inv_freq": ("llama", lambda tensors: {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}),
    "gemma_with_the_copy": ("gemma", lambda tensors: {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()}),
}


def build(name: str, seed: int):
    """A random model: the parameters that make it are those of `seed`, norms included."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    kind, settings = ARCHITECTURES[OLD[name][0] if name in OLD else name]
    config = AutoConfig.for_model(kind, **settings)
    auto = AutoModelForImageTextToText if "vision_config" in settings else AutoModelForCausalLM
    torch.manual_seed(seed)
    model = auto.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) / 8)
    return model


def save(name: str, folder: Path, seed: int) -> Path:
    """A model folder of this architecture, weights in float32."""
    build(name, seed).save_pretrained(folder)
    if name in OLD:
        file = folder / "model.safetensors"
        tensors = load_file(file)
        save_file(tensors | OLD[name][1](tensors), file, metadata={"format": "pt"})
    return folder


def open_model(folder: Path) -> tuple[Any, dict[str, Any]]:
    """The model as transformers opens it, and what it says about the tensors' names."""
    import json

    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    sees = "vision_config" in json.loads((folder / "config.json").read_text())
    auto = AutoModelForImageTextToText if sees else AutoModelForCausalLM
    model, said = auto.from_pretrained(folder, output_loading_info=True)
    return model, {key: said[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")}
