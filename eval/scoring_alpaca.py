"""AlpacaEval's win rate from verdicts that are there, with the alpaca_eval package's own functions.

    head_to_head([row["preference"] for row in read_annotations(path)])["win_rate"]

Percent, as the package says it: win_rate, standard_error, n_wins (the model's), n_wins_base (the reference's), n_draws,
n_total, discrete_win_rate. A preference of null (no verdict) is in none of them.

The length-controlled win rate (Dubois et al. 2024, arXiv 2404.04475) is a regression that needs the difficulty of each
instruction and the verdicts on two baselines gamed in length: `df_gamed.csv` of the data set tatsu-lab/alpaca_eval.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

from eval.errors import InputError
from eval.judge import official_win_rate

LC_FILE = Path("alpaca_eval") / "df_gamed.csv"
LC_COLUMNS = ("preference", "index", "std_delta_len", "instruction_difficulty", "not_gamed_baseline", "model")
LC_FIELDS = ("instruction", "output_1", "output_2", "generator_1", "generator_2")


def head_to_head(preferences: Sequence[float | None]) -> dict[str, float | int]:
    """The package's figures for preferences in its own code: 1 reference, 2 model, 0 or 1.5 draw, between: weighted.

    What is none of these (null above all) is left out, as the package does: n_total counts what is left.
    Raises InputError for a preference that is no number, and where nothing is left.
    """
    for number, preference in enumerate(preferences):
        if isinstance(preference, bool) or not isinstance(preference, int | float | None):
            raise InputError(
                f"annotation {number} (from 0): preference {json.dumps(preference)[:40]}; "
                "write 1 (reference), 2 (model), between them, 0 or 1.5 (draw) or null (no verdict)"
            )
    if not any(preference is not None and (preference == 0 or 1 <= preference <= 2) for preference in preferences):
        raise InputError(f"none of the {len(preferences)} annotations holds a verdict: there is nothing to score")
    found = official_win_rate(list(preferences))
    return {name: int(value) if name.startswith("n_") else float(value) for name, value in found.items()}


def length_controlled(annotations: Sequence[dict], lc_data: Path, order: Sequence[str] | None) -> dict[str, float]:
    """length_controlled_winrate and lc_standard_error, percent, of one model against one reference.

    lc_data: df_gamed.csv. order: AlpacaEval's instructions in its own order, which says which row of lc_data an
    annotation belongs to; None: the annotations are all 805, in that order, as the package takes it.

    Raises InputError for files that do not fit.
    """
    import pandas as pd
    from alpaca_eval.metrics import glm_winrate

    rows = _rows(annotations, order)
    try:
        columns = set(pd.read_csv(lc_data, nrows=1).columns)
    except (OSError, ValueError) as error:
        raise InputError(f"{lc_data}: not a table ({error}); give alpaca_eval's df_gamed.csv") from None
    if absent := [name for name in LC_COLUMNS if name not in columns]:
        raise InputError(f"{lc_data}: has no column {absent[0]}; give alpaca_eval's df_gamed.csv")
    fields = ("preference", *LC_FIELDS)
    chosen = [{field: annotations[number][field] for field in fields} for number, _ in rows]
    frame = pd.DataFrame(chosen, index=[row for _, row in rows])
    # The package knows only how to download its file.
    local = mock.patch.object(glm_winrate, "hf_hub_download", return_value=str(lc_data))
    with warnings.catch_warnings(), local:
        warnings.simplefilter("ignore")  # scikit-learn's and pandas', about the package's own calls
        found = glm_winrate.get_length_controlled_winrate(frame, save_weights_dir=None, is_warn_extreme_changes=False)
    return {name: float(found[name]) for name in ("length_controlled_winrate", "lc_standard_error")}


def _rows(annotations: Sequence[dict], order: Sequence[str] | None) -> list[tuple[int, int]]:
    """(annotation, its instruction's row in AlpacaEval's order), sorted by that row."""
    for number, annotation in enumerate(annotations):
        if absent := [field for field in LC_FIELDS if field not in annotation]:
            raise InputError(f"annotation {number} (from 0) has no {absent[0]}: length control needs both outputs")
    for field in ("generator_1", "generator_2"):
        if len(names := sorted({str(annotation[field]) for annotation in annotations})) > 1:
            raise InputError(f"annotations of several {field} ({', '.join(names[:3])}): length control needs one")
    if order is None:
        return [(number, number) for number in range(len(annotations))]
    place = {instruction: row for row, instruction in enumerate(order)}
    unknown = [number for number, row in enumerate(annotations) if row["instruction"] not in place]
    if unknown:
        raise InputError(f"annotation {unknown[0]} (from 0): its instruction is not one of AlpacaEval's {len(order)}")
    return sorted(((n, place[row["instruction"]]) for n, row in enumerate(annotations)), key=lambda pair: pair[1])


def read_outputs(path: str | Path, documents: Sequence[dict], partial: bool = False) -> tuple[list[int], list[str]]:
    """A model's outputs in alpaca_eval's format (a JSON list of instruction, output, ...), by document.

    Returns the documents (numbers from 0) that have an output, and these outputs. Raises InputError for a missing or
    malformed file, an unknown or repeated instruction, and, unless partial, for documents without an output.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no outputs file {path}: write a JSON list of instruction and output, as alpaca_eval's")
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON ({error})") from None
    if not isinstance(rows, list):
        raise InputError(f"{path} is not a JSON list: write instruction and output of each, as alpaca_eval does")
    waiting: dict[str, list[int]] = {}  # documents may repeat an instruction; then its outputs are taken in order
    for number, document in enumerate(documents):
        waiting.setdefault(document["instruction"], []).append(number)
    found: dict[int, str] = {}
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in ("instruction", "output")):
            raise InputError(f"{path}: entry {number} (from 0) lacks instruction or output; write both as strings")
        if row["instruction"] not in waiting:
            raise InputError(f"{path}: entry {number} (from 0): its instruction is not one of the benchmark's")
        if not waiting[row["instruction"]]:
            raise InputError(f"{path}: entry {number} (from 0): a second output for its instruction; write one of each")
        found[waiting[row["instruction"]].pop(0)] = row["output"]
    missing = [number for number in range(len(documents)) if number not in found]
    if not found:
        raise InputError(f"{path} holds no output: write at least one")
    if missing and not partial:
        raise InputError(
            f"{path}: {len(missing)} of {len(documents)} instructions have no output (first: document {missing[0]}, "
            "from 0); add them, or write partial=true to score those there are"
        )
    return sorted(found), [found[number] for number in sorted(found)]
