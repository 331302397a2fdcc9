"""mergekit files for the tests of reading: small folders, a file that merges them, what is read of it or said of it."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from della.errors import InputError
from della.mergekit import read_mergekit

# 100 parameters in mlp, 7 in the norm; two layers.
SHAPES = {f"model.layers.{layer}.mlp.weight": (10, 10) for layer in (0, 1)} | {"model.norm.weight": (7,)}


def save_model(folder: Path, dtype=np.float32) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"num_hidden_layers": 2}))
    save_file({name: np.zeros(shape, dtype) for name, shape in SHAPES.items()}, folder / "model.safetensors")
    return folder


def save_models(root: Path) -> Path:
    """A base and the experts lm and math."""
    for name in ("base", "lm", "math"):
        save_model(root / name)
    return root


def recipe(root, method="ties", lm=None, math=None, **others):
    """A file that merges lm and math, weights 1 unless something else is written."""
    models = [
        {"model": str(root / name), "parameters": {"weight": 1} | (parameters or {})}
        for name, parameters in (("lm", lm), ("math", math))
    ]
    return {"merge_method": method, "base_model": str(root / "base"), "models": models} | others


def read(root, content, **arguments):
    return read_mergekit(write_yaml(root / "config.yml", content), **arguments)


def refusal(root, content, **arguments):
    with pytest.raises(InputError) as caught:
        read(root, content, **arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


def write_yaml(file: Path, recipe) -> Path:
    file.write_text(json.dumps(recipe))  # JSON is YAML
    return file
