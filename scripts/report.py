"""Tables and figures of a sweep, from its records.

    python -m scripts.report sweep=main_table                     # from the working records
    python -m scripts.report records=results/tiny/main_table.jsonl
    python -m scripts.report sweep=main_table publish=true        # also into results/ and README.md

Prints the tables; writes them as Markdown, LaTeX and CSV, and the figures as PNG and PDF. Table 1 is of `select=`;
where the grids have run on the test prompts (select=test), tables of selection say what the choice there is worth.
"""

from collections.abc import Container, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from della.compact import read_compact, read_header, write_compact
from della.errors import InputError
from scripts.data import check_choosing
from scripts.door import door
from scripts.schema import ReportConfig
from scripts.session import Session
from scripts.sweep import chooses, recorded

README = Path("README.md")


def command_of(config: ReportConfig) -> str:
    """What a reader types to make the records of this report."""
    extra = "" if config.select == "dev" else f" SELECT={config.select}"
    return f"make sweep EXPERTS={config.experts.family} SWEEP={config.sweep.name}{extra}"


def commits_of(records: Iterable[dict[str, Any]]) -> str:
    """The commits at which records were made, and whether the code had uncommitted changes then."""
    made = [record["provenance"] for record in records]
    names = {f"{p['commit'][:12]}{' with uncommitted changes' if p['dirty'] else ''}" for p in made if p["commit"]}
    return ", ".join(sorted(names)) or "unknown"


def gather(config: ReportConfig) -> tuple[list[dict[str, Any]], str, str]:
    """Records, the command that makes them, and the commits of the code that made them."""
    if config.records:
        header = read_header(Path(config.records))
        return read_compact(Path(config.records)), header["command"], header["commit"] or "unknown"
    if not config.sweep.name:
        raise InputError("nothing to report: write sweep=NAME or records=FILE.jsonl")
    folder = Path(config.paths.work) / "records"
    if not folder.is_dir():
        raise InputError(f"{folder}: no records yet; run `{command_of(config)}` first")
    session = Session(config)
    first, second, missing = recorded(session, config, folder)
    records = {record["identity"]: record for record in first + second}
    if missing:
        print(f"{missing} runs of sweep {config.sweep.name} have no record yet: run `{command_of(config)}`")
    command = command_of(config)
    if chooses(config):
        other = replace(config, select="test" if config.select == "dev" else "dev")
        more = other_records(session, other, folder, records.keys())
        if more:
            command = " && ".join(map(command_of, sorted((config, other), key=lambda c: c.select)))
        records |= more
    return list(records.values()), command, commits_of(records.values())


def other_records(
    session: Session, config: ReportConfig, folder: Path, known: Container[str]
) -> dict[str, dict[str, Any]]:
    """The records that the same sweep has because it also chose as `config` says, by identity; {} if it did not, or not
    to the end."""
    try:
        check_choosing(config)
    except InputError:  # without the development prompts nothing was chosen on them
        print(f"chosen on {config.select}: not run, its prompts are not at hand")
        return {}
    first, second, missing = recorded(session, config, folder)
    more = {record["identity"]: record for record in first + second}
    more = {identity: record for identity, record in more.items() if identity not in known}
    if not more:
        print(f"chosen on {config.select}: not run; for the tables of selection run `{command_of(config)}`")
    elif missing:
        more = {}
        print(
            f"chosen on {config.select}: left out, {missing} runs have no record; for the tables of selection run "
            f"`{command_of(config)}`"
        )
    return more


def labelled(config: ReportConfig, name: str) -> str:
    """The folder of a sweep's tables: those of what was chosen on test have their own."""
    return name if config.select == "dev" else f"{name}-{config.select}"


def report_search(config: ReportConfig) -> None:
    """The report of a sweep that searches."""
    from scripts.searching.report import gathered, publish, search_report  # imports optuna: seconds

    command = command_of(config)
    logs, records = gathered(config, command)
    commit = commits_of(records)
    report = search_report(logs, records, command, commit)
    print(report.text)
    label = labelled(config, config.sweep.name)
    folder = Path(config.paths.work) / "reports" / config.experts.family / label
    if config.publish:
        from della.report import splice

        folder = Path(config.paths.results) / config.experts.family / label
        publish(folder, logs, records, (command, commit))
        splice(README, {f"{label}/{key}": text for key, text in report.fragments.items()})
    report.write(folder)
    print(f"\ntables and figures: {folder}")


@door("report")
def main(config: ReportConfig) -> None:
    if config.sweep.arms and not config.records:
        report_search(config)
        return
    records, command, commit = gather(config)
    grids = [
        {"merge": g.merge, "method": g.method, "options": g.options} for g in config.sweep.grids.values() if g.choose
    ]
    from della.report import build_report, splice  # imports matplotlib and scipy: not before there is something to show

    report = build_report(records, command, commit, select=config.select, grids=None if config.records else grids)
    print(report.text)
    name = config.sweep.name if not config.records else Path(config.records).stem
    label = labelled(config, name)
    folder = Path(config.paths.work) / "reports" / config.experts.family / label
    if config.publish:
        folder = Path(config.paths.results) / config.experts.family
        write_compact(folder / f"{label}.jsonl", records, command=command, commit=commit)
        splice(README, {f"{label}/{key}": text for key, text in report.fragments.items()})
        folder = folder / label
    report.write(folder)
    print(f"\ntables and figures: {folder}")


if __name__ == "__main__":
    main()
