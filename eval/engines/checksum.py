"""Swapped weights carry a checksum: SHA-256 of what the engine holds after loading, against the merge's own.

    pieces = ...                                  # of the engine, by `pieces_of` or eval/engines/held.py
    digest = compare(pieces, tensors, "float32")  # InputError names the first tensor that differs

A piece is a block of one tensor of the checkpoint as one process of the engine holds it: all of it, a range of its rows
or columns (a model split over GPUs), or some columns of it (checksum=sample). Values are compared in the engine's
dtype, -0 as 0 (packed weights can only be read through a product, which loses that sign).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from eval.errors import InputError

SAMPLED = 16  # columns of each matrix that checksum=sample looks at
THREADS = 8  # hashing leaves Python's lock
Piece = dict[str, Any]  # JSON, since it may come from a server: see `make_piece`


def make_piece(
    name: str, values: torch.Tensor, rows: tuple[int, int], columns: tuple[int, int], picked: list[int] | None
) -> Piece:
    """A piece of the tensor `name`.

    Args:
        values: 1 or 2 dimensions; rows by columns, or rows by picked columns.
        rows, columns: the range of the checkpoint's tensor, first and one past the last; a vector has one column.
        picked: the columns looked at, counted in the checkpoint's tensor; None: all of the range.
    """
    return {
        "name": name,
        "rows": list(rows),
        "columns": list(columns),
        "picked": picked,
        "dtype": str(values.dtype).removeprefix("torch."),
        "sha256": sha256(values),
    }


def sha256(values: torch.Tensor) -> str:
    """Hex digest of the values in row-major order, -0 as 0."""
    held = (values.detach() + 0).cpu().contiguous()
    return hashlib.sha256(held.view(torch.uint8).numpy().data if held.numel() else b"").hexdigest()


def pick(name: str, columns: tuple[int, int], mode: str) -> list[int] | None:
    """The columns of a matrix that are looked at: None (all) or SAMPLED of the range, fixed by the tensor's name."""
    start, stop = columns
    if mode == "full" or stop - start <= SAMPLED:
        return None
    return sorted(random.Random(name).sample(range(start, stop), SAMPLED))


def cut(tensor: torch.Tensor, rows: tuple[int, int], columns: tuple[int, int], picked: list[int] | None):
    """The values of a piece out of a whole tensor."""
    if tensor.ndim < 2:
        return tensor[rows[0] : rows[1]]
    flat = tensor.reshape(tensor.shape[0], -1)[rows[0] : rows[1]]
    return flat[:, columns[0] : columns[1]] if picked is None else flat[:, picked]


def whole(tensor: torch.Tensor) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows and columns of a whole tensor; what has more than two dimensions is taken as a matrix of its first."""
    rows = tensor.shape[0] if tensor.ndim else 1
    return (0, rows), (0, tensor.numel() // max(rows, 1) if tensor.ndim > 1 else 1)


def pieces_of(tensors: Mapping[str, torch.Tensor], mode: str) -> list[Piece]:
    """Pieces of weights that are held under the checkpoint's own names (transformers)."""

    def one(name: str) -> Piece:
        tensor = tensors[name] if tensors[name].ndim else tensors[name].reshape(1)
        rows, columns = whole(tensor)
        picked = pick(name, columns, mode)
        return make_piece(name, cut(tensor, rows, columns, picked), rows, columns, picked)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(one, sorted(tensors)))


def compare(
    pieces: Iterable[Piece],
    names: Iterable[str],
    read: Callable[[str], torch.Tensor],
    dtype: str,
    where: str = "engine",
) -> str:
    """Compare what an engine holds with a checkpoint.

    Args:
        pieces: of the engine.
        names: of every tensor that must be held.
        read: a tensor of the checkpoint by its name, in the dtype it is stored in.
        dtype: of the engine.

    Returns:
        SHA-256 (hex) over the pieces' own, sorted: of the weights, as they are split and looked at.

    Raises:
        InputError: a tensor is not the checkpoint's, has another dtype, or no process holds all of it.
    """
    by_name: dict[str, dict[str, Piece]] = {}
    for piece in pieces:
        by_name.setdefault(piece["name"], {})[_line(piece)] = piece
    missing = sorted(set(names) - set(by_name))
    if missing:
        raise InputError(
            f"the {where} does not say what it holds of {missing[0]}{_more(missing)}: its architecture is not one "
            "whose weights can be compared; write engine.checksum=none"
        )
    wanted = sorted(set(names))
    with ThreadPoolExecutor(THREADS) as pool:
        for problem in pool.map(lambda name: _problem(name, list(by_name[name].values()), read(name), dtype), wanted):
            if problem:
                raise InputError(
                    f"the {where} does not hold the weights it was given: {problem}; open it anew "
                    "(engine.checksum=none leaves this check out)"
                )
    lines = sorted(line for name in wanted for line in by_name[name])
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _problem(name: str, pieces: list[Piece], tensor: torch.Tensor, dtype: str) -> str | None:
    tensor = (tensor if tensor.ndim else tensor.reshape(1)).to(getattr(torch, dtype))
    covered: dict[tuple, int] = {}
    for piece in pieces:
        rows, columns, picked = tuple(piece["rows"]), tuple(piece["columns"]), piece["picked"]
        if piece["dtype"] != dtype:
            return f"{name} is {piece['dtype']} there, engine.dtype is {dtype}"
        if sha256(cut(tensor, rows, columns, picked)) != piece["sha256"]:
            split = "" if (rows, columns) == whole(tensor) else f", rows {rows[0]} to {rows[1]}, columns {columns[0]}.."
            return f"{name}{split} differs"
        covered[rows, columns] = (rows[1] - rows[0]) * (columns[1] - columns[0])
    if sum(covered.values()) != tensor.numel():  # pieces tile a tensor: ranges that are equal were counted once
        return f"of {name} {sum(covered.values())} of {tensor.numel()} values are held"
    return None


def _line(piece: Piece) -> str:
    return f"{piece['name']} {piece['rows']} {piece['columns']} {piece['picked']} {piece['dtype']} {piece['sha256']}"


def _more(names: list[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""
