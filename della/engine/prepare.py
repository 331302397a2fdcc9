"""What one tensor of a merge is merged with: its inputs, and its options as the arrays that the kernels take."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from della.activations import Activations, norms_of
from della.checkpoint import Model
from della.kernels import block
from della.kernels.bits import ABSENT, CODES, DELTA
from della.methods import METHODS, Site
from della.options import Options
from della.policy import Policy
from della.streams import stream_words

if TYPE_CHECKING:
    from della.lora import LowRank

KERNELS = {
    "keep_all": block.KEEP_ALL,
    "bernoulli": block.BERNOULLI,
    "magprune": block.MAGPRUNE,
    "top_k": block.TOP_K,
    "proportional": block.PROPORTIONAL,
    "top_rows": block.TOP_ROWS,
}
PRUNED = block.KEEP_ALL  # what a delta that comes in pruned already is merged with


@dataclass(frozen=True)
class Source:
    """Where an expert's values of a tensor are: an array of stored bits, two factors, or nowhere (a delta of 0)."""

    code: int
    array: np.ndarray | None = None
    low_rank: "LowRank | None" = None

    @property
    def address(self) -> int:
        """Of the first element."""
        return 0 if self.array is None else self.array.ctypes.data


def open_source(model: Model, name: str) -> Source:
    """The source of a tensor in a model."""
    factors = getattr(model, "low_rank", {}).get(name)
    if factors is not None:
        return Source(DELTA, low_rank=factors)
    if name not in model.headers:
        return Source(ABSENT)
    return Source(CODES[model.headers[name].dtype], np.ascontiguousarray(model.array(name)))


