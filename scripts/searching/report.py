"""The report of a sweep that searches: `python -m scripts.report sweep=search_della`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from della.compact import write_compact
from della.errors import InputError
from della.outcomes import read_runs
from scripts.searching.log import log_of, write_logs
from scripts.searching.run import recorded_finals, tasks
from scripts.session import Session

if TYPE_CHECKING:
    from della.report import Report
    from scripts.schema import ReportConfig

NOTE = "Test: percent [95 % interval] n=prompts x mask seeds (left out where nothing is random)."


def gathered(config: "ReportConfig", command: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The logs of a sweep's searches that have begun, and the records of their winners' runs.

    Raises InputError where none has begun.
    """
    session = Session(config)
    begun = [task for task in tasks(config, session) if task.journal.exists()]
    if not begun:
        raise InputError(f"sweep={config.sweep.name}: no search has begun; run `{command}` first")
    studies = [task.open() for task in begun]
    records, missing = recorded_finals(begun, studies, Path(config.paths.work) / "records")
    if missing:
        print(f"{missing} runs of winners of sweep {config.sweep.name} have no record yet: run `{command}`")
    return [log_of(task, study) for task, study in zip(begun, studies, strict=True)], records


def search_report(logs: list[dict[str, Any]], records: list[dict[str, Any]], command: str, commit: str) -> "Report":
    """Tables and figure of searches: a function of the logs and the winners' records."""
    from della.report import Report
    from della.tables.arms import arms_table
    from della.tables.search import history_figure, importance_table, search_table

    report = Report(f"Made by `{command}` at commit {commit}.")
    runs = read_runs(records)
    found = [arms_table(logs, runs, [NOTE]), search_table(logs, runs, [NOTE]), importance_table(logs)]
    report.tables = {table.name: table for table in found if table}
    if figure := history_figure(logs):
        report.figures["history"] = figure
    return report


def publish(folder: Path, logs: list[dict[str, Any]], records: list[dict[str, Any]], about: tuple[str, str]) -> None:
    """Writes logs and winners' records in their compact form. about: the command that made them, and its commits."""
    command, commit = about
    write_logs(folder / "trials.jsonl", logs, command, commit)
    write_compact(folder / "winners.jsonl", records, command=command, commit=commit)
