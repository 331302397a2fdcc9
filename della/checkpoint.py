"""A model's weights: seen through memory maps of a Hugging Face folder's files, or held in memory.

    base = Checkpoint("models/base")
    base.headers["lm_head.weight"].shape    # from the file headers, no tensor is read
    base.array("lm_head.weight")            # its bits, mapped: read when they are touched
    base.tensor("lm_head.weight")           # a torch tensor of its own

Weights are safetensors or pickles, in one file or in shards with an index. torch is imported only where a tensor or a
pickle is asked for.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from della.errors import InputError
from della.hashes import Progress, file_sha256, folder_sha256
from della.headers import FLOATS, Header, SafetensorsFile, WeightFile

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["FLOATS", "Checkpoint", "Header", "MemoryCheckpoint", "Model", "file_sha256"]

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
LEGACY = "pytorch_model.bin"
LEGACY_INDEX = "pytorch_model.bin.index.json"
ADAPTER = "adapter_config.json"
WEIGHTS = (INDEX, SINGLE, LEGACY_INDEX, LEGACY)

# What makes a folder a model beside its weights, copied as it is into a merged folder.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "chat_template.jinja",
    "chat_template.json",
)
MODEL_FILES = ("config.json", "generation_config.json", *TOKENIZER_FILES)


class Model(Protocol):
    """What merging needs of a model, on disk or in memory."""

    @property
    def label(self) -> str:
        """How errors call it."""

    @property
    def config(self) -> Mapping[str, Any]:
        """config.json, or nothing."""

    @property
    def headers(self) -> Mapping[str, Header]:
        """Every tensor's header."""

    def array(self, name: str) -> np.ndarray:
        """One tensor's stored bits in its shape; bfloat16 as uint16. Not to be written to."""

    def tensor(self, name: str) -> "Tensor":
        """One tensor in its stored dtype, on the CPU or wherever the model is: a copy that the caller may change."""


class MemoryCheckpoint:
    """A model held in memory: a dict of tensors under the names that safetensors files use.

    Args:
        tensors: torch tensors, or numpy arrays in little-endian order; uint16 arrays are the bits of bfloat16.
        label: how errors call it.
        config: what its config.json would hold.
    """

    def __init__(
        self,
        tensors: "Mapping[str, Tensor | np.ndarray]",
        label: str = "memory",
        config: Mapping[str, Any] | None = None,
    ):
        self.label = label
        self.config = config or {}
        self._tensors = dict(tensors)
        self.headers = {name: Header(tuple(t.shape), _dtype_name(t)) for name, t in tensors.items()}

    def array(self, name: str) -> np.ndarray:
        held = self._tensors[name]
        return np.ascontiguousarray(held).reshape(held.shape) if isinstance(held, np.ndarray) else to_array(held)

    def tensor(self, name: str) -> "Tensor":
        held = self._tensors[name]
        return to_tensor(held, self.headers[name].dtype) if isinstance(held, np.ndarray) else held.detach().clone()


def _dtype_name(tensor: "Tensor | np.ndarray") -> str:
    name = str(tensor.dtype).removeprefix("torch.")
    return "bfloat16" if name == "uint16" and isinstance(tensor, np.ndarray) else name


def to_array(tensor: "Tensor") -> np.ndarray:
    """A tensor's bits as a contiguous array, uncopied where it is so already and on the CPU; bfloat16 as uint16."""
    import torch

    tensor = tensor.detach().cpu().contiguous()
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def to_tensor(array: np.ndarray, dtype: str) -> "Tensor":
    """A tensor of its own, on the CPU, from stored bits as `Model.array` gives them and the dtype's name."""
    import torch

    return torch.from_numpy(array.copy()).view(getattr(torch, dtype))


