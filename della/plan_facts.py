"""The numbers of a plan: what the models hold, what is merged, how many bytes a merge writes and takes in memory."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from della.checkpoint import MODEL_FILES, Model
from della.experts import Family
from della.headers import NUMPY
from della.lineage import Lineage
from della.policy import Policy

DTYPES = ("float32", "bfloat16", "float16")  # of the output
PROCESS_BYTES = 350_000_000  # the interpreter, numpy and the compiled kernels
BLOCK_BYTES = 64_000_000  # what a thread works on at a time: a few blocks for each of up to eight experts
WHOLE_BYTES = 12  # per parameter of the largest tensor, where all of it is ranked or summed up


def memory_bound(base: Model, family: Family, policy: Policy | None, threads: int) -> int:
    """Bytes of private memory that a merge takes at most: it streams, so that a few blocks per thread are all.

    Only ranks, L1 norms and trims over more than a row need a whole tensor: 12 bytes a parameter of the largest.
    """
    method = policy.method if policy is not None else None
    whole = (("rank_over", "tensor"), ("rescale", "l1"), ("trim_over", "global"))
    largest = max((base.headers[name].numel for name in family.merged), default=0)
    over_tensor = any(getattr(method, option, None) == value for option, value in whole)
    return PROCESS_BYTES + threads * BLOCK_BYTES + (WHOLE_BYTES * largest if over_tensor else 0)


def written_bytes(base: Model, family: Family, dtype: str | None) -> int:
    """Bytes of a merged folder: its tensors, and the base's other files."""
    total = 0
    for name in (*family.merged, *family.passed):
        header = base.headers[name]
        to = dtype if dtype in DTYPES and name in family.merged else header.dtype
        added = len(getattr(family, "added", {}).get(name, ()))
        per_row = header.numel // header.shape[0] if added and header.shape[0] else 0
        total += (header.numel + added * per_row) * NUMPY[to].itemsize
    files = (Path(base.label) / file for file in MODEL_FILES)
    return total + sum(file.stat().st_size for file in files if file.is_file())


def weight_files(model: Any) -> list[Path]:
    return [model.folder / file for file in model.files() if file.endswith((".safetensors", ".bin"))]


def counted(base: Model, names: Iterable[str]) -> dict[str, int]:
    names = list(names)
    return {"tensors": len(names), "parameters": sum(base.headers[name].numel for name in names)}


def model_facts(name: str, model: Any) -> dict[str, Any]:
    files = weight_files(model)
    low_rank = getattr(model, "low_rank", None)
    held = sum(header.numel for header in model.headers.values())
    return {
        "name": name,
        "folder": model.label,
        "files": len(files),
        "tensors": len(model.headers) + (len(low_rank) if low_rank is not None else 0),
        "parameters": held + sum(f.left.size + f.right.size for f in (low_rank or {}).values()),
        "dtypes": dict(Counter(header.dtype for header in model.headers.values())) if low_rank is None else "adapter",
        "bytes": sum(file.stat().st_size for file in files),
    }


def lineage_facts(lineage: Lineage) -> dict[str, Any]:
    """The verdict on one expert and its distances."""
    kinds = {
        kind: {"ratio": round(apart.ratio, 4), "cosine": round(apart.cosine, 4)}
        for kind, apart in sorted(lineage.kinds.items())
    }
    return {"verdict": lineage.verdict, "values": lineage.whole.values, "kinds": kinds}
