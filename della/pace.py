"""How long a merge takes on this machine: a small random model like the one to be merged is merged in memory and timed.

    seconds = measure_pace(policy, base.headers, family.merged, ["lm", "math"], threads=2) * parameters

Nothing is read from a disk or written to one, so that this is the time of a merge whose files are in memory.
"""

import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from della.activations import Activations
from della.checkpoint import Header, MemoryCheckpoint, Model
from della.experts import Family
from della.options import Options
from della.policy import Policy

MEASURED_SECONDS = 0.1
SILENT_SECONDS = 1.5
_ELEMENTS = 2**21  # several blocks for each thread
_DRAWN = 2**18


def measure_pace(
    method: Options | Policy,
    headers: Mapping[str, Header],
    merged: Sequence[str],
    experts: Sequence[str],
    threads: int | None = None,
    dtype: str | None = None,
) -> float:
    """Seconds per merged parameter, for all experts together.

    Args:
        method: how they are merged.
        headers: of the base.
        merged: names of the tensors that are merged, at least one; the largest is what is timed.
        experts: their names.
        threads, dtype: as `della.merge.merge_tensors` takes them.

    The first merge by a method on a machine compiles its kernels, seconds that are not counted.
    """
    from della.engine.job import Merge
    from della.engine.run import merge
    from della.engine.sinks import MemorySink

    name = max(merged, key=lambda name: headers[name].numel)
    shape = headers[name].shape
    columns = min(shape[-1] if shape else 1, _ELEMENTS) or 1
    rows = max(1, _ELEMENTS // columns)
    activations = {}
    if len(shape) > 1 and Policy.of(method).method.by_scores:
        activations = dict.fromkeys(experts, Activations({name: np.ones(columns, np.float32)}))

    def run(rows: int) -> float:
        drawn = [_random(name, rows, columns, headers[name].dtype, number) for number in range(len(experts) + 1)]
        models: dict[str, Model] = dict(zip(experts, drawn[1:], strict=True))
        job = Merge(drawn[0], models, [Policy.of(method)], 1, Family((name,), ()), dtype, activations=activations)
        started = time.perf_counter()
        for _ in merge(job, [name], MemorySink(), threads):
            pass
        return (time.perf_counter() - started) / (rows * columns)

    with _said_when_long("note: kernels are compiled for this machine the first time, which takes a while"):
        run(1)  # compiles, or loads what was compiled
    paces, started = [run(rows), run(rows)], time.perf_counter()
    while time.perf_counter() - started < MEASURED_SECONDS:
        paces.append(run(rows))
    return sum(paces) / len(paces)


@contextmanager
def _said_when_long(note: str) -> Iterator[None]:
    """Says on standard error why nothing else is said, where the block takes longer than SILENT_SECONDS."""
    timer = threading.Timer(SILENT_SECONDS, print, (note,), {"file": sys.stderr, "flush": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _random(name: str, rows: int, columns: int, dtype: str, number: int) -> MemoryCheckpoint:
    """Weights around 0, as a trained model's; those of expert `number` lie near the base's, number 0."""
    drawn = np.random.default_rng(0).standard_normal(_DRAWN, np.float32)
    if number:
        drawn += np.float32(0.1) * np.random.default_rng(number).standard_normal(_DRAWN, np.float32)
    stored = (drawn.view(np.uint32) >> 16).astype(np.uint16) if dtype == "bfloat16" else drawn.astype(dtype)
    return MemoryCheckpoint({name: np.resize(stored, (rows, columns))})
