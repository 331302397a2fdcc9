"""A tensor merged by the torch reference, whole, for a method or a combination of options without a kernel."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from della.checkpoint import to_array
from della.engine.sinks import Target
from della.reference import Reference, merge_tensor

if TYPE_CHECKING:
    from della.engine.run import Merge


def merge_whole(job: "Merge", name: str, target: Target) -> np.ndarray:
    """Writes the tensor at every point; how many deltas were kept, int64 [expert, point]."""
    source = Reference(job.base, job.experts)
    kept = np.zeros((len(job.experts), len(job.policies)), np.int64)
    for p, policy in enumerate(job.policies):
        merged, counts = merge_tensor(source, name, policy, job.seed, getattr(torch, target.dtype))
        target.write(p, 0, to_array(merged))
        kept[:, p] = list(counts.values())
    return kept
