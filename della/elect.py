"""Elect: the sign that wins at each parameter, and the deltas that carry it (arXiv 2406.11617, step 2).

S_k = sgn(sum_t delta^_k^t) ; C_k = {t : sgn(delta^_k^t) = S_k}
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def elect(deltas: Sequence[Tensor]) -> list[Tensor]:
    """Which experts are elected at each parameter.

    A zero sum elects + (so does one of -0), as in the released code (the paper's sgn(0) is 0). A delta of zero, so
    every dropped one, has no sign and is never elected.

    Args:
        deltas: the pruned and weighted deltas of all experts, float32, same shape; added in the order given.

    Returns:
        One mask per expert, float32, same shape: 1 where sgn(delta^_t) = S, else 0.
    """
    total = add(deltas)
    sign = torch.copysign(torch.ones_like(total), total)  # a sum that starts at +0 is never -0
    return [(delta * sign).gt_(0) for delta in deltas]


def add(deltas: Sequence[Tensor]) -> Tensor:
    """sum_t delta^_t, one expert after the other, each sum rounded to float32.

    Args:
        deltas: at least one, float32, same shape.
    """
    total = torch.zeros_like(deltas[0])
    for delta in deltas:
        total += delta
    return total
