"""Which options and which weight each tensor of each expert is merged with.

    Policy(make_method("della", drop_rate=0.5))                                   # the same for all
    Policy(method, weights={"lm": 0.5}, exclude=("*norm*", "*embed_tokens*"))     # norms and embeddings unpruned

A mergekit file gives values that change with the layer or a filter: `overrides` looks them up (della/mergekit.py).
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from della.errors import InputError
from della.options import Options, is_single

Overrides = Callable[[str, str], Mapping[str, Any]]
_DROPS = ("drop_rate", "epsilon", "gamma")  # at 0, nothing is dropped


@dataclass(frozen=True)
class Policy:
    """How a merge treats each tensor.

    method: options of all tensors that nothing below changes.
    weights: expert -> factor of its pruned delta, any finite number; 1 where it is not named.
    include: patterns (as a shell's, * and ?) of the tensors whose deltas are pruned; empty: all.
    exclude: patterns of tensors that are not pruned; they are elected and fused as the others.
    overrides: (tensor, expert) -> options of the method, and "weight", that differ there.
    """

    method: Options
    weights: Mapping[str, float] = field(default_factory=dict)
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    overrides: Overrides | None = None

    def __post_init__(self) -> None:
        """Raises InputError for a weight that is not a finite number."""
        for expert, weight in self.weights.items():
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not is_single(weight):
                raise InputError(f"weights.{expert} is {weight!r}; write a finite number")

    @classmethod
    def of(cls, method: "Options | Policy") -> "Policy":
        """The policy that gives every tensor these options; a policy as it is."""
        return method if isinstance(method, Policy) else cls(method)

    def options(self, tensor: str, expert: str) -> Options:
        """The options that an expert's delta of a tensor is pruned with, and that the tensor is fused with."""
        options = self.method
        if self.overrides:
            changed = {name: value for name, value in self.overrides(tensor, expert).items() if name != "weight"}
            options = dataclasses.replace(options, **changed) if changed else options  # type: ignore[type-var]
        return options if self.prunes(tensor) else unpruned(options)

    def weight(self, tensor: str, expert: str) -> float:
        """The factor of an expert's pruned delta."""
        weight = self.overrides(tensor, expert).get("weight") if self.overrides else None
        return float(self.weights.get(expert, 1.0) if weight is None else weight)

    def prunes(self, tensor: str) -> bool:
        """Whether the patterns let a tensor be pruned."""
        included = not self.include or _matches(tensor, self.include)
        return included and not _matches(tensor, self.exclude)

    def check(self, tensors: Iterable[str], experts: Iterable[str]) -> None:
        """Raises InputError for a weight of an unknown expert and for a pattern that no tensor matches."""
        tensors, experts = list(tensors), list(experts)
        for expert in self.weights:
            if expert not in experts:
                raise InputError(f"weights.{expert}: there is no such expert; write one of {', '.join(experts)}")
        for name, patterns in (("include", self.include), ("exclude", self.exclude)):
            for pattern in patterns:
                if not any(fnmatchcase(tensor, pattern) for tensor in tensors):
                    raise InputError(f"{name}: no tensor matches {pattern!r}; write a pattern such as '*norm*'")

    def is_random(self, tensors: Iterable[str], experts: Iterable[str]) -> bool:
        """Whether a merge of these tensors and experts depends on a mask seed."""
        experts = list(experts)
        return any(self.options(tensor, expert).is_random for tensor in tensors for expert in experts)

    def by_activations(self, tensors: Iterable[str], experts: Iterable[str]) -> list[str]:
        """The experts whose input activations a merge of these tensors depends on."""
        tensors = list(tensors)
        return [expert for expert in experts if any(self.options(name, expert).by_activations for name in tensors)]


def unpruned(options: Options) -> Options:
    """The same options with nothing dropped."""
    nothing = {name: 0.0 for name in _DROPS if any(item.name == name for item in dataclasses.fields(options))}  # type: ignore[arg-type]
    return dataclasses.replace(options, **nothing) if nothing else options  # type: ignore[type-var]


def _matches(tensor: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(tensor, pattern) for pattern in patterns)
