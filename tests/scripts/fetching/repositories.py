"""Repositories for the scripted hub, and where a family of them is fetched to."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from tests.scripts.fetching.scripted_hub import FIRST

ROWS = 3_000_000  # of 4 columns in float16: 24 MB, more than two of the pieces that huggingface_hub downloads in
PIECE = 10 * 1024 * 1024
FAMILY = f"experts=folders experts.family=ours experts.hub.base=o/base@{FIRST} experts.hub.lm=o/lm@{FIRST}"


def model_files(rows: int, value: float) -> dict[str, bytes]:
    """The files of a model: what is needed, and what else repositories hold."""
    numbers = (np.arange(rows * 4, dtype=np.float32) % 2048 + value).astype(np.float16).reshape(rows, 4)
    config = {"model_type": "llama", "tie_word_embeddings": True, "vocab_size": rows}
    return {
        "config.json": json.dumps(config).encode(),
        "tokenizer.json": b"{}",
        "tokenizer_config.json": b"{}",
        "model.safetensors": save({"model.embed_tokens.weight": numbers}),
        "pytorch_model.bin": b"a pickle of the same",
        "README.md": b"# A model",
        "original/consolidated.00.pth": b"the same again",
    }


def home(tmp_path: Path) -> Path:
    return tmp_path / "work" / "experts" / "ours"


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


NEEDED = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
