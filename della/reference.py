"""The merge in plain torch, whole tensors at a time: what the CPU engine is equal to bit for bit, and the GPU path.

    for merged in merge_reference(base, experts, Policy(method), seed=1, family=family, device="cuda"):
        ...

It reads like arXiv 2406.11617, section 2: delta, prune, elect, fuse, base + lambda * delta.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from della.activations import Activations, norms_of, surveyed
from della.checkpoint import Model
from della.delta import compute_delta, is_finite
from della.elect import elect
from della.experts import Family, base_rows
from della.fuse import adapt, add_to_base, fuse
from della.lora import product_torch
from della.methods import METHODS, Site, scores_of
from della.policy import Policy
from della.prune import Cut
from della.refusals import not_finite, overflows


@dataclass(frozen=True)
class Reference:
    """The tensors of one merge, on one device.

    experts: in the order of their names.
    device: where the arithmetic is done; results are moved to the CPU.
    activations: of the experts that are ranked by WANDA's scores.
    """

    base: Model
    experts: Mapping[str, Model]
    device: str = "cpu"
    activations: Mapping[str, Activations] = field(default_factory=dict)

    def theta(self, name: str) -> Tensor:
        """The base's tensor."""
        return self.base.tensor(name).to(self.device)

    def norms(self, name: str, expert: str) -> Tensor | None:
        """The norms of an expert's input features for a tensor, float32, or None."""
        held = norms_of(self.activations, expert, name)
        return None if held is None else torch.tensor(held, device=self.device)

    def delta(self, name: str, expert: str, theta: Tensor, absolute: bool) -> Tensor:
        """delta_t of a tensor, float32; the expert's values themselves for a method that is absolute.

        Raises:
            InputError: it is not finite.
        """
        model, ours = self.experts[expert], theta.to(torch.float32)
        factors = getattr(model, "low_rank", {}).get(name)
        changes = factors is not None or name not in model.headers  # what is known is its difference from the base
        if factors is not None:
            delta = product_torch(factors, 0, factors.shape[0], self.device).view(theta.shape)
        elif changes:
            delta = torch.zeros_like(ours)
        else:
            theta_t = base_rows(model.tensor(name).to(self.device), tuple(theta.shape))
            delta = theta_t.to(torch.float32) if absolute else compute_delta(theta, theta_t)
        if changes and absolute:
            delta = ours + delta
        if not is_finite(delta):
            raise not_finite(name, self.base, expert, model, (absolute and not changes) or is_finite(ours))
        return delta


def merge_reference(
    base: Model,
    experts: Mapping[str, Model],
    policy: Policy,
    seed: int | None,
    family: Family,
    dtype: torch.dtype | None = None,
    device: str = "cpu",
    activations: Mapping[str, Activations] | None = None,
) -> Iterator[tuple[str, Tensor, dict[str, int]]]:
    """Every merged tensor, in the order of the names: name, values on the CPU, how many deltas each expert kept."""
    source = Reference(base, {name: experts[name] for name in sorted(experts)}, device, activations or {})
    row = METHODS[policy.method.name]

    together = {e: set(surveyed(family.merged, e, policy.method, source.activations)) for e in source.experts}

    def scores(expert: str) -> Iterator[Tensor]:
        for name in (name for name in family.merged if name in together[expert]):
            delta = source.delta(name, expert, source.theta(name), row.absolute)
            yield scores_of(delta, policy.method, source.norms(name, expert))

    cuts = {expert: row.survey(partial(scores, expert), policy.method) for expert in source.experts}
    for name in family.merged:
        found = {expert: next(cut) for expert, cut in cuts.items() if name in together[expert]}
        yield name, *merge_tensor(source, name, policy, seed, dtype, found.get)


def merge_tensor(
    source: Reference,
    name: str,
    policy: Policy,
    seed: int | None,
    dtype: torch.dtype | None = None,
    cut: Callable[[str], Cut | None] = lambda expert: None,
) -> tuple[Tensor, dict[str, int]]:
    """One tensor: theta_m = theta + lambda * fuse(elect(prune(delta_t))).

    Args:
        cut: expert -> what the method's survey found for this tensor.

    Raises:
        InputError: an input or the result is not finite.
    """
    row = METHODS[policy.method.name]
    theta = source.theta(name)
    options = {expert: policy.options(name, expert) for expert in source.experts}
    sites = {expert: Site(seed, expert, name, cut(expert), source.norms(name, expert)) for expert in source.experts}
    pruned = {
        expert: row.prune(source.delta(name, expert, theta, row.absolute), options[expert], site)
        for expert, site in sites.items()
    }
    weights = [policy.weight(name, expert) for expert in source.experts]
    deltas = [part.delta * weight for part, weight in zip(pruned.values(), weights, strict=True)]
    common = next(iter(options.values()))
    elected = elect(deltas) if common.elect else None
    if elected is not None and common.lambda_by == "adaptive":
        deltas = adapt(deltas, elected)
    fused = fuse(deltas, elected, common.fuse, weights)
    if row.factor:
        fused = fused * row.factor(deltas)
    start = torch.zeros_like(theta) if row.absolute else theta
    merged = add_to_base(start, fused, common.lambda_, dtype or theta.dtype)
    if not is_finite(merged):
        if not row.absolute and not is_finite(theta.to(torch.float32)):
            raise not_finite(name, source.base, "", source.base, False)
        raise overflows(name, str(merged.dtype).removeprefix("torch."))
    return merged.cpu(), {expert: part.kept for expert, part in pruned.items()}
