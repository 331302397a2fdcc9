"""AlpacaEval's length-controlled win rate (Dubois et al. 2024), computed by the alpaca_eval package itself.

A logistic model of the verdicts in the difference of lengths, the instruction's difficulty and the model, asked for its
prediction at equal lengths. The difficulties and the regularising verdicts are the package's df_gamed.csv, which lies
on a hub; here it is read from a local file, named by its owner, since the package has no option for that.
The indices of that file are those of the 805 published instructions, in their order.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path

from eval.errors import InputError

# SHA-256 over the JSON list of the 805 instructions, in the order of tatsu-lab/alpaca_eval at cd543a1.
PUBLISHED_SHA256 = "c5770d532bf3f697768ed9a57a05d8b58b2617321ca65070620f059676e7c99a"
COLUMNS = {"model", "index", "instruction_difficulty", "preference", "std_delta_len", "not_gamed_baseline"}


def sha256_of(path: Path) -> str:
    """Of the data file. Raises InputError if it is missing or has other columns."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"judge.length_data={path}: {error.strerror}; name alpaca_eval's df_gamed.csv") from None
    header = content.partition(b"\n")[0].decode("utf-8", "replace").strip()
    if missing := sorted(COLUMNS - set(header.split(","))):
        raise InputError(f"judge.length_data={path}: no column {', '.join(missing)}; name alpaca_eval's df_gamed.csv")
    return hashlib.sha256(content).hexdigest()


def length_controlled(
    preferences: Sequence[float | None], references: Sequence[str], outputs: Sequence[str], data: Path
) -> list[float]:
    """One prediction in [0, 1] per instruction, of the 805 in their order: what the verdict would be at equal lengths.

    100 times their mean is the package's length_controlled_winrate, their standard error its lc_standard_error;
    instructions without a verdict have a prediction too, and count there as they do in the package.
    """
    import pandas as pd
    from alpaca_eval.metrics import glm_winrate
    from sklearn import config_context

    frame = pd.DataFrame(
        {
            "preference": [float("nan") if value is None else value + 1 for value in preferences],
            "output_1": list(references),
            "output_2": list(outputs),
            "generator_1": "reference",
            "generator_2": "model",
        }
    )
    download = glm_winrate.hf_hub_download
    glm_winrate.hf_hub_download = lambda **_: str(data)
    try:
        with config_context(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the package's own, on deprecated arguments of scikit-learn
            glm_winrate.get_length_controlled_winrate(frame, save_weights_dir=None, is_warn_extreme_changes=False)
    finally:
        glm_winrate.hf_hub_download = download
    return [float(value) for value in frame["glm_preference"]]
