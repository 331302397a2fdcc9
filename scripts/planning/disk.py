"""What a sweep needs of the disk, in bytes: its models, its records, and folders that merges go through."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from della.room import free_disk
from scripts.planning.assumptions import Assumptions
from scripts.planning.counts import Run, totals
from scripts.planning.shape import Shape
from scripts.schema import SweepPlanConfig

# Of a scored prompt: its place in the record and in W&B's copy, beside the compressed output.
RECORD_BYTES = 60.0
ANSWER_SHARE = 0.4


def disk(
    config: SweepPlanConfig,
    shape: Shape | None,
    runs: Iterable[Run],
    answer_bytes: Mapping[str, float],
    measured: tuple[float, str] | None,
    book: Assumptions,
) -> dict[str, float]:
    """Bytes by use; what is zero is left out.

    answer_bytes: benchmark -> mean bytes of an answer; measured: bytes on the disk for a prompt, and where from.
    """
    runs = list(runs)
    count = totals(runs)["prompts"]
    out: dict[str, float] = {}
    if shape is not None:
        out["base and experts"] = shape.disk
        if config.experts.hub and not shape.present:
            out["being fetched, at most"] = shape.stored  # a model's files are moved to their place when they are whole
        if config.engine.swaps == "folder":
            out[f"merges on their way to the engine, {config.workers} workers"] = shape.stored * config.workers
    written = sum(answer_bytes.get(name, 0.0) * n for run in runs for name, n in run.prompts.items())
    stated = RECORD_BYTES + ANSWER_SHARE * (written / count if count else 0.0)
    why = f"assumed: {RECORD_BYTES:g} bytes, and {ANSWER_SHARE:g} per byte of the output"
    each = book.settle("record_bytes", "bytes a prompt", config.assume.record_bytes, measured, (stated, why)) or 0.0
    out["records and outputs"] = each * count
    return {name: size for name, size in out.items() if size}


def free(config: SweepPlanConfig) -> int:
    """Bytes free where the sweep writes."""
    return free_disk(Path(config.paths.work).absolute() / "records")


def record_bytes(folder: Path, identities: Iterable[str], prompts: int) -> tuple[float, str] | None:
    """What records and their outputs take for a prompt, of those in a folder; None where there are none."""
    files = [folder / f"{name}{end}" for name in identities for end in (".json", ".samples.jsonl.gz")]
    sizes = [file.stat().st_size for file in files if file.is_file()]
    return (
        (sum(sizes) / prompts, f"{len(sizes)} files of records, W&B's copy not counted") if sizes and prompts else None
    )
