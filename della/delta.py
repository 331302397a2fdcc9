"""The delta of an expert, delta_t = theta_t - theta (arXiv 2406.11617, section 2), and sums in a fixed order.

delta = compute_delta(base, expert)
"""

import functools
import operator

import torch
from torch import Tensor

SUM_BLOCK = 1024


def compute_delta(base: Tensor, expert: Tensor) -> Tensor:
    """delta_t = theta_t - theta, in float32 whatever the storage type.

    Args:
        base: any float dtype and shape.
        expert: any float dtype, same shape.

    Returns:
        float32, same shape.
    """
    return expert.to(torch.float32) - base.to(torch.float32)


def fixed_sum(values: Tensor) -> float:
    """sum_i values_i in float64, added in an order that no device, thread count or library changes.

    Blocks of 1,024 consecutive elements (the last one filled with zeros) are halved ten times, the first half added to
    the second; the block sums are added from left to right.

    Args:
        values: float64, any shape.
    """
    values = values.reshape(-1)
    blocks = torch.nn.functional.pad(values, (0, -len(values) % SUM_BLOCK)).view(-1, SUM_BLOCK)
    width = SUM_BLOCK
    while width > 1:
        width //= 2
        blocks = blocks[:, :width] + blocks[:, width:]
    return functools.reduce(operator.add, blocks.flatten().tolist(), 0.0)  # sum() compensates from Python 3.12 on


def l1_norm(values: Tensor) -> float:
    """sum_i |values_i| by `fixed_sum`.

    Args:
        values: float32, any shape.

    Returns:
        The norm, >= 0; 0 for an empty tensor.
    """
    return fixed_sum(values.abs().to(torch.float64))


def is_finite(values: Tensor) -> bool:
    """Whether no value is NaN or infinite."""
    return values.numel() == 0 or bool(torch.isfinite(torch.stack(torch.aminmax(values))).all())
