"""The committed tables of searches follow from what is committed of their trials and winners."""

import json
from pathlib import Path

from della.compact import read_compact
from scripts.searching.log import read_logs
from scripts.searching.report import search_report
from scripts.searching.study_report import savings_report

RESULTS = Path(__file__).resolve().parent.parent / "results"
SEARCHES = sorted(path.parent for path in RESULTS.glob("*/*/trials.jsonl"))
STUDIES = sorted(path.parent for path in RESULTS.glob("*/*/study.json"))


def other_tables(folder: Path, report, out: Path) -> list[str]:
    """The names of committed tables that differ from those of a report."""
    written = {path.name: path for path in report.write(out)}
    tables = [path for path in sorted(folder.iterdir()) if path.suffix in (".md", ".tex", ".csv")]
    assert tables
    return [path.name for path in tables if path.read_bytes() != written[path.name].read_bytes()]


def test_the_tables_of_committed_searches_are_those_of_their_trials(tmp_path):
    for folder in SEARCHES:
        header, logs = read_logs(folder / "trials.jsonl")
        report = search_report(logs, read_compact(folder / "winners.jsonl"), header["command"], header["commit"])
        assert other_tables(folder, report, tmp_path) == [], folder


def test_the_tables_of_committed_studies_of_savings_are_those_of_their_cases(tmp_path):
    for folder in STUDIES:
        found = json.loads((folder / "study.json").read_text())
        report = savings_report(found["cases"], found["rules"], found["command"], found["commit"])
        assert other_tables(folder, report, tmp_path) == [], folder
