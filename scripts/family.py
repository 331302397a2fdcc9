"""A family of experts as a run uses it: its folders made or checked, its tensors in memory, its hashes."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from della.checkpoint import Checkpoint
from della.errors import InputError
from della.experts import check_family
from della.lora import Adapter, open_expert
from della.tiny.recipe import RECIPES
from scripts.data import data_folder
from scripts.schema import Experts


@dataclass(frozen=True)
class Family:
    """A base, its experts by name, and the folder of the benchmarks' files."""

    name: str
    seed: int | None
    base: Checkpoint
    models: "dict[str, Checkpoint | Adapter]"
    data_named: str | None

    @property
    def data(self) -> Path | None:
        """The folder of the benchmarks' files (None: the hub), asked for when something is evaluated."""
        return data_folder(self.data_named)

    def inputs(self, merge: tuple[str, ...]) -> dict[str, str]:
        """SHA-256 of the base and of the experts in a merge. Raises InputError for an expert that is not there."""
        self.check(merge)
        return {"base": self.base.sha256(), **{name: self.models[name].sha256() for name in merge}}

    def check(self, merge: Iterable[str]) -> None:
        """Raises InputError unless every expert of a merge is one of the family's."""
        for name in merge:
            if name not in self.models:
                known = ", ".join(self.models) or "none; name it as experts.models.NAME=DIR"
                raise InputError(f"there is no expert {name!r} to merge: the experts are {known}")


def open_family(experts: Experts, seed: int, work: Path) -> Family:
    """The family of `experts`; one made by a recipe is made first where it is missing (minutes, once).

    Raises InputError where a folder is missing or an expert does not fit the base.
    """
    family_seed: int | None = seed
    data = experts.data
    if experts.recipe:
        if experts.recipe not in RECIPES:
            raise InputError(f"experts.recipe={experts.recipe}: write one of {', '.join(RECIPES)}, or null for folders")
        from della.tiny.family import build_family  # imports transformers: seconds that folders need not wait for

        made = build_family(work / "experts", seed, RECIPES[experts.recipe])
        base, models, data = made.base, made.models, str(made.data)
    else:
        if not experts.base:
            raise InputError(
                "experts.base is not set: write experts.base=DIR, the model that the experts were tuned from"
            )
        base, models = Path(experts.base), {name: Path(path) for name, path in experts.models.items()}
        family_seed = None
    opened_base = Checkpoint(base)
    opened = {name: open_expert(path, opened_base) for name, path in sorted(models.items())}
    family = Family(experts.family, family_seed, opened_base, opened, data)
    check_family(family.base, family.models, experts.vocab)
    return family
