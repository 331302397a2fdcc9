"""A fixed sample of a model's values, a million at most, and the distance between two models over it.

    places = choose_places(base.headers)
    ours, broken = take(base, base.headers, places)
    theirs, _ = take(expert, base.headers, places)
    distance(ours[name], theirs[name]).ratio

What is looked at depends on the base's headers alone and is spread over the kinds of tensors, the layers and each
tensor; it comes in short runs, so that files that are not in memory are read at a thousand places and not as a whole.
"""

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from della.checkpoint import FLOATS, Header, Model

TENSORS, VALUES, CHUNK = 256, 2**20, 2048  # at most so many tensors and values of a model, read in runs of CHUNK
_WORDS = {  # the first kind with a word in the tensor's name
    "embeddings": ("embed", ".wte.", "wte.weight", "wpe.weight", "lm_head"),
    "attention": ("attn", "attention"),
    "mlp": ("mlp", "ffn", "feed_forward", "experts", ".fc1", ".fc2"),
}
VECTORS = "vectors"

Sample = dict[str, np.ndarray]  # tensor name -> float32 values, at the same places in every model


@dataclass(frozen=True)
class Distance:
    """Of some values e from the values b at the same places.

    apart, base, expert: |e - b|^2, |b|^2 and |e|^2. along: the inner product of e and b. values: how many there are.
    """

    apart: float = 0.0
    base: float = 0.0
    expert: float = 0.0
    along: float = 0.0
    values: int = 0

    def __add__(self, other: "Distance") -> "Distance":
        sums = (self.apart + other.apart, self.base + other.base, self.expert + other.expert, self.along + other.along)
        return Distance(*sums, self.values + other.values)

    @property
    def ratio(self) -> float:
        """|e - b| / |b|; infinite for a change of nothing."""
        return math.sqrt(self.apart / self.base) if self.base else math.inf if self.apart else 0.0

    @property
    def cosine(self) -> float:
        """Between e and b; 1 where both are zero, 0 where one is."""
        if not self.base or not self.expert:
            return float(self.base == self.expert)
        return self.along / math.sqrt(self.base) / math.sqrt(self.expert)


def kind_of(name: str, shape: tuple[int, ...]) -> str:
    """embeddings, attention, mlp, other, or vectors for whatever has no two dimensions."""
    if len(shape) < 2:
        return VECTORS
    return next((kind for kind, words in _WORDS.items() if any(word in name for word in words)), "other")


def choose_places(headers: Mapping[str, Header]) -> dict[str, list[slice]]:
    """Where values are looked at: the same for the same headers, spread over kinds, layers and each tensor.

    Returns:
        Tensor name -> ranges of its elements in row-major order.
    """
    kinds: dict[str, list[str]] = {}
    for name in sorted(headers, key=_layer_order):
        if headers[name].dtype in FLOATS and headers[name].numel:
            kinds.setdefault(kind_of(name, headers[name].shape), []).append(name)
    if sum(map(len, kinds.values())) > TENSORS:
        kinds = {kind: _spread(names, TENSORS // len(kinds)) for kind, names in kinds.items()}
    chosen = list(itertools.chain.from_iterable(kinds.values()))
    share = VALUES // max(1, len(chosen))
    return {name: _ranges(headers[name].numel, share) for name in chosen}


def _layer_order(name: str) -> list[tuple[int, str]]:
    """layers.2 before layers.10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _spread(names: list[str], count: int) -> list[str]:
    return names if len(names) <= count else [names[i * len(names) // count] for i in range(count)]


def _ranges(numel: int, share: int) -> list[slice]:
    if numel <= share:
        return [slice(0, numel)]
    runs = max(1, share // CHUNK)
    length = min(CHUNK, numel)
    return [slice(start, start + length) for start in (i * (numel - length) // max(1, runs - 1) for i in range(runs))]


def take(model: Model, wanted: Mapping[str, Header], places: Mapping[str, list[slice]]) -> tuple[Sample, list[str]]:
    """A model's values at some places.

    Args:
        model: may have more rows than wanted: the places are in its first ones.
        wanted: the headers that the places were chosen from.
        places: from `choose_places`.

    Returns:
        The sample, and the names of tensors with NaN or Inf, which it leaves out.
    """
    sample, broken = {}, []
    for name, ranges in places.items():
        header, shape = model.headers.get(name), wanted[name].shape
        if header is None or header.dtype not in FLOATS or len(header.shape) != len(shape):
            continue
        if header.shape[1:] != shape[1:] or header.shape[:1] < shape[:1]:
            continue
        flat = model.array(name).reshape(-1)
        values = np.concatenate([to_float32(flat[place], header.dtype) for place in ranges])
        if np.isfinite(values).all():
            sample[name] = values
        else:
            broken.append(name)
    return sample, broken


def to_float32(stored: np.ndarray, dtype: str) -> np.ndarray:
    """Stored bits as `Model.array` gives them, as float32 values."""
    if dtype == "bfloat16":
        return (stored.astype(np.uint32) << 16).view(np.float32)
    with np.errstate(over="ignore"):
        return stored.astype(np.float32)


def distance(base: np.ndarray, expert: np.ndarray) -> Distance:
    """Of two samples of one tensor, summed in float64."""
    b, e = base.astype(np.float64), expert.astype(np.float64)
    delta = e - b
    return Distance(float(delta @ delta), float(b @ b), float(e @ e), float(b @ e), len(b))


def largest(base: Sample, expert: Sample) -> float:
    """The largest magnitude of expert - base, where base is 0 for a tensor that it lacks."""
    return max(
        (float(np.abs(values - base.get(name, np.float32(0))).max()) for name, values in expert.items()), default=0.0
    )
