"""The numbers of a plan: what the models hold, what is merged, how many bytes a merge writes and takes in memory."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from della.checkpoint import MODEL_FILES, Model
from della.experts import Family
from della.headers import NUMPY, OUTPUTS
from della.lineage import Lineage
from della.policy import Policy

PROCESS_BYTES = 200_000_000  # the interpreter, numpy, the compiled kernels; measured: 90 MB without Hydra
TORCH_BYTES = 500_000_000
BLOCK_ARRAYS = 10  # float32 arrays of a block that a thread holds; measured: 8


def memory_bound(base: Model, family: Family, policy: Policy | None, experts: Mapping[str, Model], threads: int) -> int:
    """Bytes of private memory that a merge takes at most: it streams, so that a few blocks per thread are all.

    Only ranks over whole tensors (rank_over=tensor) hold 2 bytes per parameter and expert of the tensor in work, and 2
    more of the two experts whose deltas are sorted, and methods without a kernel these tensors in full, in torch.
    """
    from della.engine.job import BLOCK_ELEMENTS
    from della.engine.run import AHEAD, needs_torch

    sizes = [base.headers[name].numel for name in family.merged]
    rows = (base.headers[name].shape[-1] for name in family.merged if base.headers[name].shape)
    low_rank = sum(getattr(model, "low_rank", None) is not None for model in experts.values())
    arrays = BLOCK_ARRAYS + low_rank
    streamed = PROCESS_BYTES + threads * arrays * 4 * max(BLOCK_ELEMENTS, *rows, 0)
    if policy is None or not sizes:
        return streamed
    in_work = min(sum(sizes), AHEAD * max(sizes))
    if needs_torch([policy], max(family.merged, key=lambda name: base.headers[name].numel), experts):
        return streamed + TORCH_BYTES + in_work * (16 + 12 * len(experts))
    method = policy.method
    ranked = method.is_random and getattr(method, "rank_by", "") != "proportional"
    over_tensor = ranked and getattr(method, "rank_over", "row") == "tensor"
    return streamed + (max(sizes) * 2 * (len(experts) + 2) if over_tensor else 0)


def written_bytes(base: Model, family: Family, dtype: str | None) -> int:
    """Bytes of a merged folder: its tensors, and the base's other files."""
    total = 0
    for name in (*family.merged, *family.passed):
        header = base.headers[name]
        to = dtype if dtype in OUTPUTS and name in family.merged else header.dtype
        added = len(family.added.get(name, ()))
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
