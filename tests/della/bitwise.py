"""What the tests of the engine share: inputs of awkward values, the torch reference, comparison bit by bit."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from della.activations import Activations
from della.checkpoint import MemoryCheckpoint, Model, to_array
from della.experts import check_family
from della.lora import LowRank
from della.merge import merge_tensors
from della.options import Options
from della.policy import Policy
from della.reference import merge_reference

Result = dict[str, tuple[Tensor, dict[str, int]]]

KINDS = ("normal", "ties", "zeros", "denormal", "outlier")
SHAPES = {
    "empty": (0,),
    "empty rows": (4, 0),
    "few": (5, 7),
    "long": (3000,),
    "one": (1,),
    "one column": (33, 1),
    "rows": (41, 60),
    "scalar": (),
    "three": (3, 5, 67),
}


def draw(rng: np.random.Generator, shape: tuple[int, ...], kind: str) -> np.ndarray:
    """float32 values.

    ties: five values, so that every rank and cut has to break ties; denormal: multiples of 2**-149 around the smallest
    normal number; outlier: one value a million times the others.
    """
    if kind == "zeros":
        return np.zeros(shape, np.float32)
    if kind == "ties":
        return (rng.integers(-2, 3, shape) / 64).astype(np.float32)
    if kind == "denormal":
        return (rng.integers(-(2**24), 2**24, shape) * 2.0**-149).astype(np.float32)
    values = rng.normal(0, 0.02, shape).astype(np.float32)
    if kind == "outlier" and values.size:
        values.reshape(-1)[values.size // 2] = 20000.0
    return values


def make_family(
    kind: str = "normal",
    base_dtype: str = "float32",
    expert_dtype: str = "float32",
    shapes: Mapping[str, tuple[int, ...]] = SHAPES,
    names: Sequence[str] = ("code", "lm", "math"),
) -> tuple[MemoryCheckpoint, dict[str, MemoryCheckpoint]]:
    """A base and its experts; deltas are of the given kind."""
    rng = np.random.default_rng(list(kind.encode()))
    base = {name: draw(rng, shape, "denormal" if kind == "denormal" else "ties") for name, shape in shapes.items()}
    experts = {
        expert: MemoryCheckpoint(
            {
                name: torch.from_numpy(np.asarray(values + draw(rng, values.shape, kind), np.float32)).to(
                    getattr(torch, expert_dtype)
                )
                for name, values in base.items()
            },
            expert,
        )
        for expert in names
    }
    held = {name: torch.from_numpy(np.asarray(values)).to(getattr(torch, base_dtype)) for name, values in base.items()}
    return MemoryCheckpoint(held, "base"), experts


class MemoryAdapter:
    """An expert that is factors for some tensors, full weights for others, and nothing for the rest."""

    def __init__(self, low_rank: Mapping[str, LowRank], full: Mapping[str, Tensor] | None = None):
        self.low_rank = low_rank
        self._full = MemoryCheckpoint(full or {}, "adapter")
        self.label, self.config, self.headers = "adapter", self._full.config, self._full.headers
        self.array, self.tensor = self._full.array, self._full.tensor


def make_adapter(base: MemoryCheckpoint, names: Sequence[str], rank: int = 3, seed: int = 0) -> MemoryAdapter:
    """Random factors for some tensors of two dimensions."""
    rng = np.random.default_rng(seed)
    factors = {}
    for name in names:
        rows, columns = base.headers[name].shape
        left, right = (rng.normal(0, 0.1, shape).astype(np.float32) for shape in ((rows, rank), (rank, columns)))
        factors[name] = LowRank(left, right, 5 / 3)
    return MemoryAdapter(factors)


def make_activations(base: Model, experts: Iterable[str]) -> dict[str, Activations]:
    """Norms for every tensor of two dimensions and more, for rankings by WANDA's scores; expert lm has none for "rows".

    Every second expert has norms that make ties and scores of 0.
    """
    held = {}
    for number, expert in enumerate(sorted(experts)):
        rng = np.random.default_rng(number)
        norms = {}
        for name, header in base.headers.items():
            if len(header.shape) > 1 and (expert, name) != ("lm", "rows"):
                drawn = rng.choice([0, 0.5, 1, 2], header.shape[-1]) if number % 2 else rng.random(header.shape[-1])
                norms[name] = drawn.astype(np.float32)
        held[expert] = Activations(norms)
    return held


def by_reference(
    base: Model,
    experts: Mapping[str, Model],
    method: Options | Policy,
    seed: int | None = 1,
    dtype: str | None = None,
    device: str = "cpu",
) -> Result:
    """The torch reference's merge."""
    family = check_family(base, experts)
    output = getattr(torch, dtype) if dtype else None
    activations = make_activations(base, experts)
    merged = merge_reference(base, experts, Policy.of(method), seed, family, output, device, activations)
    return {name: (tensor, kept) for name, tensor, kept in merged}


def by_engine(
    base: Model,
    experts: Mapping[str, Model],
    method: Options | Policy,
    seed: int | None = 1,
    dtype: str | None = None,
    **how,
) -> Result:
    """The engine's; `how` as `merge_tensors` takes it."""
    how = {"activations": make_activations(base, experts)} | how
    return {m.name: (m.tensor, m.kept) for m in merge_tensors(base, experts, method, seed, dtype, **how)}


def assert_same(ours: Result, theirs: Result) -> None:
    """Equal names, dtypes, shapes, bits (so +0 is not -0) and kept counts."""
    assert list(ours) == list(theirs)
    for name, (tensor, kept) in ours.items():
        other, counts = theirs[name]
        assert (tensor.dtype, tensor.shape) == (other.dtype, other.shape), name
        assert kept == counts, name
        left, right = to_array(tensor).reshape(-1), to_array(other).reshape(-1)
        wrong = np.flatnonzero(left.view(f"u{left.itemsize}") != right.view(f"u{right.itemsize}"))
        assert not wrong.size, f"{name}: {wrong.size} differ, first at {wrong[0]}: {left[wrong[0]]} {right[wrong[0]]}"


def check(base: Model, experts: Mapping[str, Model], method: Options | Policy, dtype: str | None = None, **how) -> None:
    """The engine's merge is the reference's."""
    assert_same(by_engine(base, experts, method, dtype=dtype, **how), by_reference(base, experts, method, dtype=dtype))