@dataclass(frozen=True)
class Tensor:
    """One tensor of a merge, for several points (policies) of a sweep.

    options: [expert][point].
    prunes, elects, means, lambdas, weights, streams, tables: as `della.kernels.block.merge_block` takes them.
    norms: float32 [expert, column], of the input activations, 1 where there are none; [expert, 0] where no delta is
        ranked by WANDA's scores.
    measured: of each expert, whether it has input activations for this tensor.
    """

    name: str
    shape: tuple[int, ...]
    absolute: bool
    base: Source
    experts: dict[str, Source]
    options: list[list[Options]]
    prunes: np.ndarray
    elects: np.ndarray
    means: np.ndarray
    lambdas: np.ndarray
    weights: np.ndarray
    streams: tuple[np.ndarray, np.ndarray, np.ndarray]
    tables: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
    norms: np.ndarray
    measured: tuple[bool, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def columns(self) -> int:
        """Length of a row: the last dimension; a 1-D tensor is one row."""
        return self.shape[-1] if self.shape else 1

    @property
    def by_rows(self) -> bool:
        """Whether a block must hold whole rows: their elements are ranked, or count together."""
        kernels = np.isin(self.prunes, (block.MAGPRUNE, block.PROPORTIONAL, block.TOP_ROWS))
        return bool(kernels.any() or (self.elects == block.ADAPTIVE).any() or self.norms.shape[1])

    def over_tensor(self, t: int, p: int) -> bool:
        """Whether the deltas of expert t count over the whole tensor at point p, where that is more than a row."""
        options = self.options[t][p]
        return getattr(options, "rank_over", "row") == "tensor" and options.is_random and len(self.shape) > 1

    def whole(self, t: int, p: int) -> bool:
        """Whether expert t is ranked over the whole tensor at point p, so that its magnitudes must be sorted."""
        return self.over_tensor(t, p) and self.prunes[t, p] == block.MAGPRUNE


def prepare(
    name: str,
    base: Model,
    experts: Mapping[str, Model],
    policies: Sequence[Policy],
    seed: int | None,
    activations: Mapping[str, Activations] | None = None,
) -> Tensor:
    """Everything about a tensor that is known before a value is read.

    Raises:
        InputError: a random method without a seed.
    """
    shape = base.headers[name].shape
    columns = shape[-1] if shape else 1
    options = [[policy.options(name, expert) for policy in policies] for expert in experts]
    draws = any(option.is_random for row in options for option in row)
    streams = [
        [stream_words(Site(seed, e, name).checked_seed, e, Site(seed, e, name).stream(purpose)) for e in experts]
        if draws
        else [(0, 0, 0, 0)] * len(experts)
        for purpose in ("", "rank")
    ]
    by_random = [any(getattr(option, "rank_by", "") == "random" for option in row) for row in options]
    norms, measured = _norms(name, options, activations or {}, list(experts), columns)
    common = options[0]
    return Tensor(
        name=name,
        shape=shape,
        absolute=METHODS[policies[0].method.name].absolute,
        base=Source(CODES[base.headers[name].dtype], np.ascontiguousarray(base.array(name))),
        experts={expert: open_source(model, name) for expert, model in experts.items()},
        options=options,
        prunes=np.array([[_kernel(option) for option in row] for row in options], np.int64),
        elects=np.array([_election(option) for option in common], np.int64),
        means=np.array([option.fuse == "mean" for option in common], np.int64),
        lambdas=np.array([option.lambda_ for option in common], np.float32),
        weights=np.array([[policy.weight(name, e) for e in experts] for policy in policies], np.float32),
        streams=(np.array(streams[0], np.uint64), np.array(streams[1], np.uint64), np.array(by_random)),
        tables=_tables(options, columns),
        norms=norms,
        measured=measured,
    )


def _kernel(options: Options) -> int:
    """The kernel's code for options that a kernel can do."""
    kernel = METHODS[options.name].kernel
    if kernel != "keep_all" and getattr(options, "drop_rate", 0.0) == 0:
        return block.KEEP_ALL
    if getattr(options, "rank_by", "") == "proportional":
        kernel = "proportional"
    if getattr(options, "trim_over", "") == "row":
        kernel = "top_rows"
    return KERNELS[kernel or "keep_all"]


def _election(options: Options) -> int:
    """Whether the sign elects, and adaptive lambda is taken from what it does."""
    return block.ADAPTIVE if options.lambda_by == "adaptive" else int(options.elect)


def _norms(
    name: str,
    options: list[list[Options]],
    activations: Mapping[str, Activations],
    experts: Sequence[str],
    columns: int,
) -> tuple[np.ndarray, tuple[bool, ...]]:
    """Norms of the input features of each expert, and who has any; a norm of 1 leaves a magnitude as it is."""
    wanted = [any(option.by_scores for option in row) for row in options]
    held = [norms_of(activations, e, name) if wants else None for e, wants in zip(experts, wanted, strict=True)]
    if all(norms is None for norms in held):
        return np.empty((len(experts), 0), np.float32), (False,) * len(experts)
    ones = np.ones(columns, np.float32)
    return np.stack([ones if n is None else n for n in held]), tuple(norms is not None for norms in held)


def _tables(
    options: list[list[Options]], columns: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Thresholds and keep probabilities by rank, whether these divide; which row of these each point takes; and the
    windows (p and epsilon) that the rows are of."""
    rows: dict[tuple[float, float, bool], int] = {}
    places = [[rows.setdefault(_window(option), len(rows)) for option in row] for row in options]
    ranked = any(_kernel(option) == block.MAGPRUNE for row in options for option in row)
    tables = [_table(columns if ranked else 1, drop_rate, epsilon) for drop_rate, epsilon, _ in rows]
    thresholds, keeps = (np.stack(part) for part in zip(*tables, strict=True))
    windows = np.array([window[:2] for window in rows], np.float64)
    return thresholds, keeps, np.array([scaled for *_, scaled in rows]), np.array(places, np.int64), windows


def _window(options: Any) -> tuple[float, float, bool]:
    drop_rate, epsilon = getattr(options, "drop_rate", 0.0), getattr(options, "epsilon", 0.0)
    return drop_rate, epsilon, getattr(options, "rescale", "none") == "per_parameter"


@functools.lru_cache(maxsize=64)
def _table(columns: int, drop_rate: float, epsilon: float) -> tuple[np.ndarray, np.ndarray]:
    """`della.prune.drop_probabilities` as thresholds minus one (uint32) and keep probabilities (float32), by rank.

    A word w is kept where w < ceil(keep 2**32), so where w <= that minus one, which fits into 32 bits.
    """
    if columns == 1:
        drop = np.array([drop_rate])
    else:
        rank = np.arange(columns, dtype=np.float64)
        drop = (drop_rate - epsilon / 2) + (epsilon * rank) / (columns - 1)
    keep = 1 - drop
    thresholds = np.ceil(keep * 2.0**32).astype(np.int64) - 1
    return thresholds.astype(np.uint32), keep.astype(np.float32)
