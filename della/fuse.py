"""Fuse: one delta from the experts' deltas, added to the base (arXiv 2406.11617, steps 3 and 4).

delta_avg_k = (1 / |C_k|) sum_{t in C_k} delta^_k^t ; theta_m = theta + lambda * delta_avg

Plain sums (task arithmetic, arXiv 2212.04089; DARE, arXiv 2311.03099 eq. 3) leave the 1 / |C_k| out.
"""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from della.delta import fixed_sum
from della.elect import add


def fuse(
    deltas: Sequence[Tensor], elected: Sequence[Tensor] | None, how: str, weights: Sequence[float] | None = None
) -> Tensor:
    """The mean or the sum of the elected deltas.

    Args:
        deltas: the pruned deltas of all experts, each already multiplied by its weight; float32, same shape; added in
            the order given.
        elected: one mask (1 or 0) per expert from `elect`, or None for no election: C_k holds every expert.
        how: "mean" or "sum". The mean divides by the sum of the weights of C_k, with weights of 1 by their number; by
            1 where that sum is 0 (without election: below 1e-8), as mergekit does.
        weights: one per expert, in float32; None: 1.

    Returns:
        float32, same shape.
    """
    singles = [torch.tensor(weight, dtype=torch.float32) for weight in weights or [1.0] * len(deltas)]
    if elected is None:
        total = add(deltas)
        if how == "sum":
            return total
        divisor = add(singles)
        divisor = divisor if abs(float(divisor)) >= 1e-8 else torch.ones_like(divisor)
        return total / divisor.to(total.device)  # on a GPU, a CPU scalar would be multiplied by its reciprocal
    total = add([delta * mask for delta, mask in zip(deltas, elected, strict=True)])
    if how == "sum":
        return total
    divisors = add([mask * float(weight) for mask, weight in zip(elected, singles, strict=True)])
    return total / divisors.masked_fill_(divisors == 0, 1)


def adapt(deltas: Sequence[Tensor], elected: Sequence[Tensor]) -> list[Tensor]:
    """lambda_t delta^_t with lambda_t = |{k : delta^_k^t != 0}| / |{k : t in C_k}| of each row: adaptive lambda.

    The inverse of the part of an expert's kept deltas that is elected, which makes up for those that election takes
    away; it stands in the place of the one constant lambda (arXiv 2406.11617, Figure 5). The definition is the released
    code's `ada_row` as it was meant; see results/deviations.md.

    Args:
        deltas: the pruned deltas of all experts, each already multiplied by its weight; float32, same shape. A row is
            the last dimension, a 1-D tensor is one row.
        elected: one mask (1 or 0) per expert from `elect`.

    Returns:
        float32, same shape. lambda_t is rounded once, to float32, and is 1 in a row where nothing is elected.
    """
    return [_adapted(delta, mask) for delta, mask in zip(deltas, elected, strict=True)]


def _adapted(delta: Tensor, mask: Tensor) -> Tensor:
    if delta.numel() == 0:
        return delta
    rows, chosen = (part.reshape(-1, delta.shape[-1] if delta.ndim else 1) for part in (delta, mask))
    kept, elected = rows.count_nonzero(-1), chosen.count_nonzero(-1)
    inverse = (kept.to(torch.float64) / elected.clamp(min=1)).masked_fill(elected == 0, 1).to(torch.float32)
    return (rows * inverse.unsqueeze(-1)).view(delta.shape)


def stock_factor(deltas: Sequence[Tensor]) -> float:
    """t = N cos / (1 + (N - 1) cos) with the mean cosine between two experts' deltas   (arXiv 2403.19522, eq. 4).

    Args:
        deltas: of one tensor, float32.

    Returns:
        0 where the denominator vanishes: the base alone. 1 for a single expert, which agrees with itself.
    """
    if len(deltas) == 1:
        return 1.0
    doubles = [delta.to(torch.float64) for delta in deltas]
    norms = [math.sqrt(fixed_sum(delta * delta)) for delta in doubles]
    pairs = list(itertools.combinations(range(len(deltas)), 2))
    cosines = [fixed_sum(doubles[a] * doubles[b]) / max(norms[a] * norms[b], 1e-6) for a, b in pairs]
    cosine = sum(min(1.0, max(-1.0, value)) for value in cosines) / len(pairs)
    denominator = 1 + (len(deltas) - 1) * cosine
    return len(deltas) * cosine / denominator if abs(denominator) >= 1e-6 else 0.0


def add_to_base(base: Tensor, fused: Tensor, lambda_: float, dtype: torch.dtype) -> Tensor:
    """theta_m = theta + lambda * delta_avg in float32, product and sum rounded one by one, then once to `dtype`.

    Args:
        base: any float dtype.
        fused: float32, same shape.
        lambda_: the scaling factor.
        dtype: of the result.
    """
    scaled = fused * lambda_
    return (base.to(torch.float32) + scaled).to(dtype)
