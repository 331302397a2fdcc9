"""Where the models of a family lie, and which of them come from the hub.

places_of(experts, Path(".work"))   # [Place("base", .work/experts/wizard_13b/base, meta-llama/...@dc1d3b3...), ...]
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from della.errors import InputError

BASE = "base"
_SOURCE = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Source:
    """A repository of models on the hub. revision: a commit, or the name of a branch, which moves."""

    repo: str
    revision: str

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is a commit, which never changes."""
        return _COMMIT.fullmatch(self.revision) is not None

    def __str__(self) -> str:
        return f"{self.repo}@{self.revision}"


@dataclass(frozen=True)
class Place:
    """The folder of one model. source: where it is fetched from; None for a folder that the user named."""

    name: str
    folder: Path
    source: Source | None


class Named(Protocol):
    """What is looked at of `experts` (scripts/experts_settings.py)."""

    family: str
    base: str
    models: dict[str, str]
    hub: dict[str, str]
    path: str | None


def read_source(name: str, text: str) -> Source:
    """A source as configurations write it. Raises InputError for what is none."""
    found = _SOURCE.fullmatch(text)
    if found is None:
        raise InputError(f"experts.hub.{name}={text}: write OWNER/REPOSITORY@COMMIT")
    return Source(found[1], found[2] or "main")


def home_of(experts: Named, work: Path) -> Path:
    """The folder of a family from the hub: each of its models is a folder in it, called base or as the expert."""
    return Path(experts.path).expanduser() if experts.path else work / "experts" / experts.family


def lock_of(home: Path) -> Path:
    """The file that says what was fetched into a family's folder; it lies beside that."""
    return home.absolute().with_name(f"{home.absolute().name}.lock.json")


def places_of(experts: Named, work: Path) -> list[Place]:
    """Every model of a family of folders: the base, then the experts by name.

    Raises InputError where no base is named.
    """
    home = home_of(experts, work)
    named = {BASE: experts.base} if experts.base else {}
    named |= experts.models
    if BASE not in named and BASE not in experts.hub:
        raise InputError("experts.base is not set: write experts.base=DIR, the model that the experts were tuned from")
    places = []
    for name in [BASE, *sorted({*named, *experts.hub} - {BASE})]:
        if name in named:
            places.append(Place(name, Path(named[name]), None))
        else:
            places.append(Place(name, home / name, read_source(name, experts.hub[name])))
    return places
