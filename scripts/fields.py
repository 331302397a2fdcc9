"""What the dataclasses of a configuration are written with: fields that carry their help, checks, and common groups."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from della.errors import InputError


def option(default: Any, text: str) -> Any:
    """A dataclass field with its help text; a list or dict default is copied for every instance."""
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata={"help": text})
    return field(default=default, metadata={"help": text})


def one_of(where: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises InputError unless value is one of choices."""
    if value not in (*choices, MISSING):
        raise InputError(f"{where}={value}: write one of {', '.join(choices)}")


def at_least(where: str, value: int | None, least: int) -> None:
    """Raises InputError for a number below `least`; None is no number."""
    if value is not None and value < least:
        raise InputError(f"{where}={value}: write a whole number from {least}")


def file_to_write(where: str, path: str | None) -> None:
    """Raises InputError unless a file can be written there; asked before the work whose result it is to hold."""
    if path is None:
        return
    folder = Path(path).parent
    if not folder.is_dir():
        raise InputError(f"{where}={path}: {folder} is no folder; make it, or name another")
    if Path(path).is_dir():
        raise InputError(f"{where}={path}: this is a folder; write the name of a file")
    if not os.access(folder, os.W_OK):
        raise InputError(f"{where}={path}: {folder} can't be written to; name another")


@dataclass
class Paths:
    work: str = option(".work", "everything that can be made again: experts, records, caches")
    results: str = option("results", "tables, figures and compact records")


@dataclass
class Tracking:
    mode: str = option("offline", "W&B: offline | online | disabled")
    project: str = option("della-merging", "W&B project")
    entity: str | None = option(None, "W&B team or user")

    def __post_init__(self) -> None:
        one_of("tracking.mode", self.mode, ("offline", "online", "disabled"))
