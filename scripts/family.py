"""A family of experts as a run uses it: its folders made or checked, its tensors in memory, its hashes."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from della.checkpoint import Checkpoint, MemoryCheckpoint, Model
from della.errors import InputError
from della.experts import base_rows, check_family
from della.lora import Adapter, open_expert
from della.tiny.recipe import RECIPES
from scripts.data import data_folder
from scripts.experts_settings import Experts
from scripts.fetching.recorded import Held, check_content, check_sizes, read_lock
from scripts.fetching.sources import BASE, Place, home_of, lock_of, places_of

if TYPE_CHECKING:
    from torch import Tensor

IN_MEMORY = 4_000_000_000  # bytes of a model up to which a sweep's worker reads it; a larger one stays mapped


@dataclass(frozen=True)
class Family:
    """A base, its experts by name, and the folder of the benchmarks' files.

    fetched: models that came from the hub, each with what was fetched.
    """

    name: str
    seed: int | None
    base: Checkpoint
    models: "dict[str, Checkpoint | Adapter]"
    data_named: str | None
    fetched: tuple[tuple[Place, Held], ...] = ()

    @property
    def data(self) -> Path | None:
        """The folder of the benchmarks' files (None: the hub), asked for when something is evaluated."""
        return data_folder(self.data_named)

    def inputs(self, merge: tuple[str, ...]) -> dict[str, str]:
        """SHA-256 of the base and of the experts in a merge.

        Raises InputError for an expert that is not there, and for a file that is not what was fetched.
        """
        self.check(merge)
        for place, held in self.fetched:
            if place.name in (BASE, *merge):
                check_content(place, held)
        return {"base": self.base.sha256(), **{name: self.models[name].sha256() for name in merge}}

    def check(self, merge: Iterable[str]) -> None:
        """Raises InputError unless every expert of a merge is one of the family's."""
        for name in merge:
            if name not in self.models:
                known = ", ".join(self.models) or "none; name it as experts.models.NAME=DIR"
                raise InputError(f"there is no expert {name!r} to merge: the experts are {known}")


def open_family(experts: Experts, seed: int, work: Path, checked: bool = True) -> Family:
    """The family of `experts`; one made by a recipe is made first where it is missing (minutes, once).

    checked: whether all its experts have to fit the base.

    Raises InputError where a folder is missing or an expert does not fit the base.
    """
    family_seed: int | None = seed
    data = experts.data
    fetched: tuple[tuple[Place, Held], ...] = ()
    if experts.recipe:
        if experts.recipe not in RECIPES:
            raise InputError(f"experts.recipe={experts.recipe}: write one of {', '.join(RECIPES)}, or null for folders")
        from della.tiny.family import build_family  # imports transformers: seconds that folders need not wait for

        made = build_family(work / "experts", seed, RECIPES[experts.recipe])
        base, models, data = made.base, made.models, str(made.data)
    else:
        places = places_of(experts, work)
        fetched = _fetched(experts, work, places)
        base, *_ = (place.folder for place in places)
        models = {place.name: place.folder for place in places if place.name != BASE}
        family_seed = None
    opened_base = Checkpoint(base)
    opened = {name: open_expert(path, opened_base) for name, path in sorted(models.items())}
    family = Family(experts.family, family_seed, opened_base, opened, data, fetched)
    if checked:
        check_family(family.base, family.models, experts.vocab)
    return family


def _fetched(experts: Experts, work: Path, places: list[Place]) -> tuple[tuple[Place, Held], ...]:
    """Models from the hub that are there with a record of what was fetched.

    Raises InputError for one that is not there, is of another commit, or has lost a file.
    """
    held = read_lock(lock_of(home_of(experts, work))) if experts.hub else {}
    for place in places:
        if place.source is not None and not place.folder.is_dir():
            raise InputError(
                f"{place.folder}: the {experts.family} family's {place.name} is not there; `python -m scripts.experts "
                f"experts={experts.family}` fetches it, or name its folder"
            )
        check_sizes(place, held)
    return tuple((place, held[place.name]) for place in places if place.source is not None and place.name in held)


def merge_settings(experts: Experts) -> dict[str, Any]:
    """What a family says about merging: arguments of `merge_tensors` and `merge_to_folder`."""
    return {"vocab": experts.vocab, "dtype": experts.merge_dtype}


def opened_for_merging(model: Checkpoint | Adapter) -> Checkpoint | MemoryCheckpoint | Adapter:
    """A model as many merges read it: in memory, or mapped where it is large, so that workers share the pages."""
    large = isinstance(model, Checkpoint) and sum(h.nbytes for h in model.headers.values()) > IN_MEMORY
    return model if large else model.in_memory()


def unmerged_tensors(model: Model, base: Model, vocab: str) -> "dict[str, Tensor]":
    """A model as it is, for an engine that was opened on the base: with vocab=base_rows without further token rows."""
    tensors = {name: model.tensor(name) for name in model.headers}
    if vocab != "base_rows":
        return tensors
    shapes = {name: base.headers[name].shape if name in base.headers else model.headers[name].shape for name in tensors}
    return {name: base_rows(tensor, shapes[name]) for name, tensor in tensors.items()}
