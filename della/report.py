"""Everything that a set of run records says: tables, gaps, figures, and the fragments that the README quotes.

    report = build_report(records, command="make tables", commit="1a2b3c4")
    print(report.text)
    report.write(Path("results/tables"))
    splice(Path("README.md"), report.fragments)

A pure function of its arguments: the same records in any order give the same bytes. (DELLA, arXiv 2406.11617v1: Tables
1 and 6, Figures 3 and 4; its printed numbers come from results/published.csv.)
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.figure import Figure

from della import figures
from della.ablation_figures import ablation_figure
from della.errors import InputError
from della.files import write_atomically
from della.outcomes import METHOD_LABELS, Run, merge_label, read_runs, widest
from della.selection import Choice, Grid, as_selected, choose_runs, complete_families, final_runs, grids_of, on_grid
from della.statistics import REPLICATES
from della.tables.ablation_study import AblationStudy
from della.tables.ablation_tables import cells_table, gaps_table
from della.tables.ablations import Ablation, told
from della.tables.common import common_table
from della.tables.epsilon import Epsilons, epsilon_table
from della.tables.experts import experts_table, groups_table, unmerged_runs
from della.tables.main import gaps_table as main_gaps_table
from della.tables.main import main_study, main_table
from della.tables.noise import noise_table
from della.tables.pruning import pruning_study, pruning_summary, pruning_table
from della.tables.published import PUBLISHED, Published, Table1, read_published
from della.tables.render import Table, markdown, write_table
from della.tables.seeds import seeds_table
from della.tables.selection import selection_tables

CELL_NOTE = "Ours: percent [95 % interval] n=prompts x mask seeds (left out where nothing is random)."
INTERVAL_NOTE = (
    f"Intervals: prompts, {REPLICATES:,} bootstrap replicates, drawn once per benchmark and shared by every merge and "
    "method; mask seeds (equal seeds together: methods share masks) and training seeds, analysis of variance with "
    "Student's t; with a single seed its noise is not in the interval. A cell at 0 or 100 % has Wilson's interval."
)
SELECT_NOTE = {
    "dev": "drop rate p and lambda chosen on development prompts",
    "test": "drop rate p and lambda chosen on the very test prompts reported, as the paper did: optimistic",
}


@dataclass
class Report:
    """Tables and figures by name, in the order to show them. source: the command and the commit that made them."""

    source: str
    tables: dict[str, Table] = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)
    summaries: dict[str, Table] = field(default_factory=dict)

    @property
    def fragments(self) -> dict[str, str]:
        """Markdown by name for `splice`: every table, and short forms of the long ones as `<name>_summary`."""
        return {name: markdown(table) for name, table in (self.tables | self.summaries).items()}

    @property
    def text(self) -> str:
        """What a terminal shows: all tables."""
        return "\n\n".join([*map(markdown, self.tables.values()), self.source])

    def write(self, out: Path) -> list[Path]:
        """Writes every table (.md, .tex, .csv) and figure (.png, .pdf) into a folder. Returns the paths, in order."""
        out.mkdir(parents=True, exist_ok=True)
        paths = [path for table in self.tables.values() for path in write_table(table, out, self.source)]
        for name, figure in self.figures.items():
            paths += figures.write_figure(figure, out, name, self.source)
        return paths


def write_report(
    records: Iterable[Mapping],
    out: Path,
    command: str,
    commit: str,
    *,
    select: str = "dev",
    grids: Sequence[Grid] | None = None,
    published: Path = PUBLISHED,
) -> list[Path]:
    """`build_report`, written into a folder. Returns the paths."""
    return build_report(records, command, commit, select=select, grids=grids, published=published).write(out)


def build_report(
    records: Iterable[Mapping],
    command: str,
    commit: str,
    *,
    select: str = "dev",
    grids: Sequence[Grid] | None = None,
    published: Path = PUBLISHED,
) -> Report:
    """All tables and figures that the records carry. Table 1 and the gaps are there, "not run" in every cell that is
    missing, unless the records are of sweeps that choose nothing, or of one of the paper's other comparisons
    (`della.tables.ablations`), which then stands alone; any other table is left out where it has no records.

    records: of one family (any training seeds), one engine, one judge. select: where hyperparameters are chosen, "dev"
    or "test"; records of the other kind may lie among them, and show in the tables of selection alone. grids: those of
    the sweep behind Table 1; None: as far as the records span.
    Raises InputError where the records are of several families, engines or judges, or contradict each other.
    """
    runs = read_runs(records)
    about = _one_setting(runs)
    report = Report(f"Made by `{command}` at commit {commit}.")
    rows = read_published(published)
    if found := _ablations(runs, select, grids):
        for ablation in found:
            _add_ablation(report, AblationStudy(ablation, runs, grids, select), rows, select, about)
        return report
    merged = widest([run for run in runs if len(run.merge) > 1])
    grids = grids_of([run for run in merged if run.split == select]) if grids is None else grids
    blocks = selection_tables(runs, grids, [f"{about}."])
    runs = as_selected(runs, choose_runs(merged, grids, select), grids)
    _add_main(report, runs, Table1(rows), select, grids, about)
    for table in blocks:
        _add(report, table)
    plain = [f"{about}.", CELL_NOTE, INTERVAL_NOTE]
    _add(report, experts_table(runs, plain))
    _add(report, groups_table(runs, plain))
    test = [run for run in runs if run.split == "test"]
    _add_pruning(report, widest([run for run in test if len(run.merge) == 1]), rows, about)
    epsilons = Epsilons(widest(test))
    if figure := figures.epsilon_figure(epsilons):
        shown = [run for found in epsilons.study.cells.values() for run in found]
        _add(report, epsilon_table(epsilons, [_about(shown, about), CELL_NOTE, INTERVAL_NOTE]))
        report.figures["epsilon"] = figure
    _add(report, seeds_table(widest(test), plain))
    _add(report, noise_table(widest(test), plain[:1]))
    _add(report, common_table(widest(test), plain[:1]))
    return report


def _add(report: Report, table: Table | None) -> None:
    if table:
        report.tables[table.name] = table


def _ablations(runs: Sequence[Run], select: str, grids: Sequence[Grid] | None) -> list[Ablation]:
    """The paper's other comparisons that the records are of; a search on the test prompts is none by itself."""
    test = [run for run in runs if run.split == "test"]
    search = grids_of([run for run in runs if len(run.merge) > 1 and run.split == select]) if grids is None else grids
    curves = [run for run in test if not any(on_grid(run, grid) for grid in search)]
    return told(test, curves, grids or [])


