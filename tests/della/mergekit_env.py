"""mergekit as the tests reach it: an environment of its own, found through DELLA_MERGEKIT (its mergekit-yaml), by
default .venv-mergekit of the checkout. Several merges share one process, since most of its time is start-up."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.della.models import save_llama

CHECKOUT = Path(__file__).parents[2]
MERGEKIT = Path(os.environ.get("DELLA_MERGEKIT", CHECKOUT / ".venv-mergekit/bin/mergekit-yaml"))
MUST_RUN = os.environ.get("CI") == "true" or "DELLA_DATA_DIR" in os.environ
SIDE = Path(__file__).with_name("mergekit_side.py")
EXPERTS = ("code", "lm", "math")


def ask_mergekit(what: str, recipes: dict[str, dict[str, Any]], answer: Path, *more: Path) -> Path:
    """Runs mergekit_side.py; skips, or fails where nothing may skip, without mergekit."""
    if not MERGEKIT.is_file():
        assert not MUST_RUN, f"{MERGEKIT} is not there: make mergekit's environment or point DELLA_MERGEKIT at it"
        pytest.skip(f"mergekit is not installed at {MERGEKIT}")
    request = answer.with_name(f"{answer.name}.request.json")
    request.write_text(json.dumps(recipes))
    done = subprocess.run(
        [MERGEKIT.with_name("python"), SIDE, what, request, answer, *more],
        cwd=answer.parent,
        env={"PATH": os.environ["PATH"], "HOME": str(answer.parent), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return answer


def save_family(root: Path, layers: int = 4) -> Path:
    """An untied float32 Llama and three experts near it; every tensor differs, norms too, so that no delta is 0.

    0.29, 0.57 and 0.58 of the 1,600 and 800 parameters of its attention are whole numbers, and one less in floats.
    """
    save_llama(root / "base", num_hidden_layers=layers, hidden_size=40, tie_word_embeddings=False)
    base = load_file(root / "base/model.safetensors")
    generator = torch.Generator().manual_seed(0)
    for name in EXPERTS:
        (root / name).mkdir()
        for file in (root / "base").iterdir():
            if file.suffix == ".json":
                (root / name / file.name).write_bytes(file.read_bytes())
        expert = {key: value + 0.02 * torch.randn(value.shape, generator=generator) for key, value in base.items()}
        save_file(expert, root / name / "model.safetensors", metadata={"format": "pt"})
    return root


def models(root: Path, **parameters: dict[str, Any]) -> list[dict[str, Any]]:
    """The `models` of a recipe: one entry for each expert, with its parameters."""
    return [{"model": str(root / name), "parameters": parameters.get(name, {})} for name in EXPERTS]


def save_adapter(folder: Path, base: Path, rank: int = 4) -> Path:
    """A LoRA adapter of the base's attention and of one matrix of its MLP, as PEFT saves it; scaling 8 / rank."""
    targets = ["q_proj", "v_proj", "down_proj"]
    generator = torch.Generator().manual_seed(1)
    factors = {}
    for name, tensor in load_file(base / "model.safetensors").items():
        if any(target in name for target in targets):
            stem, (rows, columns) = f"base_model.model.{name.removesuffix('.weight')}", tensor.shape
            factors[f"{stem}.lora_A.weight"] = 0.1 * torch.randn(rank, columns, generator=generator)
            factors[f"{stem}.lora_B.weight"] = 0.1 * torch.randn(rows, rank, generator=generator)
    folder.mkdir()
    save_file(factors, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": 8, "target_modules": targets}
    (folder / "adapter_config.json").write_text(json.dumps(settings | {"base_model_name_or_path": str(base)}))
    return folder
