"""Run records: one JSON file per run, the only place where results live.

A *run* is one merge evaluated on some benchmarks. Its identity is a hash of what decides its outcome: the resolved
config, the content hashes of its inputs, and the version constants of the code that computes it. The commit, the host
and the times are provenance: kept in the record, never part of the identity, and the only part of a record that may
differ between two executions of the same run.

    <folder>/<identity>.json               the record, canonical JSON on one line
    <folder>/<identity>.samples.jsonl.gz   optional: what the model answered, one line per prompt

    record = make_record(config, inputs, versions, scores={"gsm8k": score_block(...)}, provenance=provenance(started))
    write_record(folder, record)
    find_done(folder, record["identity"])  # the record again, or None if the run has still to be made

The committed form (many runs in one JSON Lines file) is in `della.compact`; both forms read back to the same
dictionaries, so `scores_of` and `groups_of` serve both. (Paper: the outcomes behind Tables 1 to 7 of DELLA-Merging.)
"""

import gzip
import hashlib
import io
import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from della.compact import compact, read_compact, read_header, write_compact
from della.errors import InputError
from della.files import canonical, write_atomically
from della.provenance import provenance

__all__ = [
    "canonical",
    "compact",
    "comparable",
    "find_done",
    "find_record",
    "groups_of",
    "identity",
    "load_records",
    "make_record",
    "provenance",
    "read_compact",
    "read_header",
    "read_samples",
    "score_block",
    "scores_of",
    "write_compact",
    "write_record",
]

_FIELDS = ("config", "error", "identity", "inputs", "merge", "provenance", "scores", "status", "versions")
_RECORD_FILE = re.compile(r"[0-9a-f]{16}\.json")


def identity(config: dict, inputs: dict, versions: dict) -> str:
    """16 hexadecimal digits: the start of SHA-256 over the canonical JSON of the three."""
    text = canonical({"config": config, "inputs": inputs, "versions": versions})
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def score_block(metric: str, ids: Sequence[str], groups: Sequence[str], metrics: Mapping[str, Sequence]) -> dict:
    """What a record says of one benchmark.

    Args:
        metric: the benchmark's main metric, a key of `metrics`; `mean` and `n` are of this one.
        ids: one id per prompt, in the benchmark's order.
        groups: one group per prompt, for example "seen" or "held_out".
        metrics: per metric one score per prompt, in 0 to 1; None where the judge gave no verdict.

    Returns:
        {"metric", "n", "mean", "ids", "groups", "metrics"}; `n` counts the prompts with a score and `mean` (0 to 1,
        correctly rounded sum) is over these, None when there are none.

    Raises:
        ValueError: the lengths differ, or `metric` is not in `metrics`.
    """
    lengths = {"ids": len(ids), "groups": len(groups), **{name: len(values) for name, values in metrics.items()}}
    if metric not in metrics or len(set(lengths.values())) != 1:
        raise ValueError(f"scores of metric {metric!r} do not fit together: {lengths}")
    scored = [float(value) for value in metrics[metric] if value is not None]
    return {
        "metric": metric,
        "n": len(scored),
        "mean": math.fsum(scored) / len(scored) if scored else None,
        "ids": list(ids),
        "groups": list(groups),
        "metrics": {name: [None if v is None else float(v) for v in values] for name, values in metrics.items()},
    }


def make_record(
    config: dict,
    inputs: dict,
    versions: dict,
    *,
    merge: dict | None = None,
    scores: dict[str, dict] | None = None,
    error: str | None = None,
    provenance: dict | None = None,
) -> dict:
    """A record: "failed" when there is an `error` (one line, why), else "done"."""
    return {
        "identity": identity(config, inputs, versions),
        "status": "done" if error is None else "failed",
        "config": config,
        "inputs": inputs,
        "versions": versions,
        "merge": merge,
        "scores": scores or {},
        "error": error,
        "provenance": provenance or {},
    }


def comparable(record: dict) -> str:
    """The record's canonical JSON without provenance: equal texts mean equal outcomes, byte for byte."""
    return canonical({key: value for key, value in record.items() if key != "provenance"})