def _add_ablation(report: Report, found: AblationStudy, rows: Sequence[Published], select: str, about: str) -> None:
    """The scores, the differences and the figure of one comparison."""
    choices = [choice for chosen in found.choices.values() for choice in chosen]
    setting = [_about(found.runs, about), INTERVAL_NOTE]
    if len(found.epsilons) == 1:
        setting.insert(0, f"MAGPRUNE: epsilon {found.epsilons[0]:g} (full width).")
    notes = [CELL_NOTE, *(_choice_notes(choices, select) if choices else []), *setting, *found.ablation.notes]
    notes.append("paper: other models and, but for the real benchmarks, other data: compare differences, not levels.")
    _add(report, cells_table(found, rows, notes))
    _add(report, gaps_table(found, rows, setting))
    if figure := ablation_figure(found):
        report.figures[found.ablation.name] = figure


def _add_main(report: Report, runs: list[Run], paper: Table1, select: str, grids: Sequence[Grid], about: str) -> None:
    """Table 1, the gaps and the figures of the search."""
    merged = widest([run for run in runs if len(run.merge) > 1])
    if runs and not grids:
        return  # records of a sweep that chooses nothing: not those of Table 1
    choices = choose_runs(merged, grids, select)
    cells = final_runs(merged, choices)
    families = complete_families(cells)
    cells = {key: [run for run in found if run.family_seed in families] for key, found in cells.items()}
    alone = [run for run in unmerged_runs(runs) if not families or run.family_seed in families]
    choices = [choice for choice in choices if choice.family_seed in families]
    study = main_study(cells, alone)
    shown = [run for found in study.cells.values() for run in found]
    notes = [CELL_NOTE, *_choice_notes(choices, select), _about(shown, about), INTERVAL_NOTE]
    notes.append("paper: other models and, but for the real benchmarks, other data: compare differences, not levels.")
    _add(report, main_table(study, choices, paper, notes))
    _add(report, main_gaps_table(study, paper))
    report.tables["gaps"].notes += [_about(shown, about), f"Selection: {SELECT_NOTE[select]}."]
    search = [run for run in merged if run.split == select and any(on_grid(run, grid) for grid in grids)]
    drawn = {"drop_rate": figures.drop_rate_figure(search, select), "lambda": figures.lambda_figure(search, select)}
    report.figures |= {name: figure for name, figure in drawn.items() if figure}


