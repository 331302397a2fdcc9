"""Options and weights that differ between experts and layers, as plain data: what an evolutionary merge is made of.

    rules = [Rule("lm", (0, 2), (("drop_rate", 0.3), ("weight", 0.8))), ...]
    Policy(method, overrides=overrides_of(rules))

(Akiba et al., "Evolutionary Optimization of Model Merging Recipes", arXiv 2403.13187: densities and weights per layer.)
The layer of a tensor is the first number between dots in its name; a tensor outside the layers (embeddings, the last
norm, the output) goes with layer 0, as in mergekit's gradients.
"""

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from della.errors import InputError
from della.policy import Overrides

_LAYER = re.compile(r"\.(\d+)\.")


@dataclass(frozen=True)
class Rule:
    """What differs for one expert (None: all) in the layers first <= layer < end (None: all).

    options: (name, value) of the method's options, and "weight", the factor of the expert's pruned delta.
    """

    expert: str | None
    layers: tuple[int, int] | None
    options: tuple[tuple[str, Any], ...]

    def plain(self) -> dict[str, Any]:
        """As a record has it."""
        where = {"expert": self.expert, "layers": list(self.layers) if self.layers else None}
        return {**{key: value for key, value in where.items() if value is not None}, **dict(self.options)}


def layer_of(tensor: str) -> int:
    """The number of a tensor's layer; 0 outside the layers."""
    found = _LAYER.search(tensor)
    return int(found[1]) if found else 0


def count_layers(tensors: Iterable[str]) -> int:
    """One more than the largest layer number in these names; 0 where none has a layer."""
    return max((int(found[1]) + 1 for tensor in tensors if (found := _LAYER.search(tensor))), default=0)


def layer_groups(layers: int, groups: int) -> list[tuple[int, int]]:
    """The layers cut into `groups` ranges (first, end) of equal size, to within one; groups=0: one for each layer.

    Raises:
        InputError: more groups than layers.
    """
    groups = groups or layers
    if not 1 <= groups <= layers:
        raise InputError(f"groups={groups}: the model has {layers} layers; write a number from 1 to {layers}")
    ends = [round(number * layers / groups) for number in range(groups + 1)]
    return list(itertools.pairwise(ends))


def overrides_of(rules: Sequence[Rule]) -> Overrides:
    """What a `Policy` looks up; where several rules fit, the later ones win."""

    def look_up(tensor: str, expert: str) -> dict[str, Any]:
        layer = layer_of(tensor)
        found: dict[str, Any] = {}
        for rule in rules:
            fits = rule.expert in (None, expert)
            if fits and (rule.layers is None or rule.layers[0] <= layer < rule.layers[1]):
                found |= dict(rule.options)
        return found

    return look_up
