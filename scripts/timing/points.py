"""Further points of a sweep in memory: ten points of della in one pass, timed against one point's merge.

    python -m scripts.timing.points SMALL/ BASE EXPERT...     # SMALL/: a folder with a small base and experts

Prints JSON: the seconds of one point, of ten that share nothing but the ranks (drop rate and epsilon differ), and of
ten on a usual grid (five drop rates, two lambdas). The small models are merged first, so that nothing is compiled or
imported while the clock runs. Each pass maps the files anew, and drops every tensor as it comes.
"""

import collections
import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from della.checkpoint import Checkpoint
from della.merge import merge_points, merge_tensors
from della.methods import make_method
from della.options import Options

RATES = (0.3, 0.4, 0.5, 0.6, 0.7)
ONE = [make_method("della", drop_rate=0.5, epsilon=0.14)]
PASSES = {
    "one": ONE,
    "distinct": [make_method("della", drop_rate=p, epsilon=e) for p in RATES for e in (0.1, 0.2)],
    "grid": [make_method("della", drop_rate=p, epsilon=0.14, lambda_=factor) for p in RATES for factor in (0.9, 1.1)],
}


def seconds(folders: list[Path], methods: list[Options]) -> float:
    """Of merging at these points, in one pass."""
    started = time.perf_counter()
    base = Checkpoint(folders[0])
    experts = {folder.name: Checkpoint(folder) for folder in folders[1:]}
    merged: Iterable = (
        merge_tensors(base, experts, methods[0], 1) if len(methods) == 1 else merge_points(base, experts, methods, 1)
    )
    collections.deque(merged, maxlen=0)
    return time.perf_counter() - started


if __name__ == "__main__":
    small = [Path(sys.argv[1]) / Path(folder).name for folder in sys.argv[2:]]
    for methods in PASSES.values():
        seconds(small, methods)
    print(json.dumps({name: seconds([*map(Path, sys.argv[2:])], methods) for name, methods in PASSES.items()}))
