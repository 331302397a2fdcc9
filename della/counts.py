"""How many parameters a share keeps."""

from decimal import Decimal


def kept_count(n: int, drop_rate: float) -> int:
    """max(1, floor(n (1 - p))) with p as the decimal written; an empty tensor keeps 0.

    20 parameters at 0.9 keep 2; in floats 20 * (1 - 0.9) is 1.9999999999999996.
    """
    return min(n, max(1, int(n * (1 - Decimal(str(drop_rate))))))
