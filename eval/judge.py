"""Judges of AlpacaEval: which of two outputs follows an instruction better.

A judge answers with preferences: 1.0 the model's output wins, 0.0 the reference wins, 0.5 a draw, None no verdict
(alpaca_eval's own code is that plus one: 2, 1, 1.5, null; 0 is its other code for a draw).
Judges that ask a model behind an endpoint are in eval/judges/.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.entries import Entry, read_entries
from eval.errors import InputError
from eval.rules import satisfies

if TYPE_CHECKING:
    from eval.judges.gsm8k import SolutionJudge

LARGEST = 2**53  # of a number that could be a preference: the package's own code stops at Infinity and the like


class Judge:
    """The interface: judge() is required, extra_metrics() is what a judge can also measure on the way.

    gsm8k: who reads GSM8K's answers besides, if anybody; then GSM8K has a metric `judged`.
    """

    name: str
    gsm8k: SolutionJudge | None = None

    @property
    def label(self) -> str:
        """What records and tables call this judge."""
        return self.name

    def ready(self) -> None:
        """Asked before anything is loaded. Raises InputError if what it needs is not there: an endpoint's key."""
        if self.gsm8k is not None:
            self.gsm8k.ready()

    def identity(self) -> dict[str, dict[str, Any]]:
        """By benchmark, what decides verdicts beyond the label: model, version, ...; nothing unless a judge says so."""
        return {} if self.gsm8k is None else {"gsm8k": self.gsm8k.identity()}

    def take_accounts(self) -> dict[str, dict[str, Any]]:
        """By benchmark, what was asked and paid since this was last called; nothing where nothing is paid."""
        return {} if self.gsm8k is None else {"gsm8k": self.gsm8k.take_account()}

    def judge(
        self, instructions: list[str], outputs: list[str], references: list[str], documents: list[dict]
    ) -> list[float | None]:
        """One preference in [0, 1] or None per instruction, in order. A judge that cannot be reached raises."""
        raise NotImplementedError

    def accept(self, documents: list[dict]) -> None:
        """Asked before anything is generated. Raises InputError for documents that this judge cannot judge."""

    def extra_metrics(self, outputs: list[str], documents: list[dict]) -> dict[str, list[float | None]]:
        """Further scores per document by name; none unless a judge says so."""
        return {}


class RuleJudge(Judge):
    """For documents that carry a rule a program can check: who satisfies it wins, both or neither is a draw."""

    name = "rules"

    def judge(
        self, instructions: list[str], outputs: list[str], references: list[str], documents: list[dict]
    ) -> list[float | None]:
        """0.0, 0.5 or 1.0 per document."""
        models = self.check(outputs, documents)
        return [
            (1.0 + passed - reference) / 2
            for passed, reference in zip(models, self.check(references, documents), strict=True)
        ]

    def accept(self, documents: list[dict]) -> None:
        """Raises InputError for a document without a rule."""
        for number, document in enumerate(documents):
            if "rule" not in document:
                raise InputError(f"alpaca_eval document {number} (from 0) has no rule: this data needs another judge")

    def extra_metrics(self, outputs: list[str], documents: list[dict]) -> dict[str, list[float | None]]:
        """rule_pass: 1.0 where the model's output satisfies the rule, whatever the reference did."""
        return {"rule_pass": [*self.check(outputs, documents)]}

    @staticmethod
    def check(outputs: list[str], documents: list[dict]) -> list[float]:
        return [float(satisfies(document["rule"], output)) for output, document in zip(outputs, documents, strict=True)]


class AnnotationsJudge(Judge):
    """Verdicts read from a file in alpaca_eval's annotations format, looked up by instruction and model output."""

    name = "annotations"

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.verdicts = {}
        for row in read_annotations(self.path, ("instruction", "output_2")):
            self.verdicts[row["instruction"], row["output_2"]] = from_alpaca_eval(row["preference"])

    def judge(
        self, instructions: list[str], outputs: list[str], references: list[str], documents: list[dict]
    ) -> list[float | None]:
        """The file's verdicts. Raises InputError for an output that the file does not judge."""
        keys = list(zip(instructions, outputs, strict=True))
        missing = [number for number, key in enumerate(keys) if key not in self.verdicts]
        if missing:
            raise InputError(
                f"{self.path} has no verdict on {len(missing)} of {len(keys)} outputs (first: document {missing[0]}): "
                "annotate these outputs first"
            )
        return [self.verdicts[key] for key in keys]


def from_alpaca_eval(preference: float | None) -> float | None:
    """alpaca_eval's preference code (1 reference, 2 model, 0 or 1.5 draw, between: weighted) as ours in [0, 1].

    None for everything else (null, NaN, other numbers), which the package leaves out.
    """
    if preference is None or not (preference == 0 or 1 <= preference <= 2):
        return None
    return 0.5 if preference == 0 else preference - 1.0


def read_annotations(path: str | Path, texts: tuple[str, ...] = ()) -> list[dict]:
    """alpaca_eval's annotations, one per instruction: a JSON list, JSON Lines, or columns as pandas writes a table.

    Preferences are numbers (NaN included, as Python and pandas write it) or None. texts: fields that each row must
    have as a string. Raises InputError for a file that is missing or something else, with the place in it.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no annotations file {path}: write a JSON list as alpaca_eval writes annotations.json")
    entries = read_entries(path, "write a JSON list as alpaca_eval writes annotations.json")
    if (
        len(entries) == 1
        and isinstance(entries[0].value, dict)
        and isinstance(entries[0].value.get("preference"), dict)
    ):
        entries = _rows_of_columns(path, entries[0].value)
    for where, row in entries:
        if not isinstance(row, dict) or "preference" not in row:
            raise InputError(f"{where} is not an annotation: write a JSON list of objects with a preference each")
        preference = row["preference"]
        is_number = isinstance(preference, int | float) and not isinstance(preference, bool)
        if preference is not None and (not is_number or abs(preference) > LARGEST):
            raise InputError(
                f"{where}: preference {json.dumps(preference)[:40]}; write 1 (reference), 2 (model), between them, "
                "0 or 1.5 (draw) or null (no verdict)"
            )
        if absent := [field for field in texts if not isinstance(row.get(field), str)]:
            raise InputError(f"{where} has no {absent[0]}; write it as a text")
    return [entry.value for entry in entries]


def _rows_of_columns(path: Path, columns: dict) -> list[Entry]:
    """{"preference": {"0": 2.0, ...}, "instruction": {"0": ..., ...}, ...}: what DataFrame.to_json() writes."""
    if not all(isinstance(column, dict) and list(column) == list(columns["preference"]) for column in columns.values()):
        raise InputError(f"{path} is not a table: its columns have different rows; write a JSON list of annotations")
    return [
        Entry(f"{path}, row {name}", {field: column[name] for field, column in columns.items()})
        for name in columns["preference"]
    ]


def official_win_rate(preferences: list[float | None]) -> dict[str, float]:
    """alpaca_eval's own get_winrate on its preference codes: win_rate and standard_error in percent, n_total, ...

    Verdicts that are None are left out of every figure, as the package does.
    """
    from eval.judges.annotator import quiet

    with quiet():
        from alpaca_eval.metrics import get_winrate  # imports half of the package: only when asked for

        return get_winrate([{"preference": preference} for preference in preferences])
