"""A tensor merged by the torch reference, whole, for a method or a combination of options without a kernel."""

from collections.abc import Mapping

import numpy as np
import torch

from della.checkpoint import to_array
from della.engine.job import Merge
from della.engine.sinks import Target
from della.engine.survey import Found
from della.reference import Reference, merge_tensor


def merge_whole(job: Merge, name: str, target: Target, shared: Mapping[tuple[int, int], Found]) -> np.ndarray:
    """Writes the tensor at every point; how many deltas were kept, int64 [expert, point].

    Args:
        shared: (expert, point) -> the tensor's part of a cut over the whole expert.
    """
    source = Reference(job.base, job.experts, job.device, job.activations)
    kept = np.zeros((len(job.experts), len(job.policies)), np.int64)
    for p, policy in enumerate(job.policies):
        cuts = {expert: shared[t, p].cut for t, expert in enumerate(job.experts) if (t, p) in shared}
        merged, counts = merge_tensor(source, name, policy, job.seed, getattr(torch, target.dtype), cuts.get)
        target.write(p, 0, to_array(merged))
        kept[:, p] = list(counts.values())
    return kept
