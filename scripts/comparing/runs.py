"""The runs that scripts.compare is given: found, read, and refused where they did not answer the same prompts.

    one, other = (open_run(name, Path(".work/records"), Path("results")) for name in ("3fa9", "outcomes.json"))
    check_alike([one, other])

A run is named by the id of its record or its first digits (working records first, then the committed ones under
results/), by a JSON file (a record, or what scripts.evaluate out=FILE wrote), or as FILE.jsonl:ID in a file of compact
records (FILE.jsonl alone where it holds one run).
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from della.compact import is_compact, read_compact
from della.errors import InputError
from della.outcomes import merge_label
from della.record import read_samples
from eval.benchmarks import BENCHMARKS

# What two runs may differ in: what is compared. All else in a config decides what was asked and how it was scored.
COMPARED = ("family", "family_seed", "merge", "method", "seed", "benchmarks", "engine")
OUTCOME = {"ids": list, "metrics": dict, "groups": list, "outputs": list}
RECORD = {"identity", "config", "inputs", "versions", "scores", "status"}
DESCRIBED = {"merge", "method", "family"}  # of a record's config: what its label says
_RECORD_NAME = re.compile(r"([0-9a-f]{16})\.json")


@dataclass(frozen=True)
class Scored:
    """A run on one benchmark; lists are in the order of the documents.

    outputs: None where only scores were kept. asked: what decides which prompts these were and how they were scored.
    """

    metric: str
    ids: list[str]
    groups: list[str]
    metrics: dict[str, list[float | None]]
    outputs: list[str] | None
    asked: dict[str, Any]


@dataclass(frozen=True)
class Given:
    """One run: as it was named, what it is in words, its benchmarks, and the data folder if it names one."""

    name: str
    label: str
    benchmarks: dict[str, Scored]
    engine: Any
    data: str | None = None


def open_run(name: str, records: Path, results: Path) -> Given:
    """The run of that name. Raises InputError where there is none, or several, or its file holds something else."""
    file, _, prefix = name.rpartition(":")
    if file and Path(file).is_file():
        return _of_record(name, _one_of(file, read_compact(Path(file)), prefix), [])
    path = Path(name)
    if path.suffix == ".jsonl" and path.is_file():
        return _of_record(name, _one_of(name, read_compact(path), ""), [])
    if path.is_file():
        return _of_file(name, path)
    if not re.fullmatch(r"[0-9a-f]{1,16}", name):
        raise InputError(f"{name}: no such file, and no id of a run; write an id, a JSON file or FILE.jsonl:ID")
    return _of_id(name, records, results)


def _of_id(name: str, records: Path, results: Path) -> Given:
    names = [match[1] for path in records.glob("*.json") if (match := _RECORD_NAME.fullmatch(path.name))]
    found = sorted(identity for identity in names if identity.startswith(name))
    if len(found) == 1:
        return _of_file(name, records / f"{found[0]}.json")
    if not found:
        files = [path for path in sorted(results.glob("*/*.jsonl")) if is_compact(path)]
        committed = {record["identity"]: record for path in files for record in read_compact(path)}
        found = sorted(identity for identity in committed if identity.startswith(name))
        if len(found) == 1:
            return _of_record(name, committed[found[0]], [])
    if not found:
        raise InputError(f"{name}: no run of {records} or of the files under {results} begins so")
    raise InputError(f"{name}: {len(found)} runs begin so ({', '.join(found[:3])}, ...); write more of the id")


def _one_of(file: str, records: Sequence[dict], prefix: str) -> dict:
    found = [record for record in records if record["identity"].startswith(prefix)]
    if len(found) != 1:
        begin = f"{len(found)} of them begin with {prefix}" if prefix else f"{len(found)} of them"
        raise InputError(f"{file} holds {len(records)} runs, {begin}; write FILE.jsonl:ID with enough of one run's id")
    return found[0]


def _of_file(name: str, path: Path) -> Given:
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}); write it again") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: neither a run's record nor what scripts.evaluate out=FILE writes")
    if isinstance(found.get("outcomes"), dict):
        return _of_outcomes(name, path, found)
    if RECORD - set(found) or DESCRIBED - set(found["config"]):
        raise InputError(f"{path}: neither a run's record nor what scripts.evaluate out=FILE writes")
    return _of_record(name, found, read_samples(path.parent, found["identity"]))


def _of_record(name: str, record: Mapping, samples: Sequence[Mapping]) -> Given:
    if record["status"] != "done":
        raise InputError(f"{name}: run {record['identity']} failed ({record.get('error')}); run it again first")
    config, inputs, versions = record["config"], record["inputs"], record["versions"]
    outputs = {(sample["benchmark"], sample["id"]): sample["output"] for sample in samples}
    benchmarks = {}
    for benchmark, block in record["scores"].items():
        asked = {key: value for key, value in config.items() if key not in COMPARED}
        asked |= {"version": versions.get(benchmark), "data": inputs.get("data", {}).get(benchmark)}
        asked |= {f"{key} version": value for key, value in versions.items() if key not in {"merge", *BENCHMARKS}}
        if _is_judged(benchmark, block["metrics"]):
            asked["judge's file"] = inputs.get("judge")
        else:
            asked.pop("judge", None)
            asked.pop("judges", None)
        written = [outputs.get((benchmark, id_)) for id_ in block["ids"]]
        benchmarks[benchmark] = Scored(
            block["metric"],
            block["ids"],
            block["groups"],
            block["metrics"],
            None if None in written else written,  # type: ignore[arg-type]
            asked,
        )
    return Given(name, record_label(record), benchmarks, config.get("engine"))


def _is_judged(benchmark: str, metrics: Mapping) -> bool:
    return benchmark == "alpaca_eval" or any("judge" in metric for metric in metrics)


def record_label(record: Mapping) -> str:
    """`LM+Math della drop_rate=0.5 lambda_=1 seed 3, tiny 0`: what was merged, how, and of which family."""
    config = record["config"]
    method = dict(config["method"])
    words = [merge_label(config["merge"]), method.pop("name")]
    words += [f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}" for key, value in method.items()]
    if config.get("seed") is not None:
        words.append(f"seed {config['seed']}")
    family = "" if config.get("family_seed") is None else f" {config['family_seed']}"
    return f"{' '.join(words)}, {config['family']}{family} [{record['identity']}]"


def _of_outcomes(name: str, path: Path, found: Mapping) -> Given:
    """What scripts.evaluate wrote: per-prompt outcomes, and as much as it says of what was asked."""
    rest = {"model", "engine", "isolation", "outcomes", "inputs", "versions", "data", *COMPARED}
    shared = {key: value for key, value in found.items() if key not in rest}
    benchmarks = {}
    inputs, versions = found.get("inputs", {}), found.get("versions", {})
    named = isinstance(inputs, dict) and isinstance(versions, dict) and isinstance(inputs.get("data", {}), dict)
    if not named:
        raise InputError(
            f"{path}: its inputs or versions are not what scripts.evaluate out=FILE writes; write it again"
        )
    for benchmark, outcome in found["outcomes"].items():
        lists = _checked(outcome, f"{path}: {benchmark}")
        asked = dict(shared)
        asked |= {"version": versions.get(benchmark)} if "versions" in found else {}
        asked |= {"data": inputs.get("data", {}).get(benchmark)} if inputs else {}
        if not _is_judged(benchmark, lists[1]):
            asked.pop("judge", None)
            asked.pop("judges", None)
        elif inputs:
            asked["judge's file"] = inputs.get("judge")
        known = BENCHMARKS[benchmark].metric if benchmark in BENCHMARKS else ""
        main = known if known in lists[1] else sorted(lists[1])[0]
        benchmarks[benchmark] = Scored(main, lists[0], lists[2], lists[1], lists[3], asked)
    return Given(name, f"{found.get('model', path)} [{path}]", benchmarks, found.get("engine"), found.get("data"))


def _checked(outcome: Any, where: str) -> list[Any]:
    """The lists of one benchmark's outcome, in OUTCOME's order. Raises InputError for anything else."""
    lists: list[Any] = [outcome.get(key) for key in OUTCOME] if isinstance(outcome, dict) else []
    right = bool(lists) and all(isinstance(v, kind) for v, kind in zip(lists, OUTCOME.values(), strict=True))
    columns = [lists[0], lists[2], lists[3], *lists[1].values()] if right else []
    if len(columns) < 4 or not all(isinstance(v, list) and len(v) == len(lists[0]) for v in columns):
        raise InputError(f"{where} has no ids, groups, metrics and outputs of one length; write it again")
    if not all(isinstance(text, str) for column in columns[:3] for text in column):
        raise InputError(f"{where} has an id, a group or an output that is no text; write it again")
    for metric, scores in lists[1].items():
        if not all(s is None or (isinstance(s, int | float) and 0 <= s <= 1) for s in scores):
            raise InputError(f"{where} {metric} has a score that is neither a number from 0 to 1 nor null")
    return lists


def check_alike(runs: Sequence[Given]) -> list[str]:
    """The benchmarks that all runs have. Raises InputError where the runs did not answer the same prompts.

    What both of two runs say of a benchmark must be the same: split, limit, prompt family, longest answer, version of
    the task, hash of the data, judge; and always the prompts' ids.
    """
    first = runs[0]
    shared = [name for name in sorted(first.benchmarks) if all(name in run.benchmarks for run in runs)]
    if not shared:
        lists = "; ".join(f"{run.name}: {', '.join(sorted(run.benchmarks)) or 'none'}" for run in runs)
        raise InputError(f"the runs have no benchmark in common ({lists})")
    wrong = []
    for run in runs[1:]:
        for benchmark in shared:
            one, other = first.benchmarks[benchmark], run.benchmarks[benchmark]
            for key in sorted(set(one.asked) & set(other.asked)):
                if one.asked[key] != other.asked[key]:
                    wrong.append(f"{benchmark} {key} {_short(one.asked[key])} and {_short(other.asked[key])}")
            if one.ids != other.ids and len(one.ids) != len(other.ids):
                wrong.append(f"{benchmark} {len(one.ids)} and {len(other.ids)} prompts")
            elif one.ids != other.ids:
                wrong.append(f"{benchmark} other ids")
        if wrong:
            raise InputError(
                f"{first.name} and {run.name} did not answer the same prompts ({'; '.join(wrong)}); evaluate both alike"
            )
    return shared


def _short(value: object) -> str:
    text = "none" if value is None else str(value)
    return f"{text[:12]}..." if len(text) > 40 else text
