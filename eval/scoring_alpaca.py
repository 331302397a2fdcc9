"""AlpacaEval's win rate from verdicts that are there, with the alpaca_eval package's own functions.

    head_to_head([row["preference"] for row in read_annotations(path)])["win_rate"]

Percent, as the package says it: win_rate, standard_error, n_wins (the model's), n_wins_base (the reference's), n_draws,
n_total, discrete_win_rate. A preference of null (no verdict) is in none of them. The length-controlled win rate is
eval/judges/length.py's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from eval.entries import read_entries
from eval.errors import InputError
from eval.judge import from_alpaca_eval, official_win_rate
from eval.judges.length import Controlled, length_controlled

LENGTH_FILE = Path("alpaca_eval") / "df_gamed.csv"
LENGTH_REFERENCE = "gpt4_1106_preview"
LENGTH_FIELDS = ("instruction", "output_1", "output_2")
ONE_EACH = ("generator_2", "generator_1", "annotator")  # what a win rate is of: a model, a reference, a judge
FORM = "write a JSON list of instruction and output, as alpaca_eval's"


def head_to_head(preferences: Sequence[float | None]) -> dict[str, float | int]:
    """The package's figures for preferences in its own code: 1 reference, 2 model, 0 or 1.5 draw, between: weighted.

    What is none of these (null above all) is left out, as the package does: n_total counts what is left.
    Raises InputError where nothing is left.
    """
    if all(from_alpaca_eval(preference) is None for preference in preferences):
        raise InputError(f"none of the {len(preferences)} annotations holds a verdict: there is nothing to score")
    found = official_win_rate(list(preferences))
    return {name: int(value) if name.startswith("n_") else float(value) for name, value in found.items()}


def check_annotations(annotations: Sequence[dict]) -> list[str]:
    """What a reader of their win rate should know, in words.

    Raises InputError for the verdicts on several models, against several references or of several judges in one file:
    a rate over them is nobody's.
    """
    for field in ONE_EACH:
        names = sorted({str(annotation[field]) for annotation in annotations if field in annotation})
        if len(names) > 1:
            raise InputError(
                f"annotations of {len(names)} {field} in one file ({', '.join(names[:3])}): score one at a time"
            )
    counts = Counter(annotation["instruction"] for annotation in annotations if "instruction" in annotation)
    repeated = sum(count > 1 for count in counts.values())
    return [f"{repeated} instructions have several verdicts; each counts, as in the package"] if repeated else []


def control_length(annotations: Sequence[dict], data: Path, order: Sequence[str] | None) -> Controlled:
    """The length-controlled win rate of one model's annotations.

    data: df_gamed.csv. order: AlpacaEval's instructions in its own order, which says which row of data an annotation
    belongs to; None: the annotations are those of all its rows, in that order, as the package takes it.

    Raises InputError for files that do not fit.
    """
    for number, annotation in enumerate(annotations):
        if absent := [field for field in LENGTH_FIELDS if not isinstance(annotation.get(field), str)]:
            raise InputError(f"annotation {number} (from 0) has no {absent[0]}: length control needs both outputs")
    rows = None
    if order is not None:
        chosen = []
        for number, place in enumerate(_places([annotation["instruction"] for annotation in annotations], order)):
            if place is None:
                raise InputError(
                    f"annotation {number} (from 0): its instruction is not one of AlpacaEval's {len(order)}"
                )
            chosen.append((place, number))
        chosen.sort()
        rows, annotations = [row for row, _ in chosen], [annotations[number] for _, number in chosen]
    names = [str(annotations[0].get(field, field)) for field in ("generator_1", "generator_2")]
    return length_controlled(
        [from_alpaca_eval(annotation["preference"]) for annotation in annotations],
        [annotation["output_1"] for annotation in annotations],
        [annotation["output_2"] for annotation in annotations],
        data,
        rows,
        (names[0], names[1]),
    )


def length_notes(annotations: Sequence[dict]) -> list[str]:
    """What a reader of their length-controlled win rate should know, in words."""
    others = {str(annotation["generator_1"]) for annotation in annotations if "generator_1" in annotation}
    if not others - {LENGTH_REFERENCE}:
        return []
    return [
        f"alpaca_eval's length data is of verdicts against {LENGTH_REFERENCE} (AlpacaEval 2.0), these are against "
        f"{min(others - {LENGTH_REFERENCE})}: not comparable with its leaderboard"
    ]


def _places(texts: Sequence[str], known: Sequence[str]) -> list[int | None]:
    """Each text's number among the known ones, None for a stranger; several of the same are taken in order.

    Where no known text is the same to the character, blanks and line ends at a text's ends and inside may differ.
    """
    exact: dict[str, list[int]] = {}
    alike: dict[str, list[int]] = {}
    for number, text in enumerate(known):
        exact.setdefault(text, []).append(number)
        alike.setdefault(" ".join(text.split()), []).append(number)
    seen: Counter[tuple[int, ...]] = Counter()
    found: list[int | None] = []
    for text in texts:
        numbers = tuple(exact.get(text, alike.get(" ".join(text.split()), [])))
        found.append(numbers[min(seen[numbers], len(numbers) - 1)] if numbers else None)
        seen[numbers] += 1
    return found


def read_outputs(path: str | Path, documents: Sequence[dict], partial: bool = False) -> tuple[list[int], list[str]]:
    """A model's outputs in alpaca_eval's format (a JSON list of instruction, output, ...), by document.

    Returns the documents (numbers from 0) that have an output, and these outputs. Raises InputError for a missing or
    malformed file, an unknown or repeated instruction, and, unless partial, for documents without an output.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no outputs file {path}: {FORM}")
    entries = read_entries(path, FORM)
    for where, row in entries:
        if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in ("instruction", "output")):
            raise InputError(f"{where} lacks instruction or output; write both as strings, as alpaca_eval does")
    if not entries:
        raise InputError(f"{path} holds no output: write at least one")
    found: dict[int, str] = {}
    places = _places([row["instruction"] for _, row in entries], [document["instruction"] for document in documents])
    for (where, row), place in zip(entries, places, strict=True):
        if place is None:
            raise InputError(f"{where}: its instruction is not one of the benchmark's")
        if place in found:
            raise InputError(f"{where}: a second output for its instruction; write one of each")
        found[place] = row["output"]
    missing = [number for number in range(len(documents)) if number not in found]
    if missing and not partial:
        raise InputError(
            f"{path}: {len(missing)} of {len(documents)} instructions have no output (first: document {missing[0]}, "
            "from 0); add them, or write partial=true to score those there are"
        )
    return sorted(found), [found[number] for number in sorted(found)]
