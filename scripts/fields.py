"""What the dataclasses of a configuration are written with: fields that carry their help, checks, and common groups."""

from dataclasses import dataclass, field
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


@dataclass
class Paths:
    work: str = option(".work", "everything that can be made again: experts, records, caches")
    results: str = option("results", "tables, figures and compact records")
