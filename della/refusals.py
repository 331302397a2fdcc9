"""What is said of values that can't be merged; the CPU engine and the torch reference say the same."""

from della.checkpoint import Model
from della.errors import InputError


def not_finite(name: str, base: Model, expert: str, model: Model, base_is_finite: bool) -> InputError:
    """Of an input with NaN or Inf."""
    culprit = f"expert {expert} ({model.label})" if base_is_finite else f"the base ({base.label})"
    return InputError(f"{culprit}: {name} holds NaN or Inf, or its delta does; replace the file by a whole one")


def overflows(name: str, dtype: str) -> InputError:
    """Of a result with Inf."""
    return InputError(f"the merged {name} overflows {dtype}; write dtype=bfloat16 or float32, or a smaller lambda_")
