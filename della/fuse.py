"""Fuse: one delta from the experts' deltas, added to the base (arXiv 2406.11617, steps 3 and 4).

delta_avg_k = (1 / |C_k|) sum_{t in C_k} delta^_k^t ; theta_m = theta + lambda * delta_avg

Plain sums (task arithmetic, arXiv 2212.04089; DARE, arXiv 2311.03099 eq. 3) leave the 1 / |C_k| out.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from della.elect import add


def fuse(deltas: Sequence[Tensor], elected: Sequence[Tensor] | None, how: str) -> Tensor:
    """The mean or the sum of the elected deltas.

    Args:
        deltas: the pruned deltas of all experts, float32, same shape; added in the order given.
        elected: one mask (1 or 0) per expert from `elect`, or None for no election: C_k holds every expert, so that the
            mean divides by their number.
        how: "mean" or "sum". The mean where nobody is elected is 0.

    Returns:
        float32, same shape.
    """
    if elected is None:
        total = add(deltas)
        return total / len(deltas) if how == "mean" else total
    total = add([delta * mask for delta, mask in zip(deltas, elected, strict=True)])
    return total / add(elected).clamp_(min=1) if how == "mean" else total


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
