"""What was fetched from the hub, as a file beside the family's folder: each model's commit, each file's SHA-256.

    held = read_lock(lock_of(home))             # {"base": Held("meta-llama/...", "dc1d3b3...", {...}), ...}
    check_sizes(place, held)                    # by every command that opens the family
    check_content(place, held["base"])          # where a run's inputs are hashed anyway

It also is what pins a repository whose commit nobody wrote down: what was fetched once is asked for again.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from della.errors import InputError
from della.files import write_atomically
from della.hashes import files_sha256
from scripts.fetching.sources import Place, Source


@dataclass(frozen=True)
class File:
    """One file as it was fetched."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Held:
    """One model as it was fetched."""

    repo: str
    revision: str
    files: dict[str, File]

    @property
    def source(self) -> Source:
        return Source(self.repo, self.revision)

    def serves(self, source: Source) -> bool:
        """Whether this is what a configuration names: a branch is served by the commit that it was at."""
        return self.repo == source.repo and (not source.is_pinned or self.revision == source.revision)


def read_lock(path: Path) -> dict[str, Held]:
    """Models by name; none where nothing was fetched. Raises InputError for a file that is something else."""
    if not path.is_file():
        return {}
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["models"]
        return {
            name: Held(row["repo"], row["revision"], {file: File(**facts) for file, facts in row["files"].items()})
            for name, row in rows.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: not what scripts.experts writes; remove it, and the next fetch writes it anew"
        ) from error


def write_lock(path: Path, held: Mapping[str, Held]) -> None:
    """Writes the file, whole or not at all."""
    text = json.dumps({"models": {name: asdict(held[name]) for name in sorted(held)}}, indent=1, sort_keys=True)
    write_atomically(path, (text + "\n").encode())


def check_sizes(place: Place, held: Mapping[str, Held]) -> None:
    """Raises InputError where a fetched folder is of another commit than the family names, or has lost a file.

    A folder that was put there by hand, of which nothing is recorded, is taken as it is.
    """
    if place.source is None or place.name not in held or not place.folder.is_dir():
        return
    model = held[place.name]
    if not model.serves(place.source):
        raise InputError(
            f"{place.folder}: holds {model.source}, the family names {place.source}; remove the folder and fetch again"
        )
    for name, file in model.files.items():
        path = place.folder / name
        if not path.is_file() or path.stat().st_size != file.bytes:
            found = f"{path.stat().st_size:,} bytes" if path.is_file() else "missing"
            raise InputError(f"{path}: {found} where {file.bytes:,} were fetched; {_again(path)}")


def check_content(place: Place, model: Held, progress: Callable[[int], object] | None = None) -> None:
    """Raises InputError for the first file whose content is not what was fetched.

    progress: called with the number of bytes hashed since the last call.
    """
    paths = [place.folder / name for name in model.files]
    for path, file, found in zip(paths, model.files.values(), files_sha256(paths, progress), strict=True):
        if found != file.sha256:
            raise InputError(
                f"{path}: is not what was fetched ({found[:12]}..., not {file.sha256[:12]}...); {_again(path)}"
            )


def _again(path: Path) -> str:
    return f"remove {path.name} there and run scripts.experts again, which fetches what is missing"
