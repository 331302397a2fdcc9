"""The tiny models: their shape, and how a base and an expert are trained."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from della.tiny.recipe import Recipe
from della.tiny.tokenizer import BOS_ID, EOS_ID, PAD_ID
from della.tiny.training import HALVES, Example, train


def make_model(recipe: Recipe, seed: int) -> LlamaForCausalLM:
    """An untrained model, float32, weights drawn from the seed; the caller's random state stays as it was."""
    config = LlamaConfig(
        vocab_size=recipe.vocab,
        hidden_size=recipe.width,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.width // 32,
        num_key_value_heads=recipe.width // 32,
        intermediate_size=recipe.ffn,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=PAD_ID,
        bos_token_id=BOS_ID,
        eos_token_id=EOS_ID,
        dtype="float32",
        architectures=["LlamaForCausalLM"],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        do_sample=False, pad_token_id=PAD_ID, bos_token_id=BOS_ID, eos_token_id=EOS_ID
    )
    return model


def save_model(model: LlamaForCausalLM, folder: Path) -> None:
    """Writes config.json, generation_config.json and model.safetensors; the tied output matrix is not stored twice."""
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    weights = {name: weight.detach().contiguous() for name, weight in model.named_parameters()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def load_model(folder: Path, recipe: Recipe) -> LlamaForCausalLM:
    """A model that `save_model` wrote."""
    model = make_model(recipe, seed=0)
    weights = load_file(folder / "model.safetensors")
    model.load_state_dict(weights | {"lm_head.weight": weights["model.embed_tokens.weight"]})
    return model


def encode(tokenizer: Tokenizer, prompts: list[str], answers: list[str]) -> list[Example]:
    """Token ids of prompt, answer and end token, with the length of the prompt, which is not learnt."""
    asked = tokenizer.encode_batch(prompts)
    answered = tokenizer.encode_batch(answers)
    return [(a.ids + b.ids + [EOS_ID], len(a.ids)) for a, b in zip(asked, answered, strict=True)]


def train_base(
    model: LlamaForCausalLM, tokenizer: Tokenizer, documents: list[str], recipe: Recipe, seed: int, label: str | None
) -> float:
    """Trains all weights on whole documents: Muon for matrices, AdamW for embeddings and norms; returns the loss."""
    matrices = [weight for name, weight in model.named_parameters() if weight.ndim == 2 and "embed" not in name]
    others = [weight for name, weight in model.named_parameters() if weight.ndim != 2 or "embed" in name]
    # One optimizer per thread: Muon's orthogonalisation costs as much as a third of a step.
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Muon(matrices[i::HALVES], lr=recipe.muon_rate, weight_decay=0.0) for i in range(HALVES)
    ]
    optimizers.append(torch.optim.AdamW(others, lr=recipe.base_rate, betas=(0.9, 0.98), weight_decay=0.0))
    examples = encode(tokenizer, [""] * len(documents), documents)
    return train(model, examples, optimizers, recipe.base_batch, f"{seed} base", label)


def train_expert(
    model: LlamaForCausalLM, examples: list[Example], rate: float, batch: int, seed: str, label: str | None
) -> float:
    """Trains the matrices and norms on the answers; the embeddings stay the base's, so that pruning spares them."""
    model.get_input_embeddings().weight.requires_grad_(False)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=rate, betas=(0.9, 0.98), weight_decay=0.0)
    return train(model, examples, [optimizer], batch, seed, label)
