"""The one exception that means "the user's input is wrong": shown as one line, exit code 2, never as a traceback."""

from collections.abc import Iterable


class InputError(ValueError):
    """What is wrong, where, and what to write instead, in one line."""


def some(names: Iterable[str], shown: int = 4) -> str:
    """The first few names of many, sorted, and how many more there are."""
    ordered = sorted(names)
    return ", ".join(ordered[:shown]) + (f" and {len(ordered) - shown} more" if len(ordered) > shown else "")