def _add_pruning(report: Report, runs: Sequence[Run], rows: Sequence[Published], about: str) -> None:
    """The pruning table, its short form and its figure, from test runs of single experts."""
    if found := pruning_study(runs):
        paper = "paper: Table 6, WizardMath-13B on GSM8K, points; it gives no intervals."
        notes = [_about(runs, about), found.epsilon_note, CELL_NOTE, INTERVAL_NOTE, paper]
        _add(report, pruning_table(found, rows, notes))
        report.summaries["pruning_summary"] = pruning_summary(found, rows, notes)
        report.figures["pruning"] = figures.pruning_figure(found)


def _choice_notes(choices: Sequence[Choice], select: str) -> list[str]:
    sizes = sorted({choice.n for choice in choices})
    over = f" ({min(sizes)} to {max(sizes)} prompts a merge)" if sizes else ""
    notes = [f"Selection: {SELECT_NOTE[select]}{over}; the same lists for every method."]
    if edges := [choice for choice in choices if choice.edges]:
        notes.append(
            f"* first or last value of its list ({len(edges)} of {len(choices)} choices): the best may lie beyond."
        )
    for choice in choices:
        if choice.points < choice.of:
            where = f"{merge_label(choice.merge)} {METHOD_LABELS.get(choice.name, choice.name)}"
            notes.append(f"{where}: chosen among {choice.points} of {choice.of} points; the others have not run.")
    if widths := sorted({choice.method["epsilon"] for choice in choices if "epsilon" in choice.method}):
        notes.append(f"DELLA: epsilon {', '.join(f'{width:g}' for width in widths)} (full width).")
    return notes


def _one_setting(runs: Sequence[Run]) -> str:
    """One line on what all records share. Raises InputError where they are of several families, engines, judges, ..."""
    for what in ("family", "engine", "judge", "prompts"):
        if len(seen := sorted({getattr(run, what) for run in runs})) > 1:
            raise InputError(f"the records are of more than one {what} ({', '.join(seen)}): report one at a time")
    if not runs:
        return "No runs yet."
    run = runs[0]
    metrics = "; ".join(sorted({run.metrics for run in runs} - {""}))
    shown = f"; metric shown: {metrics}" if metrics else ""
    return f"Family {run.family}; engine {run.engine}; AlpacaEval's judge: {run.judge}{shown}"


def _about(runs: Sequence[Run], about: str) -> str:
    seeds = sorted({str(run.family_seed) for run in runs if run.family_seed is not None})
    return f"{about}; training seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}." if seeds else f"{about}."


def splice(readme: Path, fragments: Mapping[str, str]) -> list[str]:
    """Puts fragments into a file between `<!-- begin: name -->` and `<!-- end: name -->`; other text is untouched.

    Returns the names that the file has markers for and no fragment was given, which stay as they are.
    Raises InputError where a begin marker has no end marker.
    """
    text = readme.read_text(encoding="utf-8")
    kept = []
    for name in re.findall(r"<!-- begin: (\S+) -->", text):
        begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
        head, rest = text.split(begin, 1)
        if end not in rest:
            raise InputError(f"{readme}: `{begin}` has no `{end}`: write it below")
        if name in fragments:
            text = f"{head}{begin}\n{fragments[name].strip()}\n{end}{rest.split(end, 1)[1]}"
        else:
            kept.append(name)
    write_atomically(readme, text.encode())
    return kept
