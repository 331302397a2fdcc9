"""The size of a family's models: from its folders where they are, else from a config.json, else from what is stated.

Stated: the config.json of Llama-2-13b and Llama-3.2-3B as public copies on the hub have them
(NousResearch/Llama-2-13b-chat-hf at aad3c0b, mlx-community/Llama-3.2-3B-bf16).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from della.checkpoint import Checkpoint
from della.errors import InputError
from della.tiny.recipe import EXPERTS, RECIPES, Recipe, family_folder
from scripts.fetching.sources import BASE, places_of
from scripts.schema import RunConfig, SweepPlanConfig

LLAMA_2_13B = {
    "hidden_size": 5120,
    "intermediate_size": 13824,
    "num_hidden_layers": 40,
    "num_attention_heads": 40,
    "num_key_value_heads": 40,
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
}
LLAMA_3_2_3B = {
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "num_hidden_layers": 28,
    "num_attention_heads": 24,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
}
STATED = {  # family -> where from, config, experts
    "wizard_13b": ("Llama-2-13b's config.json", LLAMA_2_13B, 3),
    "mergebench_3b": ("Llama-3.2-3B's config.json", LLAMA_3_2_3B, 3),
}
WIDTH = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True)
class Shape:
    """parameters: of one model; stored: bytes of one model's weights as its files hold them; experts: how many;
    disk: bytes of base and experts together, as found or as computed; present: whether the folders are there."""

    parameters: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    context: int
    stored: int
    experts: int
    disk: int
    present: bool
    source: str

    def kv_bytes(self, width: int) -> int:
        """Of keys and values of one token, at so many bytes a number."""
        return 2 * self.layers * self.kv_heads * self.head_dim * width


def parameters_of(config: dict[str, Any]) -> int:
    """Parameters of a Llama-like model without biases: embeddings, output, and per layer attention, MLP, two norms."""
    hidden, inner, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    heads, kv_heads, head_dim = heads_of(config)
    layer = 2 * hidden * heads * head_dim + 2 * hidden * kv_heads * head_dim + 3 * hidden * inner + 2 * hidden
    ends = vocab * hidden * (1 if config.get("tie_word_embeddings") else 2)
    return ends + config["num_hidden_layers"] * layer + hidden


def heads_of(config: dict[str, Any]) -> tuple[int, int, int]:
    """Heads, heads of keys and values, channels of a head."""
    heads = config["num_attention_heads"]
    return heads, config.get("num_key_value_heads") or heads, config.get("head_dim") or config["hidden_size"] // heads


def find_shape(config: SweepPlanConfig) -> Shape | None:
    """The size of the family's models; None where nothing says it. Raises InputError for a config.json that cannot be
    read."""
    base, models = folders(config)
    if base is not None and (base / "config.json").is_file():
        return _of_folders(base, models)
    named = config.assume.model_config
    if named:
        return _of_config(_read(Path(named)), len(models) or 3, named)
    experts = config.experts
    if experts.recipe in RECIPES:
        return _of_config(_recipe(RECIPES[experts.recipe]), len(EXPERTS), f"recipe {experts.recipe}")
    if experts.family in STATED:
        source, stated, count = STATED[experts.family]
        return _of_config(stated, count, source)
    return None


def folders(config: RunConfig) -> tuple[Path | None, dict[str, Path]]:
    """Where the base and the experts lie or will lie; (None, {}) where no folder is named."""
    experts = config.experts
    if experts.recipe in RECIPES:
        place = family_folder(Path(config.paths.work) / "experts", experts.seed, RECIPES[experts.recipe])
        return place / "base", {name: place / name for name in EXPERTS}
    if not (experts.base or experts.hub):
        return None, {name: Path(path) for name, path in experts.models.items()}
    models = {place.name: place.folder for place in places_of(experts, Path(config.paths.work))}
    return models.pop(BASE), models


def _read(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"assume.model_config={file}: no config.json that can be read ({error})") from None


def _of_folders(base: Path, models: dict[str, Path]) -> Shape:
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    headers = Checkpoint(base).headers.values()
    there = [folder for folder in (base, *models.values()) if folder.is_dir()]
    stored = sum(header.nbytes for header in headers)
    disk = sum(file.stat().st_size for folder in there for file in folder.rglob("*") if file.is_file())
    return Shape(
        parameters=sum(header.numel for header in headers),
        layers=config["num_hidden_layers"],
        **dict(zip(("heads", "kv_heads", "head_dim"), heads_of(config), strict=True)),
        context=config.get("max_position_embeddings", 0),
        stored=stored,
        experts=len(models),
        disk=disk + stored * (1 + len(models) - len(there)),
        present=len(there) == 1 + len(models),
        source=f"headers of {base}",
    )


def _of_config(config: dict[str, Any], experts: int, source: str) -> Shape:
    try:
        parameters = parameters_of(config)
        heads, kv_heads, head_dim = heads_of(config)
        layers = config["num_hidden_layers"]
    except (KeyError, TypeError) as error:
        raise InputError(f"{source}: says no {error}, which a Llama-like config.json has") from None
    stored = parameters * WIDTH.get(str(config.get("torch_dtype") or config.get("dtype") or "bfloat16"), 2)
    context = config.get("max_position_embeddings", 0)
    return Shape(
        parameters, layers, heads, kv_heads, head_dim, context, stored, experts, stored * (1 + experts), False, source
    )


def _recipe(recipe: Recipe) -> dict[str, Any]:
    return {
        "hidden_size": recipe.width,
        "intermediate_size": recipe.ffn,
        "num_hidden_layers": recipe.layers,
        "num_attention_heads": recipe.width // 32,
        "vocab_size": recipe.vocab,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
    }