def write_record(folder: Path, record: dict, samples: Iterable[dict] | None = None) -> Path:
    """Write a record, its samples first, so that a record that exists is complete.

    A done record stays as it is, whatever comes later; a failed one gives way to any newer one.

    Args:
        folder: made if missing.
        record: as `make_record` returns it.
        samples: one dictionary per prompt (benchmark, id, output, ...), or None for no samples file.

    Raises:
        ValueError: a field is missing or not known, the identity is not that of the content, or a number is NaN.
    """
    if sorted(record) != sorted(_FIELDS):
        raise ValueError(f"a record has the fields {', '.join(_FIELDS)}, not {', '.join(sorted(record))}")
    if record["identity"] != identity(record["config"], record["inputs"], record["versions"]):
        raise ValueError(f"record {record['identity']}: the identity is not that of its config, inputs and versions")
    data = (canonical(record) + "\n").encode()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{record['identity']}.json"
    if find_done(folder, record["identity"]) is not None:
        return path
    if samples is not None:
        write_atomically(_samples_path(folder, record["identity"]), _gzip_lines(samples))
    write_atomically(path, data)
    return path


def find_record(folder: Path, identity: str) -> dict | None:
    """The record of a run, done or failed, or None if it has none.

    Raises:
        InputError: the record's file cannot be read.
    """
    path = folder / f"{identity}.json"
    try:
        return _read(path)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise _unreadable([(path, error)]) from error


def find_done(folder: Path, identity: str) -> dict | None:
    """The successful record of a run, or None if it has none (not run, or failed).

    Raises:
        InputError: the record's file cannot be read.
    """
    record = find_record(folder, identity)
    return record if record and record["status"] == "done" else None


def load_records(folder: Path) -> list[dict]:
    """All records of a folder, done and failed, sorted by identity; [] when the folder does not exist.

    Raises:
        InputError: one or more record files are cut off or are not records; the message names each.
    """
    names = sorted(name for name in os.listdir(folder) if _RECORD_FILE.fullmatch(name)) if folder.is_dir() else []
    records, broken = [], []
    for name in names:
        try:
            records.append(_read(folder / name))
        except ValueError as error:
            broken.append((folder / name, error))
    if broken:
        raise _unreadable(broken)
    return records


def read_samples(folder: Path, identity: str) -> list[dict]:
    """The samples written beside a record; [] when it has none."""
    path = _samples_path(folder, identity)
    if not path.exists():
        return []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def scores_of(record: dict, benchmark: str, metric: str | None = None) -> list[float | None]:
    """One score per prompt, 0 to 1 or None, in the benchmark's order; `metric` None means the main metric.

    Raises:
        InputError: the record has no such benchmark or metric.
    """
    block = _block(record, benchmark)
    name = block["metric"] if metric is None else metric
    if name not in block["metrics"]:
        known = ", ".join(sorted(block["metrics"]))
        raise InputError(f"record {record['identity']}: {benchmark} has no metric {name!r}; write one of {known}")
    return block["metrics"][name]


def groups_of(record: dict, benchmark: str) -> list[str]:
    """One group name per prompt, in the order of `scores_of`.

    Raises:
        InputError: the record has no such benchmark.
    """
    return _block(record, benchmark)["groups"]


def _block(record: dict, benchmark: str) -> dict:
    if benchmark not in record["scores"]:
        known = ", ".join(sorted(record["scores"])) or "none"
        raise InputError(f"record {record['identity']} has no scores of {benchmark!r}; its benchmarks: {known}")
    return record["scores"][benchmark]


def _read(path: Path) -> dict:
    record = json.loads(path.read_bytes())
    if not isinstance(record, dict) or sorted(record) != sorted(_FIELDS) or record["identity"] != path.stem:
        raise ValueError("not a record, or a record under another run's name")
    return record


def _unreadable(broken: Sequence[tuple[Path, Exception]]) -> InputError:
    names = "; ".join(f"{path} ({error})" for path, error in broken)
    return InputError(f"unreadable run records, delete them and their runs are made again: {names}")


def _samples_path(folder: Path, identity: str) -> Path:
    return folder / f"{identity}.samples.jsonl.gz"


def _gzip_lines(samples: Iterable[dict]) -> bytes:
    buffer = io.BytesIO()
    # No time and no name in the header: equal samples give equal bytes.
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0) as file:
        file.writelines((canonical(sample) + "\n").encode() for sample in samples)
    return buffer.getvalue()
