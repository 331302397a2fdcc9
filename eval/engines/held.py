"""What a vLLM worker holds, told in the checkpoint's names: the part of the checksum that runs inside the engine.

`Held` is a worker extension of vLLM: its methods can be called on every worker process, of the engine in this process
(`llm.collective_rpc("della_held", ...)`), of one split over GPUs, and of a server:

    VLLM_SERVER_DEV_MODE=1 python -m vllm.entrypoints.openai.api_server --model DIR \
        --worker-extension-cls eval.engines.held.Held

vLLM fuses q, k and v, gate and up; pads vocabularies; splits rows or columns over GPUs; and on the CPU replaces
matrices by packed copies that only the multiplication knows. Those are read back by multiplying the identity matrix: a
product with 1 and sums with 0 are exact, so the packed copy itself is what is hashed (vLLM 0.32.0).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from eval.engines.checksum import Piece, make_piece, pick

Range = tuple[int, int]


class Held:
    """Methods that vLLM adds to its workers; each has a name that no method of a worker has."""

    def della_ready(self) -> list[str]:
        """Answers where this extension is loaded."""
        return ["della_held", "della_renew_output"]

    def della_held(self, mode: str = "full") -> list[Piece]:
        """Pieces of all weights of this worker; mode: full | sample."""
        model = self.get_model()  # type: ignore[attr-defined]
        with torch.inference_mode():
            return [piece for name, module in model.named_modules() for piece in pieces(model, name, module, mode)]

    def della_renew_output(self) -> None:
        """Let a tied output layer see the embeddings just loaded.

        On the CPU vLLM multiplies by a packed copy of each matrix. reload_weights packs anew the layers it has tensors
        for; a tied output layer has none of its own and would go on with the old embeddings (vLLM 0.32.0).
        """
        head = getattr(self.get_model(), "lm_head", None)  # type: ignore[attr-defined]
        if head is not None and hasattr(head, "quant_method"):
            head.quant_method.process_weights_after_loading(head)


def pieces(model: Any, path: str, module: Any, mode: str) -> Iterator[Piece]:
    """What one module (not its children) holds, under the names of the checkpoint."""
    parameters = dict(module.named_parameters(recurse=False))
    if "weight" not in parameters:
        for name, values in parameters.items():
            yield _vector(f"{path}.{name}", values)
        return
    if not hasattr(module, "quant_method"):  # norms
        for name, values in parameters.items():
            yield _vector(f"{path}.{name}", values)
    elif hasattr(module, "shard_indices"):
        yield from _vocabulary(model, path, module, mode)
    else:
        yield from _linear(model, path, module, mode)


def _vector(name: str, values: torch.Tensor) -> Piece:
    columns = values.numel() // values.shape[0] if values.ndim > 1 else 1
    return make_piece(name, values, (0, values.shape[0]), (0, columns), None)


def _linear(model: Any, path: str, module: Any, mode: str) -> Iterator[Piece]:
    """A linear layer: its parts by name, each with the rows and columns that this worker has of it."""
    width = getattr(module, "input_size_per_partition", module.input_size)
    first = module.tp_rank * width if width != module.input_size else 0
    columns = (first, first + width)
    at = 0
    for name, rows in parts(model, path, module):
        picked = pick(f"{name}.weight", columns, mode)
        local = None if picked is None else [column - first for column in picked]
        count = rows[1] - rows[0]
        values = read_matrix(module, local)[at : at + count]
        yield make_piece(f"{name}.weight", values, rows, columns, picked)
        if getattr(module, "bias", None) is not None:
            # A small layer keeps its bias in float32 (exact, from the dtype of its weights); rows split over workers.
            bias = module.bias[at : at + count].to(module.params_dtype)
            yield make_piece(f"{name}.bias", bias, rows, (0, 1), None)
        at += count


def parts(model: Any, path: str, module: Any) -> Iterator[tuple[str, Range]]:
    """Names of the checkpoint that a layer is made of, each with this worker's rows of that tensor, in their order."""
    parent, _, own = path.rpartition(".")
    names = getattr(model, "packed_modules_mapping", {}).get(own, [own])
    sizes = getattr(module, "output_sizes", None) or [module.output_size]
    ranks = [(module.tp_rank, module.tp_size)] * len(sizes)
    if hasattr(module, "num_kv_head_replicas"):  # q, k, v; several workers may share the heads of keys and values
        copies = module.num_kv_head_replicas
        sizes = [sizes[0], sizes[1] // copies, sizes[2] // copies]
        ranks[1:] = [(module.tp_rank // copies, module.tp_size // copies)] * 2
    if getattr(module, "output_size_per_partition", module.output_size) == module.output_size:
        ranks = [(0, 1)] * len(sizes)  # not split, or split by columns
    offset = 0
    for index, (size, (rank, count)) in enumerate(zip(sizes, ranks, strict=True)):
        name = names[index] if len(names) == len(sizes) else names[0]
        start = (0 if len(names) == len(sizes) else offset) + rank * (size // count)
        yield f"{parent}.{name}" if parent else name, (start, start + size // count)
        offset += size


def _vocabulary(model: Any, path: str, module: Any, mode: str) -> Iterator[Piece]:
    """Embeddings or output layer, without padding rows; an output layer is what it multiplies by."""
    shard = module.shard_indices
    rows = (shard.org_vocab_start_index, shard.org_vocab_end_index)
    columns = (0, module.embedding_dim)
    is_output = path.endswith("lm_head")
    tied = is_output and getattr(model.config, "tie_word_embeddings", False)
    name = f"{_embeddings(model) if tied else path}.weight"
    picked = pick(name, columns, mode)
    if is_output:
        values = read_matrix(module, picked)
    else:
        values = module.weight if picked is None else module.weight[:, picked]
    yield make_piece(name, values[: rows[1] - rows[0]], rows, columns, picked)


def _embeddings(model: Any) -> str:
    """Path of the input embeddings."""
    paths = [
        path
        for path, module in model.named_modules()
        if hasattr(module, "shard_indices") and not path.endswith("lm_head")
    ]
    return paths[0]


def read_matrix(module: Any, columns: list[int] | None) -> torch.Tensor:
    """The matrix that a layer multiplies by, or some of its columns: rows are outputs.

    On the CPU it is packed: the layer is applied to the identity matrix, or to the rows of it that pick columns.
    """
    if not hasattr(module, "cpu_linear"):
        return module.weight if columns is None else module.weight[:, columns]
    width = getattr(module, "input_size_per_partition", None) or getattr(module, "embedding_dim", None)
    one = torch.eye(width or module.input_size, dtype=module.weight.dtype)
    return module.cpu_linear(one if columns is None else one[columns], module.weight, None).T
