"""Files of entries as other programs write them: a JSON list, or one JSON value per line (JSON Lines).

    [entry.value for entry in read_entries(Path("samples.jsonl.gz"), 'write {"id": ..., "output": "..."}')]

UTF-8 with or without a byte order mark, Unix or Windows line ends, blank lines, gzip (by its first bytes, whatever the
name). What is wrong with a file is said with the place of the entry.
"""

from __future__ import annotations

import gzip
import json
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from eval.errors import InputError

GZIP = b"\x1f\x8b"


class Entry(NamedTuple):
    """A value and where it is, for errors: `samples.jsonl, line 3` or `outputs.json, entry 2 (from 0)`."""

    where: str
    value: Any


def read_text(path: Path) -> str:
    """A file's text. Raises InputError for a damaged gzip file and for what is not UTF-8."""
    raw = path.read_bytes()
    if raw.startswith(GZIP):
        try:
            raw = gzip.decompress(raw)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise InputError(f"{path} is not a whole gzip file ({error}); write it again") from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {line}: not UTF-8 ({error.reason}); write the file in UTF-8") from None


def read_entries(path: Path, instead: str) -> list[Entry]:
    """The entries of a JSON list, or of a file with one per line; a single JSON value is a file of one entry.

    instead: ends an error's line, what to write. Raises InputError as `read_text` does, and for what is not JSON.
    """
    text = read_text(path)
    if text.lstrip().startswith("["):
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            if "\n" in text.strip() and getattr(error, "msg", "") == "Extra data":
                return _read_lines(path, text, instead)  # lines that are lists themselves
            what = str(error) if isinstance(error, json.JSONDecodeError) else _problem(error)
            raise InputError(f"{path} is not valid JSON ({what}); {instead}") from None
        return [Entry(f"{path}, entry {number} (from 0)", value) for number, value in enumerate(values)]
    if "\n" in text.strip():
        with suppress(ValueError, RecursionError):
            return [Entry(str(path), json.loads(text))]  # one value over several lines
    return _read_lines(path, text, instead)


def _read_lines(path: Path, text: str, instead: str) -> list[Entry]:
    found = []
    for number, line in enumerate(text.split("\n"), 1):  # splitlines() would also split at U+2028 inside a string
        if not line.strip():
            continue
        try:
            found.append(Entry(f"{path}, line {number}", json.loads(line)))
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}, line {number}: not JSON ({_problem(error)}); {instead}") from None
    return found


def _problem(error: Exception) -> str:
    """What json.loads stumbled over; Python itself reads no whole number of more than some thousand digits."""
    return getattr(error, "msg", "nested too deep" if isinstance(error, RecursionError) else "a number too long")
