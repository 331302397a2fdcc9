"""Weights in torch's own format, as pytorch_model.bin holds them: a pickle, of which only tensors are ever read.

    file = LegacyFile(Path("models/base/pytorch_model.bin"))
    file.headers["lm_head.weight"]
    file.array("lm_head.weight")

Reading is `torch.load(weights_only=True)`, so that a pickle that would run code is refused. Files since torch 1.6, of
2020, are zip archives and are mapped into memory: only what is touched is read. Older ones cannot be mapped and are
read into memory as a whole.
"""

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from della.errors import InputError
from della.headers import NUMPY, Header, refuse_pointer

_ZIP = b"PK\x03\x04"
_REMEDY = "save it again as safetensors, with transformers' save_pretrained where you trust it"


class LegacyFile:
    """A file of torch.save that holds a dict of tensors.

    Tensors that share memory, as tied weights do, are each there under their own name.

    Raises:
        InputError: the file is missing, cut short or not torch's, would run code, or holds what cannot be merged.
    """

    def __init__(self, file: Path):
        self.file = file
        self._tensors = _load(file)
        self.headers = {name: _header(file, name, tensor) for name, tensor in self._tensors.items()}

    def array(self, name: str) -> np.ndarray:
        """A tensor's stored bits, read-only; bfloat16 as uint16.

        A view of the mapped file, or a copy where the tensor is not contiguous (a slice or a transpose was saved).
        """
        tensor = self._tensors[name].contiguous()
        array = (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
        array = array if array.flags.aligned else array.copy()
        array.flags.writeable = False
        return array


def _load(file: Path) -> dict[str, torch.Tensor]:
    refuse_pointer(file)
    with file.open("rb") as stream:
        mapped = stream.read(len(_ZIP)) == _ZIP
    if mapped and not zipfile.is_zipfile(file):  # a zip's table of contents is at its end
        raise InputError(f"{file}: cut short at {file.stat().st_size} bytes; download it again")
    try:
        with warnings.catch_warnings(action="ignore"):  # of torch's own storages, which old files name
            content: Any = torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise InputError(f"{file}: {_refusal(str(error))}; {_REMEDY}") from error
    except Exception as error:  # bytes that are not what they should be may raise anything
        raise InputError(f"{file}: cannot be read as a file of torch.save; download it again") from error
    if not isinstance(content, Mapping) or not all(isinstance(name, str) for name in content):
        raise InputError(f"{file}: holds a {type(content).__name__}, not a dict of tensors by name; {_REMEDY}")
    return {name: _plain(file, name, value) for name, value in content.items()}


def _refusal(message: str) -> str:
    """torch's paragraphs in a few words."""
    found = re.search(r"(?:GLOBAL|global|class|function) `?([\w.]*\.[\w.]+)`?", message)
    return f"asks for {found[1]}, so that reading it could run code" if found else "is not a plain pickle of tensors"


def _plain(file: Path, name: str, value: Any) -> torch.Tensor:
    if not isinstance(value, torch.Tensor):
        raise InputError(f"{file}: {name} is a {type(value).__name__}, not a tensor; {_REMEDY}")
    if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
        raise InputError(f"{file}: {name} is sparse, quantised or without data, and cannot be merged; {_REMEDY}")
    return value.detach()


def _header(file: Path, name: str, tensor: torch.Tensor) -> Header:
    dtype = str(tensor.dtype).removeprefix("torch.")
    if dtype not in NUMPY:
        raise InputError(f"{file}: {name} is {dtype}, which cannot be merged; save the model in bfloat16")
    return Header(tuple(tensor.shape), dtype)
