"""Weights to be swapped into an engine: a state dict in memory, or the safetensors of a folder."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eval.errors import InputError

OUTPUT = "lm_head.weight"
COMPUTED = "rotary_emb.inv_freq"  # old checkpoints store it; every engine computes it


class Weights:
    """A whole state dict, named as in the model's safetensors; `tensors` is the dict."""

    def __init__(self, tensors: Mapping[str, Any]):
        self.tensors = tensors
        self.shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}

    def tensor(self, name: str) -> Any:
        return self.tensors[name]

    def names(self, tied: bool) -> list[str]:
        """What an engine must hold; a tied output layer is the embeddings."""
        return sorted(name for name in self.shapes if not name.endswith(COMPUTED) and not (tied and name == OUTPUT))

    def check(self, opened: FolderWeights, tied: bool) -> None:
        """Raises InputError where names or shapes are not those of the folder that the engine was opened on."""
        for name in sorted({*self.names(tied), *opened.names(tied)}):
            if self.shapes.get(name) != opened.shapes.get(name):
                raise InputError(
                    f"cannot swap weights: {name} is {self.shapes.get(name, 'missing')}, the engine was opened with "
                    f"{opened.shapes.get(name, 'no such tensor')}: open an engine on the merged folder"
                )

    def compare(self, held: list[dict[str, Any]], tied: bool, dtype: str, engine: str) -> str:
        """The checksum of what an engine holds. Raises InputError where that is not these weights."""
        from eval.engines.checksum import compare

        return compare(held, self.names(tied), self.tensor, dtype, f"{engine} engine")


class FolderWeights(Weights):
    """The safetensors of a folder, read tensor by tensor. Raises InputError where there are none."""

    def __init__(self, folder: Path):
        self.folder = folder.absolute()
        self.files: dict[str, Path] = {}
        self.shapes = {}
        for path in sorted(self.folder.glob("*.safetensors")):
            for name, shape in read_header(path).items():
                self.files[name], self.shapes[name] = path, shape
        if not self.shapes:
            raise InputError(f"no safetensors in {folder}: convert the model to safetensors first")

    def tensor(self, name: str) -> Any:
        from safetensors import safe_open

        with safe_open(self.files[name], framework="pt") as file:
            return file.get_tensor(name)


def read_header(path: Path) -> dict[str, tuple[int, ...]]:
    """Tensor names and shapes from a safetensors header (8 bytes of length, then JSON)."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    return {name: tuple(row["shape"]) for name, row in header.items() if name != "__metadata__"}
