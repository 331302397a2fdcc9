"""The sandbox's verdicts in a file that several processes of one machine share (eval/append_file.py)."""

from pathlib import Path
from typing import NamedTuple

from eval.append_file import AppendFile


class Verdict(NamedTuple):
    """Whether a program passed all its tests; if not, why: `assertion`, `error: NameError`, `timeout`, `memory` (it
    asked for more than its limit), or `no verdict` (it ended without an exception before its tests did)."""

    passed: bool
    reason: str


class VerdictFile(AppendFile):
    """The verdicts of one file by key, those that other processes add included as soon as `update` is called."""

    def __init__(self, path: Path):
        """Raises InputError if the file can't be made or written."""
        super().__init__(path)
        self.known: dict[str, Verdict] = {}

    def update(self) -> None:
        """Reads what was added since the last call."""
        for entry in self.refresh():
            key, passed, reason = entry.get("key"), entry.get("passed"), entry.get("reason")
            if isinstance(key, str) and isinstance(passed, bool) and isinstance(reason, str):
                self.known[key] = Verdict(passed, reason)

    def keep(self, key: str, verdict: Verdict) -> None:
        """Remembers a verdict here and in the file; one that is lost with the machine is computed again."""
        self.known[key] = verdict
        self.add({"key": key, **verdict._asdict()}, sync=False)
