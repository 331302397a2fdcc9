"""What is the same for all tensors of a merge."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from della.activations import Activations
from della.checkpoint import Model
from della.experts import Family
from della.policy import Policy

BLOCK_ELEMENTS = 1 << 20

Progress = Callable[[int], object]


@dataclass(frozen=True)
class Merge:
    """What is the same for all tensors of a merge.

    experts: in the order of their names.
    policies: one per point of a sweep; all of one method.
    dtype: of the output; None: the base's.
    elements: of a block, about.
    device: "cpu", or "cuda": whole tensors by `della.reference`.
    progress: called with a number of elements that are merged, from any thread.
    activations: of the experts whose deltas are ranked by WANDA's scores.
    """

    base: Model
    experts: dict[str, Model]
    policies: Sequence[Policy]
    seed: int | None
    family: Family
    dtype: str | None = None
    elements: int = BLOCK_ELEMENTS
    device: str = "cpu"
    progress: Progress = lambda elements: None
    activations: Mapping[str, Activations] = field(default_factory=dict)

    def dtype_of(self, name: str) -> str:
        """Dtype of a tensor in the result."""
        stored = self.base.headers[name].dtype
        return stored if name in self.family.passed else self.dtype or stored
