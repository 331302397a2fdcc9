"""Many run records in one small, byte-stable JSON Lines file: the form that is committed under results/.

    line 1      {"command": ..., "commit": ..., "format": "della-records-1"}
    prompt sets {"groups": [...], "ids": [...], "prompts": KEY}   what the runs' scores are of, each stored once
    runs        one line per run, sorted by identity: a record without provenance, ids and groups, whose scores
                are strings over 0 1 h - (h is one half, - is null), or lists where a score is none of these

Reading gives records back that differ from the originals only in that `provenance` is {}. Run logs and the
models' answers stay out of git.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from della.errors import InputError
from della.files import canonical, write_atomically

FORMAT = "della-records-1"
_CODES = {0.0: "0", 1.0: "1", 0.5: "h", None: "-"}
_SCORES = {code: score for score, code in _CODES.items()}


def compact(records: Iterable[dict]) -> list[dict]:
    """The lines below the header: prompt sets sorted by key, then runs sorted by identity.

    Raises:
        ValueError: two records have the same identity.
    """
    prompt_sets: dict[str, dict] = {}
    runs: dict[str, dict] = {}
    for record in records:
        if record["identity"] in runs:
            raise ValueError(f"two records of run {record['identity']}")
        run = {key: value for key, value in record.items() if key != "provenance"}
        run["scores"] = {name: _pack(block, prompt_sets) for name, block in record["scores"].items()}
        runs[record["identity"]] = run
    return [prompt_sets[key] for key in sorted(prompt_sets)] + [runs[key] for key in sorted(runs)]


def write_compact(path: Path, records: Iterable[dict], *, command: str, commit: str | None) -> None:
    """Write records to one file; equal arguments give equal bytes, in whichever order the records come.

    Args:
        path: ends in .jsonl; its folder is made if missing.
        records: as `della.record.load_records` gives them.
        command: what a reader types to make these records again.
        commit: the last commit of the code that made them, or None outside a git checkout.
    """
    header = {"format": FORMAT, "command": command, "commit": commit}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, "".join(canonical(line) + "\n" for line in [header, *compact(records)]).encode())


def read_header(path: Path) -> dict:
    """The first line of a compact file: {"format", "command", "commit"}.

    Raises:
        InputError: the file is missing or is not such a file.
    """
    return next(_lines(path))[1]


def is_compact(path: Path) -> bool:
    """Whether the first line of a file says that it holds compact run records."""
    with path.open("rb") as file:
        first = file.readline()
    return f'"format":"{FORMAT}"'.encode() in first


def read_compact(path: Path) -> list[dict]:
    """The records of a compact file, sorted by identity, shaped as full records with an empty provenance.

    Raises:
        InputError: the file is missing, cut off or not such a file; the message names the line.
    """
    prompt_sets: dict[str, dict] = {}
    records = []
    for number, line in _lines(path):
        try:
            if "prompts" in line:
                prompt_sets[line["prompts"]] = line
            elif number > 1:
                scores = {name: _unpack(block, prompt_sets) for name, block in line["scores"].items()}
                records.append({**line, "scores": scores, "provenance": {}})
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path}, line {number}: not a compact run record; write the file again") from error
    return records


def _lines(path: Path) -> Iterator[tuple[int, dict]]:
    if not path.is_file():
        raise InputError(f"{path}: no such file of compact run records")
    with open(path, encoding="utf-8") as file:
        for number, text in enumerate(file, start=1):
            try:
                line = json.loads(text)
            except ValueError as error:
                raise InputError(f"{path}, line {number}: cut off or not JSON; write the file again") from error
            if number == 1 and (not isinstance(line, dict) or line.get("format") != FORMAT):
                raise InputError(f"{path}: not a file of compact run records (its first line must say {FORMAT})")
            yield number, line


def _pack(block: dict, prompt_sets: dict[str, dict]) -> dict:
    prompts = {"ids": block["ids"], "groups": block["groups"]}
    key = hashlib.sha256(canonical(prompts).encode()).hexdigest()[:8]
    prompt_sets[key] = {"prompts": key, **prompts}
    metrics = {name: _encode(scores) for name, scores in block["metrics"].items()}
    rest = {name: value for name, value in block.items() if name not in prompts}
    return {**rest, "prompts": key, "metrics": metrics}


def _unpack(block: dict, prompt_sets: dict[str, dict]) -> dict:
    prompts = prompt_sets[block["prompts"]]
    metrics = {name: _decode(scores) for name, scores in block["metrics"].items()}
    rest = {name: value for name, value in block.items() if name != "prompts"}
    return {**rest, "ids": prompts["ids"], "groups": prompts["groups"], "metrics": metrics}


def _encode(scores: Sequence[float | None]) -> str | list[float | None]:
    if all(score in _CODES for score in scores):
        return "".join(_CODES[score] for score in scores)
    return list(scores)


def _decode(scores: str | list[float | None]) -> list[float | None]:
    return [_SCORES[code] for code in scores] if isinstance(scores, str) else scores