class Checkpoint:
    """A Hugging Face folder of weights.

    Args:
        folder: holds config.json and the weights: model.safetensors, or shards and model.safetensors.index.json, or, if
            there is neither, pytorch_model.bin in one file or in shards (see della/legacy.py).

    Raises:
        InputError: a file is missing, cut short or not what it should be, or a dtype cannot be merged.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        self.label = str(folder)
        if not self.folder.is_dir():
            raise InputError(f"{folder}: no such folder; write the path of a folder with a config.json and safetensors")
        if present_files(self.folder, [ADAPTER]) and not present_files(self.folder, ["config.json", *WEIGHTS]):
            raise InputError(f"{folder}: holds an adapter, not a model; name it as an expert, and its base as the base")
        self.config = read_json(self.folder / "config.json")
        self.headers: dict[str, Header] = {}
        self._file_of: dict[str, str] = {}
        source = self._source()
        self._index = source if source.endswith(".index.json") else None
        files = sorted(set(self._weight_map(source).values())) if self._index else [source]
        self._files = {file: open_weights(self.folder / file) for file in files}
        for file, weights in self._files.items():
            for name, header in weights.headers.items():
                if name in self.headers:
                    raise InputError(f"{folder}: {name} is both in {self._file_of[name]} and in {file}; remove one")
                self.headers[name] = header
                self._file_of[name] = file
        self._check_index()

    def array(self, name: str) -> np.ndarray:
        """One tensor's stored bits, read-only, seen through a map of its file; bfloat16 as uint16."""
        return self._files[self._file_of[name]].array(name)

    def tensor(self, name: str) -> "Tensor":
        """One tensor in its stored dtype, on the CPU, in memory of its own."""
        return to_tensor(self.array(name), self.headers[name].dtype)

    def in_memory(self) -> MemoryCheckpoint:
        """The same model with all its tensors read, for many merges of one small family."""
        return MemoryCheckpoint({name: self.tensor(name) for name in self.headers}, self.label, self.config)

    def sha256(self, progress: Progress | None = None, threads: int | None = None) -> str:
        """A hash over the content of every file that matters: weights, config and tokenizer, by name.

        Args:
            progress, threads: see `files_sha256`, which also says when files are not read again.
        """
        return folder_sha256(self.folder, self.files(), progress, threads)

    def files(self) -> list[str]:
        """Names of the files that make up the model, sorted."""
        index = [self._index] if self._index else []
        return sorted({*present_files(self.folder, MODEL_FILES), *index, *self._files})

    def _source(self) -> str:
        """The file that tells where the weights are: safetensors before pickles."""
        found = present_files(self.folder, WEIGHTS)
        if not found:
            raise InputError(f"{self.folder}: neither {SINGLE} nor {INDEX} nor {LEGACY} is there; check the path")
        return found[0]

    def _weight_map(self, index: str) -> dict[str, str]:
        weight_map = read_json(self.folder / index).get("weight_map")
        if not isinstance(weight_map, dict) or any(Path(str(file)).name != file for file in weight_map.values()):
            raise InputError(f"{self.folder / index}: has no weight_map of file names; download the file again")
        return weight_map

    def _check_index(self) -> None:
        if self._index is None:
            return
        for name, file in self._weight_map(self._index).items():
            if self._file_of.get(name) != file:
                raise InputError(f"{self.folder / self._index}: {name} is not in {file}; download the folder again")


def open_weights(file: Path) -> WeightFile:
    """A file of tensors: safetensors by its name, else a pickle.

    Raises:
        InputError: it cannot be read, or holds what cannot be merged.
    """
    if file.suffix == ".safetensors":
        return SafetensorsFile(file)
    from della.legacy import LegacyFile  # imports torch

    return LegacyFile(file)


def present_files(folder: Path, names: Iterable[str]) -> list[str]:
    """Those of the names that are files in the folder."""
    return [name for name in names if (folder / name).is_file()]


def read_json(file: Path) -> dict[str, Any]:
    """An object in a JSON file; InputError says what is wrong with it."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{file}: no such file; write the path of a Hugging Face model folder") from None
    except ValueError as error:
        raise InputError(f"{file}: not valid JSON ({error}); download it again") from error
    if not isinstance(content, dict):
        raise InputError(f"{file}: not a JSON object; download it again")
    return content
