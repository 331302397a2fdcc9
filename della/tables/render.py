"""A table of text cells, and how it is written: Markdown aligned for a terminal, LaTeX with booktabs rules, long CSV.

All three come from one `Table`, so they hold the same numbers; the CSV has them in full precision, one per line.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from della.files import write_atomically
from della.statistics import Estimate

NOT_RUN = "not run"
NOT_APPLICABLE = "-"
CSV_FIELDS = (
    "table",
    "family",
    "training_seed",
    "merge",
    "method",
    "options",
    "benchmark",
    "quantity",
    "value",
    "low",
    "high",
    "n",
    "mask_seeds",
    "families",
    "nulls",
    "published",
)
_ESCAPES = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


@dataclass
class Table:
    """A table as a reader sees it.

    labels: how many columns at the left are text; rules: rows before which a rule is drawn; notes: lines under it;
    data: the same numbers for the CSV, one dictionary of CSV_FIELDS per number.
    """

    name: str
    title: str
    header: list[str]
    rows: list[list[str]] = field(default_factory=list)
    labels: int = 1
    rules: set[int] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    data: list[dict] = field(default_factory=list)

    def rule(self) -> None:
        """Draws a rule before the next row."""
        self.rules.add(len(self.rows))

    def record(self, found: Estimate | None, *, quantity: str = "score", published: object = "", **keys: Any) -> None:
        """Adds one number to the CSV, in percent or percentage points; a missing one with an empty value."""
        row: dict[str, object] = {"table": self.name, "quantity": quantity, "published": published, **keys}
        if found:
            row |= {"value": 100 * found.value, "low": 100 * found.low, "high": 100 * found.high}
            row |= {"n": found.n, "mask_seeds": seeds_text(found), "families": found.families, "nulls": found.nulls}
        self.data.append(row)


def seeds_text(found: Estimate) -> str:
    """Mask seeds per training seed: `5`, or `5-10` where cells differ."""
    low, high = found.seeds
    return str(low) if low == high else f"{low}-{high}"


def score_text(found: Estimate | None, missing: str = NOT_RUN) -> str:
    """`85.2 [82.9, 87.3] n=500x5`: percent, 95 % interval, prompts, mask seeds (left out where there is one)."""
    if found is None:
        return missing
    seeds = "" if found.seeds == (1, 1) else f"x{seeds_text(found)}"
    nulls = f" ({found.nulls} null)" if found.nulls else ""
    low, high = tenth(100 * found.low), tenth(100 * found.high)
    return f"{tenth(100 * found.value)} [{low}, {high}] n={found.n}{seeds}{nulls}"


def gap_text(found: Estimate | None, digits: int = 1, missing: str = NOT_RUN) -> str:
    """`+1.20 [-0.31, +2.75]`: percentage points with their 95 % interval."""
    if found is None:
        return missing
    value, low, high = (signed(100 * number, digits) for number in (found.value, found.low, found.high))
    return f"{value} [{low}, {high}]"


def tenth(number: float) -> str:
    """One decimal, without a minus sign before zero."""
    return f"{round(number, 1) + 0.0:.1f}"


def signed(number: float, digits: int = 1) -> str:
    """A signed number; a rounded zero has no sign."""
    rounded = round(number, digits) + 0.0
    return f"{rounded:.{digits}f}" if rounded == 0 else f"{rounded:+.{digits}f}"


def markdown(table: Table) -> str:
    """A Markdown table whose columns line up in a terminal, its title above and its notes as a list below."""
    cells = [[text.replace("|", "\\|") for text in row] for row in [table.header, *table.rows]]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(table.header))]

    def line(row: Sequence[str]) -> str:
        text = [
            c.ljust(w) if i < table.labels else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ]
        return "| " + " | ".join(text) + " |"

    marks = ["-" * w if i < table.labels else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    lines = [f"**{table.title}**", "", line(cells[0]), line(marks), *map(line, cells[1:])]
    if table.notes:
        lines += ["", *(f"- {note}" for note in table.notes)]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Text with LaTeX's special characters written out."""
    return "".join(_ESCAPES.get(letter, letter) for letter in text)


def latex(table: Table, source: str) -> str:
    r"""A `table*` with booktabs rules, as wide as the page (packages booktabs, graphicx); `source` as a comment."""
    columns = "l" * table.labels + "r" * (len(table.header) - table.labels)
    lines = [f"% {source}", r"\begin{table*}", r"\centering", rf"\caption{{{escaped(table.title)}}}"]
    lines += [rf"\label{{tab:{table.name.replace('_', '-')}}}", r"\resizebox{\textwidth}{!}{%"]
    lines += [rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
    lines += [" & ".join(map(escaped, table.header)) + r" \\", r"\midrule"]
    for index, row in enumerate(table.rows):
        lines += [r"\midrule"] if index and index in table.rules else []
        lines.append(" & ".join(map(escaped, row)) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}}"]
    if table.notes:
        lines += [r"\par\smallskip\begin{minipage}{\textwidth}\footnotesize"]
        lines += [escaped(note) + r"\par" for note in table.notes] + [r"\end{minipage}"]
    return "\n".join([*lines, r"\end{table*}"]) + "\n"


def long_csv(table: Table, source: str) -> str:
    """One line per number, full precision; `source` in a first line that begins with #."""
    text = io.StringIO()
    text.write(f"# {source}\n")
    writer = csv.DictWriter(text, CSV_FIELDS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(table.data)
    return text.getvalue()


def write_table(table: Table, out: Path, source: str) -> list[Path]:
    """Writes `<name>.md`, `.tex` and `.csv` into a folder. Returns their paths."""
    texts = {
        "md": f"{markdown(table)}\n{source}\n",
        "tex": latex(table, source),
        "csv": long_csv(table, source),
    }
    paths = []
    for ending, text in texts.items():
        paths.append(out / f"{table.name}.{ending}")
        write_atomically(paths[-1], text.encode())
    return paths


def options_text(options: Mapping) -> str:
    """`drop_rate=0.5 epsilon=0.14`: every option, for the CSV."""
    return " ".join(f"{name}={options[name]}" for name in sorted(options))
