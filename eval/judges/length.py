"""AlpacaEval's length-controlled win rate (Dubois et al. 2024), computed by the alpaca_eval package itself.

A logistic model of the verdicts in the difference of lengths, the instruction's difficulty and the model, asked for its
prediction at equal lengths (arXiv 2404.04475). The difficulties and the regularising verdicts are the package's
df_gamed.csv, which lies on a hub; here it is read from a local file, named by its owner, since the package has no
option for that. The indices of that file are those of the 805 published instructions, in their order.
"""

from __future__ import annotations

import csv
import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from eval.errors import InputError
from eval.judges.annotator import quiet

# SHA-256 over the JSON list of the 805 instructions, in the order of tatsu-lab/alpaca_eval at cd543a1.
PUBLISHED_SHA256 = "c5770d532bf3f697768ed9a57a05d8b58b2617321ca65070620f059676e7c99a"
COLUMNS = {"model", "index", "instruction_difficulty", "preference", "std_delta_len", "not_gamed_baseline"}
INSTEAD = "name alpaca_eval's df_gamed.csv"


@dataclass(frozen=True)
class Controlled:
    """predictions: what each verdict would be at equal lengths, in [0, 1]; win_rate and standard_error of the package,
    percent: the mean of the predictions and its error. Instructions without a verdict have a prediction too."""

    predictions: list[float]
    win_rate: float
    standard_error: float


def sha256_of(path: Path) -> str:
    """Of the data file. Raises InputError if it is missing or has other columns."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"length_data={path}: {error.strerror}; {INSTEAD}") from None
    (header, *_) = [*csv.reader([content.partition(b"\n")[0].decode("utf-8-sig", "replace").strip()]), []]
    if missing := sorted(COLUMNS - set(header)):
        raise InputError(f"length_data={path}: no column {', '.join(missing)}; {INSTEAD}")
    return hashlib.sha256(content).hexdigest()


def length_controlled(
    preferences: Sequence[float | None],
    references: Sequence[str],
    outputs: Sequence[str],
    data: Path,
    rows: Sequence[int] | None = None,
    generators: tuple[str, str] = ("reference", "model"),
) -> Controlled:
    """The verdicts of one model, in [0, 1] or None, at equal lengths.

    rows: which of the published instructions each is about, from 0, ascending; None: all of `data`'s, in their order.
    generators: of the reference and of the model; equal names are a draw by construction, as in the package.
    Raises InputError for rows that `data` does not have, and for lengths that are all alike.
    """
    import pandas as pd

    with quiet():
        from alpaca_eval.metrics import glm_winrate
        from sklearn import config_context

    try:
        known = pd.read_csv(data)["index"].nunique()
    except (ValueError, KeyError) as error:
        raise InputError(f"length_data={data}: not a table ({error}); {INSTEAD}") from None
    if rows is None and len(preferences) != known:
        raise InputError(f"length_data={data} is of {known} instructions, there are {len(preferences)} verdicts")
    if rows is not None and (worst := max(rows, default=0)) >= known:
        raise InputError(f"length_data={data} is of {known} instructions, and has none of number {worst} (from 0)")
    gaps = {len(one) - len(other) for one, other in zip(references, outputs, strict=True)}
    if len(gaps) < 2 and generators[0] != generators[1]:
        raise InputError("length control: all outputs differ from their references by the same length")
    frame = pd.DataFrame(
        {
            "preference": [float("nan") if value is None else value + 1 for value in preferences],
            "output_1": list(references),
            "output_2": list(outputs),
            "generator_1": generators[0],
            "generator_2": generators[1],
        },
        index=None if rows is None else list(rows),
    )
    # The package knows only how to download its file.
    local = mock.patch.object(glm_winrate, "hf_hub_download", return_value=str(data))
    with quiet(), config_context(), warnings.catch_warnings(), local:
        warnings.simplefilter("ignore")  # the package's own, on deprecated arguments of scikit-learn
        found = glm_winrate.get_length_controlled_winrate(frame, save_weights_dir=None, is_warn_extreme_changes=False)
    predictions = [float(value) for value in frame["glm_preference"]]
    return Controlled(predictions, float(found["length_controlled_winrate"]), float(found["lc_standard_error"]))
