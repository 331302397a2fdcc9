"""A point's weights as its engine takes them: tensors in memory, or a folder where other processes hold the model.

A model split over GPUs, or one behind a server, reads its weights from a folder itself: the merge is written there,
swapped in, and removed; base and experts are mapped from their files, not held in memory.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from della.checkpoint import Checkpoint
from della.errors import InputError
from della.methods import METHODS, make_method
from scripts.family import Family, merge_settings
from scripts.points import Point
from scripts.schema import RunConfig

if TYPE_CHECKING:
    from della.activations import Activations

Rates = dict[str, float]  # expert -> the drop rate that it really had


@contextmanager
def weights_for(
    point: Point,
    family: Family,
    config: RunConfig,
    merged: Callable[[Point], tuple[Any, Rates]],
    activations: "Mapping[str, Activations] | None" = None,
) -> Iterator[tuple[Any, Rates]]:
    """What `Engine.swap` takes of a point, and its drop rates; a folder made for it is gone afterwards.

    Args:
        merged: merges in memory: the state dict, and the drop rates.
        activations: of the experts, where the point's merge depends on them.

    Raises:
        InputError: as merging does.
    """
    if config.engine.swaps == "tensors":
        yield merged(point)
        return
    source = family.models[point.merge[0]] if point.merge else family.base
    if point.method not in METHODS and isinstance(source, Checkpoint) and _opens_as(source, family.base):
        yield source.folder.absolute(), {}
        return
    out = (Path(config.paths.work) / "swapped" / str(os.getpid())).absolute()
    try:
        yield out, _merge(point, family, config, out, activations)
    finally:
        shutil.rmtree(out, ignore_errors=True)


def _merge(
    point: Point, family: Family, config: RunConfig, out: Path, activations: "Mapping[str, Activations] | None"
) -> Rates:
    """Writes a point's merge into a folder."""
    from della.output import merge_to_folder

    if config.experts.vocab == "union":
        raise InputError("experts.vocab=union: an engine that was opened on the base has no rows for more tokens")
    # An adapter alone is a part of a model, and an expert with more rows, or pickled, is no folder for the engine:
    # base + delta is the average of one.
    method = point.policy if point.method in METHODS else make_method("average")
    experts = {name: family.models[name] for name in point.merge}
    shutil.rmtree(out, ignore_errors=True)
    settings = merge_settings(config.experts)
    facts = merge_to_folder(family.base, experts, method, point.seed, out, **settings, activations=activations)
    return facts["drop_rate"]


def _opens_as(model: Checkpoint, base: Checkpoint) -> bool:
    """Whether an engine that was opened on the base takes the model's folder: safetensors, of the same shapes."""
    same = all(name in model.headers and model.headers[name].shape == base.headers[name].shape for name in base.headers)
    return same and not any(name.endswith(".bin") for name in model.files())
