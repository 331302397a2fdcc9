"""Random models to merge: folders with the tensors of a Llama, written block by block, the same bytes every time.

    base, *experts = make_family(Path(".work/bench"), 1.0, 3)

The shapes are those of models of that size (1.0 is TinyLlama's, 1.1 billion parameters); an expert is the base plus
noise of a tenth of its weights' size. A model that is there whole is used as it is.
"""

import json
import math
import os
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from della.checkpoint import INDEX
from della.errors import InputError
from della.files import canonical, write_atomically
from della.folder import write_json
from della.headers import Header
from della.room import free_disk
from della.shards import Shard, build_index, plan_shards

MODELS_VERSION = 1  # raise it when other bytes are made
MAX_SHARD_BYTES = 2_000_000_000
BASE_SPREAD, EXPERT_SPREAD = 0.02, 0.002
HEAD = 64
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Shape:
    """Widths and depth of a Llama with heads of 64, its embeddings not tied."""

    hidden: int
    intermediate: int
    layers: int
    vocab: int

    @property
    def key_heads(self) -> int:
        """Heads of keys and values, which several heads of queries share."""
        return math.gcd(self.hidden // HEAD, 4)


SHAPES = {
    0.1: Shape(768, 2048, 9, 32000),
    0.3: Shape(1024, 2816, 22, 32000),
    1.0: Shape(2048, 5632, 22, 32000),
}


def shape_of(size: float) -> Shape:
    """The shape of a model of about `size` billion parameters."""
    if size in SHAPES:
        return SHAPES[size]
    hidden = max(HEAD, HEAD * round(2048 * math.sqrt(size) / HEAD))
    vocab = min(32000, max(256, HEAD * round(320_000 * size / HEAD)))
    intermediate = 11 * hidden // 4
    per_layer = sum(math.prod(shape) for shape in _layer(Shape(hidden, intermediate, 1, vocab)).values())
    return Shape(hidden, intermediate, max(1, round((size * 1e9 - 2 * hidden * vocab) / per_layer)), vocab)


def headers_of(shape: Shape) -> dict[str, Header]:
    """The tensors of a Llama, bfloat16."""
    shapes = {
        "model.embed_tokens.weight": (shape.vocab, shape.hidden),
        "model.norm.weight": (shape.hidden,),
        "lm_head.weight": (shape.vocab, shape.hidden),
    }
    for number in range(shape.layers):
        shapes |= {f"model.layers.{number}.{name}.weight": of for name, of in _layer(shape).items()}
    return {name: Header(of, "bfloat16") for name, of in sorted(shapes.items())}


def _layer(shape: Shape) -> dict[str, tuple[int, ...]]:
    hidden, intermediate, keys = shape.hidden, shape.intermediate, shape.key_heads * HEAD
    return {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (intermediate, hidden),
        "mlp.up_proj": (intermediate, hidden),
        "mlp.down_proj": (hidden, intermediate),
        "input_layernorm": (hidden,),
        "post_attention_layernorm": (hidden,),
    }


def parameters_of(size: float) -> int:
    """How many parameters a model of this size has to the last."""
    return sum(header.numel for header in headers_of(shape_of(size)).values())


def largest_tensor(size: float) -> int:
    """Parameters of its largest tensor."""
    return max(header.numel for header in headers_of(shape_of(size)).values())


def family_folder(work: Path, size: float) -> Path:
    """Where the models of a size are."""
    return work / f"models-{size:g}"


def make_family(work: Path, size: float, experts: int, told: Callable[[str], object] = print) -> list[Path]:
    """The base and its experts, made where they are missing.

    Args:
        work: a folder for models of all sizes.
        size: billions of parameters, about.
        experts: how many.
        told: called with a line when something has to be made.

    Returns:
        Folders: base, expert1, expert2, ...

    Raises:
        InputError: the disk is too small for them and two merged models.
    """
    root = family_folder(work, size)
    folders = [root / ("base" if number == 0 else f"expert{number}") for number in range(experts + 1)]
    missing = {number: folder for number, folder in enumerate(folders) if not _is_whole(folder, size, number)}
    bytes_each = 2 * parameters_of(size)
    needed, free = (len(missing) + 2) * bytes_each, free_disk(root)
    if needed > free:
        raise InputError(
            f"{root}: models of {size:g} billion parameters need {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; "
            "write smaller sizes=, or paths.work= on a larger disk"
        )
    if missing:
        told(f"making {len(missing)} random models of {parameters_of(size) / 1e6:.3g} million parameters in {root}")
        _make(missing, size)
    return folders


def _is_whole(folder: Path, size: float, number: int) -> bool:
    try:
        held = json.loads(_marker(folder).read_bytes())
    except (OSError, ValueError):
        return False
    return held == _made(folder, size, number)


def _marker(folder: Path) -> Path:
    """Written last; beside the model, where no tool takes it for a part of it."""
    return folder.with_name(f"{folder.name}.json")


def _made(folder: Path, size: float, number: int) -> dict:
    files = {file.name: file.stat().st_size for file in sorted(folder.glob("*"))} if folder.is_dir() else {}
    return {"version": MODELS_VERSION, "shape": asdict(shape_of(size)), "number": number, "files": files}


def _make(models: dict[int, Path], size: float) -> None:
    """Writes models by their numbers, 0 is the base: tensor by tensor, in threads."""
    shards = plan_shards(headers_of(shape_of(size)), MAX_SHARD_BYTES)
    opened: dict[tuple[int, str], int] = {}
    try:
        for number, folder in models.items():
            folder.mkdir(parents=True, exist_ok=True)
            _marker(folder).unlink(missing_ok=True)
            write_json(folder / "config.json", _config(shape_of(size)))
            if len(shards) > 1:
                write_json(folder / INDEX, build_index(shards))
            for shard in shards:
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
                opened[number, shard.file] = descriptor = os.open(folder / shard.file, flags, 0o644)
                os.pwrite(descriptor, shard.prefix, 0)
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            work = [
                pool.submit(_write_tensor, name, shard, {number: opened[number, shard.file] for number in models})
                for shard in shards
                for name in shard.headers
            ]
            for future in work:
                future.result()
    finally:
        for descriptor in opened.values():
            os.close(descriptor)
    for number, folder in models.items():
        write_atomically(_marker(folder), canonical(_made(folder, size, number)).encode())


def _write_tensor(name: str, shard: Shard, descriptors: dict[int, int]) -> None:
    header, at = shard.headers[name], shard.start[name]
    streams = {number: _stream(name, number) for number in {0, *descriptors}}
    centre = 0.0 if len(header.shape) > 1 else 1.0
    for start in range(0, header.numel, _CHUNK):
        count = min(_CHUNK, header.numel - start)
        base = streams[0].standard_normal(count, np.float32) * np.float32(BASE_SPREAD) + np.float32(centre)
        for number, descriptor in descriptors.items():
            values = base
            if number:
                values = base + streams[number].standard_normal(count, np.float32) * np.float32(EXPERT_SPREAD)
            os.pwrite(descriptor, to_bfloat16(values).data, at + 2 * start)


def _stream(name: str, number: int) -> np.random.Generator:
    return np.random.Generator(np.random.SFC64([number, zlib.crc32(name.encode())]))


def to_bfloat16(values: np.ndarray) -> np.ndarray:
    """float32 -> the bits of the nearest bfloat16, uint16; the even one of two that are as near."""
    bits = values.view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def _config(shape: Shape) -> dict:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.hidden // HEAD,
        "num_key_value_heads": shape.key_heads,
        "head_dim": HEAD,
        "vocab_size": shape.vocab,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-05,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }
