"""A LoRA adapter as PEFT saves it, as an expert: delta = scaling * B @ A per tensor (arXiv 2106.09685).

    adapter = Adapter("adapters/math", base)
    factors = adapter.low_rank["model.layers.0.self_attn.q_proj.weight"]
    product(factors, 0, 128)        # the first 128 rows of the delta, float32

A tensor that an adapter neither changes nor holds in full (modules_to_save, biases) has delta 0. Products are made row
by row, never for the whole model. Everything is found from headers, except whether embeddings stored beside their own
LoRA are a plain copy of the base's.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from della.adapter_keys import Pair, read_keys
from della.checkpoint import (
    ADAPTER,
    TOKENIZER_FILES,
    WEIGHTS,
    Checkpoint,
    Model,
    open_weights,
    present_files,
    to_tensor,
)
from della.errors import InputError
from della.hashes import Progress, folder_sha256
from della.headers import Header
from della.lora_config import REMEDY, read_settings

if TYPE_CHECKING:
    import torch

ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_BLOCK = 1 << 20  # elements compared at a time


@dataclass(frozen=True)
class LowRank:
    """A delta as a product: scaling * left @ right, in the layout of the base's tensor.

    left: float32 [rows, r], contiguous.
    right: float32 [r, columns], contiguous.
    """

    left: np.ndarray
    right: np.ndarray
    scaling: float

    @property
    def shape(self) -> tuple[int, int]:
        """Of the delta."""
        return self.left.shape[0], self.right.shape[1]


def product(factors: LowRank, start: int, stop: int) -> np.ndarray:
    """Rows `start` to `stop` of a delta: the order of operations that every kernel repeats.

    Products and sums are float32, each rounded, summed over the rank from 0 on; the scaling comes last, as a float32.

    Returns:
        float32 [stop - start, columns]
    """
    left = factors.left[start:stop]
    total = np.zeros((left.shape[0], factors.right.shape[1]), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # a merge refuses NaN and Inf by the tensor's name
        for k in range(factors.right.shape[0]):
            total += left[:, k : k + 1] * factors.right[k : k + 1]
        return total * np.float32(factors.scaling)


def product_torch(factors: LowRank, start: int, stop: int, device: "torch.device | str" = "cpu") -> "torch.Tensor":
    """`product` on a torch device, bit for bit.

    Returns:
        float32 tensor [stop - start, columns]
    """
    import torch

    left = torch.from_numpy(factors.left[start:stop].copy()).to(device)
    right = torch.from_numpy(factors.right.copy()).to(device)
    total = torch.zeros(left.shape[0], right.shape[1], device=device)
    for k in range(right.shape[0]):
        total += left[:, k : k + 1] * right[k : k + 1]  # two operations: no fused multiply-add
    return total * torch.tensor(factors.scaling, dtype=torch.float32, device=device)


class Factors(Mapping[str, LowRank]):
    """Factors by base tensor name, made float32 each time they are asked for: a large adapter is not held in memory."""

    def __init__(self, read: Callable[[str], np.ndarray], pairs: Mapping[str, tuple[Pair, bool]]):
        self._read, self._pairs = read, pairs

    def __getitem__(self, name: str) -> LowRank:
        pair, transposed = self._pairs[name]
        down, up = self._read(pair.down), self._read(pair.up)
        left, right = (down.T, up.T) if transposed else (up, down)
        return LowRank(np.ascontiguousarray(left), np.ascontiguousarray(right), pair.scaling)

    def __contains__(self, name: object) -> bool:
        return name in self._pairs

    def __iter__(self) -> Iterator[str]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)


class Adapter:
    """A folder with adapter_config.json and adapter_model.safetensors (or .bin), a `Model` of what it holds in full.

    Args:
        folder: as PEFT's save_pretrained writes it.
        base: what it is an adapter of. Without it, tensors are named as the adapter names its modules, and nothing is
            checked against the base; `resolve` makes up for it.

    Raises:
        InputError: a file is missing or spoilt, the adapter is of a kind that is not scaling * B @ A, or it does not
            fit the base.
    """

    def __init__(self, folder: Path | str, base: Model | None = None):
        self.folder = Path(folder)
        self.label = str(folder)
        self.config: Mapping[str, Any] = {}  # that of a model: the base's holds
        self.settings = read_settings(self.folder / ADAPTER)
        found = present_files(self.folder, ADAPTER_WEIGHTS)
        if not found:
            raise InputError(f"{folder}: neither {' nor '.join(ADAPTER_WEIGHTS)} is there; download the folder again")
        self._file = found[0]
        self._weights = open_weights(self.folder / self._file)
        self._keys = read_keys(self.folder / self._file, self._weights.headers, self.settings)
        self._name(lambda module: f"{module}.weight", lambda name: name, {})
        if base is not None:
            self.resolve(base)

    def resolve(self, base: Model) -> Self:
        """Find the base's tensor for each of the adapter's modules.

        Returns:
            The adapter itself, its `low_rank` and `headers` by the base's names. A tensor held in full that the base
            does not have keeps its name.

        Raises:
            InputError: one line with every module that does not fit, and why.
        """
        problems, edit = self._keys.find_prefix(base.headers)
        misfits, transposed = self._keys.orient(base.headers, edit, self.settings.fan_in_fan_out)
        problems += misfits
        problems += [
            f"{key} is not the base's {edit(module)}.weight, so that its delta is more than its factors"
            for module, key in self._keys.copies.items()
            if not self._is_copy(key, f"{edit(module)}.weight", base)
        ]
        if problems:
            raise InputError(f"{self.folder}: {'; '.join(problems)}; name the base it was trained on, or {REMEDY}")
        self._name(lambda module: f"{edit(module)}.weight", edit, transposed)
        return self

    def array(self, name: str) -> np.ndarray:
        """Stored bits of a tensor that the adapter holds in full; bfloat16 as uint16."""
        return self._weights.array(self._full[name])

    def tensor(self, name: str) -> "torch.Tensor":
        """The same as a torch tensor of its own, on the CPU."""
        return to_tensor(self.array(name), self.headers[name].dtype)

    def in_memory(self) -> Self:
        """The adapter itself: it is small, and its pages stay in the page cache."""
        return self

    def files(self) -> list[str]:
        """Names of the files that make up the adapter, sorted."""
        return sorted({ADAPTER, self._file, *present_files(self.folder, TOKENIZER_FILES)})

    def sha256(self, progress: Progress | None = None, threads: int | None = None) -> str:
        """A hash over the content of every file that matters, as `Checkpoint.sha256`."""
        return folder_sha256(self.folder, self.files(), progress, threads)

    def _name(self, weight: Callable[[str], str], full: Callable[[str], str], transposed: Mapping[str, bool]) -> None:
        """Name what the file holds."""
        flag = self.settings.fan_in_fan_out
        pairs = {
            weight(pair.module): (pair, transposed.get(pair.module, pair.embedding or flag))
            for pair in self._keys.pairs
        }
        self.low_rank: Mapping[str, LowRank] = Factors(self._float32, pairs)
        self._full = {full(name): key for name, key in self._keys.full.items()}
        self.headers: dict[str, Header] = {name: self._weights.headers[key] for name, key in self._full.items()}

    def _float32(self, key: str) -> np.ndarray:
        return _widened(self._weights.array(key), self._weights.headers[key].dtype)

    def _is_copy(self, key: str, name: str, base: Model) -> bool:
        """Whether a stored tensor is the base's, rounded to the dtype it is stored in."""
        header = self._weights.headers[key]
        if name not in base.headers or base.headers[name].shape != header.shape:
            return False
        ours, theirs = self._weights.array(key), base.array(name)
        rows = max(1, _BLOCK // max(1, header.numel // max(1, header.shape[0])))
        return all(
            np.array_equal(
                _widened(ours[row : row + rows], header.dtype),
                _rounded(_widened(theirs[row : row + rows], base.headers[name].dtype), header.dtype),
            )
            for row in range(0, header.shape[0], rows)
        )


def open_expert(folder: Path | str, base: Model | None = None) -> Checkpoint | Adapter:
    """The model or the adapter in a folder, by the files that are there.

    Args:
        base: see `Adapter`.

    Raises:
        InputError: the folder holds neither, or both, or what it holds cannot be read.
    """
    model, adapter = (present_files(Path(folder), names) for names in (WEIGHTS, ADAPTER_WEIGHTS))
    described = present_files(Path(folder), [ADAPTER])
    if model and adapter and described:
        raise InputError(
            f"{folder}: holds a model ({model[0]}) and an adapter ({adapter[0]}); move one to another folder"
        )
    return Adapter(folder, base) if described and not model else Checkpoint(folder)


def _widened(bits: np.ndarray, dtype: str) -> np.ndarray:
    """Stored bits of a floating-point dtype as float32."""
    if dtype == "bfloat16":
        return (bits.astype(np.uint32) << 16).view(np.float32)
    return bits.astype(np.float32, copy=False)


def _rounded(values: np.ndarray, dtype: str) -> np.ndarray:
    """float32 values rounded to a narrower dtype, ties to even, and widened again."""
    if dtype == "float16":
        with np.errstate(over="ignore"):
            return values.astype(np.float16).astype(np.float32)
    if dtype != "bfloat16":
        return values
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)
