"""A search's trials as plain data: what is reported and committed of it, beside the records of its winner.

write_logs(path, logs, command, commit);  read_logs(path)
"""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from della.errors import InputError
from della.files import canonical, write_atomically
from scripts.searching.run import Task
from scripts.searching.study import SharedStudy

FORMAT = "della-search-1"


def log_of(task: Task, study: SharedStudy) -> dict[str, Any]:
    """The log of one search, as della/tables/search.py reads it; of a failed trial the last attempt alone."""
    search, config = task.search, task.config
    trials = [
        {
            "number": t.number,
            "params": t.params,
            "value": t.value if t.state == TrialState.COMPLETE else None,
            "prompts": t.user_attrs.get("prompts", 0),
            "whole": t.state == TrialState.COMPLETE and t.user_attrs["whole"],
            "reused": t.user_attrs.get("reused", False),
            "error": t.user_attrs.get("error") if t.state == TrialState.FAIL else None,
        }
        for t in study.ended.values()
    ]
    settings = {name: getattr(search, name) for name in ("method", "sampler", "prune", "risk", "looks", "seed")}
    return {
        **settings,
        "sweep": config.sweep.name,
        "arm": task.arm,
        "family": config.experts.family,
        "family_seed": task.session.family(task.family_seed).seed,
        "merge": list(task.merge),
        "split": task.template.split,
        "of": study.prompts,
        "wanted": study.wanted,
        "winner": won(task, study),
        "trials": sorted(trials, key=lambda trial: trial["number"]),
        "screened": study.screenings,
        "first": study.first,
        "beside": study.spent - sum(trial["prompts"] for trial in trials),
        "importance": importance(study),
    }


def won(task: Task, study: SharedStudy) -> dict[str, Any] | None:
    """The winner's point as its records' config has it: method, and weights and rules if any."""
    if study.best is None:
        return None
    point = task.space.point(study.best.params, task.template)
    return {"method": point.method_config, **point.local}


def importance(study: SharedStudy) -> dict[str, float]:
    """PED-ANOVA's importances, rounded; {} for fewer than 20 trials or a single parameter."""
    done = [t for t in study.trials if t.state == TrialState.COMPLETE]
    if len(done) < 20 or len(study.space.parameters) < 2 or len({t.value for t in done}) < 2:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the evaluator is marked experimental
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        found = optuna.importance.get_param_importances(study.study, evaluator=evaluator)
    return {name: round(float(value), 4) for name, value in found.items()}


def write_logs(path: Path, logs: Sequence[dict[str, Any]], command: str, commit: str) -> None:
    """Logs as JSON lines, a header first."""
    header = {"format": FORMAT, "command": command, "commit": commit}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, "".join(canonical(line) + "\n" for line in [header, *logs]).encode())


def read_logs(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The header and the logs of a file. Raises InputError where it is missing or no such file."""
    try:
        header, *logs = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; write it with scripts.report and publish=true") from error
    except ValueError as error:
        raise InputError(f"{path}: cut off or not a log of a search; write it again") from error
    if header.get("format") != FORMAT:
        raise InputError(f"{path}: not a log of a search (its first line must say {FORMAT})")
    return header, logs
