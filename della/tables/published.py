"""The papers' printed numbers, from results/published.csv, each with its locator; empty where not applicable."""

import csv
from dataclasses import dataclass
from pathlib import Path

from della.errors import InputError
from della.outcomes import MERGES

PUBLISHED = Path(__file__).parents[2] / "results" / "published.csv"
PAPER_METHOD = {"ta_elect": "ta", "dare_elect": "dare", "ties": "ties", "della": "della"}


@dataclass(frozen=True)
class Published:
    """One printed number; value None where the paper prints `/`."""

    source: str
    table: str
    merge: str
    method: str
    variant: str
    drop_rate: str
    benchmark: str
    value: float | None
    printed: str
    unit: str
    locator: str
    note: str


def read_published(path: Path = PUBLISHED) -> list[Published]:
    """Every row of the file. Raises InputError where it is missing."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; it comes with the repository, restore it with git checkout")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        Published(**{k: v for k, v in row.items() if k != "value"}, printed=row["value"], value=_number(row["value"]))
        for row in rows
    ]


def _number(text: str) -> float | None:
    return float(text) if text else None


class Table1:
    """The cells of DELLA's Table 1 by (merge, method, benchmark); benchmark "avg" is the Avg column."""

    def __init__(self, rows: list[Published]):
        self._cells = {(row.merge, row.method, row.benchmark): row for row in rows if row.table == "1"}

    def printed(self, merge: tuple[str, ...], method: str, benchmark: str) -> str:
        """A cell as printed; `-` where the paper has none."""
        row = self._cells.get(("+".join(merge), PAPER_METHOD.get(method, method), benchmark))
        return row.printed if row and row.printed else "-"

    def average(self, merge: tuple[str, ...], method: str) -> float:
        """A printed Avg cell, percent. Raises KeyError for a cell the table does not have."""
        value = self._cells["+".join(merge), PAPER_METHOD[method], "avg"].value
        assert value is not None
        return value

    def gap(self, method: str, others: tuple[str, ...], merges: tuple[tuple[str, ...], ...] = MERGES) -> float:
        """Mean of the Avg cells of `method` over merges, minus the mean of those of the others: percentage points."""

        def mean(name: str) -> float:
            return sum(self.average(merge, name) for merge in merges) / len(merges)

        return mean(method) - sum(map(mean, others)) / len(others)
