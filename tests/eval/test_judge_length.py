"""The length-controlled win rate: alpaca_eval's own, from a local file of its data."""

import hashlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from eval.errors import InputError
from eval.judge import read_annotations
from eval.judges.length import COLUMNS, PUBLISHED_SHA256, length_controlled
from tests.eval.pairs import by_hash, draw, make
from tests.eval.scripted_endpoint import ScriptedEndpoint


@pytest.fixture(scope="module")
def annotations(real_data) -> list[dict]:
    return read_annotations(real_data / "alpaca_eval" / "wizardlm-13b_alpaca_eval_gpt4_annotations.json")


@pytest.fixture(scope="module")
def gamed(tmp_path_factory) -> Path:
    """A stand-in for alpaca_eval's df_gamed.csv: two gamed models' verdicts on every instruction, made up."""
    path = tmp_path_factory.mktemp("gamed") / "df_gamed.csv"
    columns = ["model", "index", "instruction_difficulty", "preference", "std_delta_len", "not_gamed_baseline"]
    assert set(columns) == COLUMNS
    lines = [",".join(columns)]
    for model in ("verbose", "concise"):
        for index in range(805):
            difficulty, preference = 2 * draw(f"d{index}") - 1, draw(f"p{model}{index}")
            delta = (1 if model == "verbose" else -1) * (0.5 + draw(f"l{index}"))
            lines.append(f"{model},{index},{difficulty},{preference},{delta},False")
    path.write_text("\n".join(lines) + "\n")
    return path


ORACLE = """
import json, sys
import pandas as pd
from alpaca_eval.metrics import get_length_controlled_winrate
frame = pd.DataFrame(json.load(open(sys.argv[1])))
row = get_length_controlled_winrate(frame, save_weights_dir=None)
print(json.dumps([row["length_controlled_winrate"], row["lc_standard_error"]]))
"""


def test_the_length_controlled_win_rate_is_the_packages_own(annotations, gamed, tmp_path):
    """The package's function, unchanged, in a process of its own that finds the file in a hub's cache made for it."""
    preferences = [None if r["preference"] is None else (r["preference"] or 1.5) - 1 for r in annotations]
    references, outputs = [r["output_1"] for r in annotations], [r["output_2"] for r in annotations]
    found = length_controlled(preferences, references, outputs, gamed)

    folder = tmp_path / "hub" / "datasets--tatsu-lab--alpaca_eval"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    (folder / "snapshots" / ("0" * 40)).mkdir(parents=True)
    (folder / "snapshots" / ("0" * 40) / "df_gamed.csv").write_bytes(gamed.read_bytes())
    keys = ("instruction", "output_1", "output_2", "generator_1", "generator_2", "preference")
    rows = [{key: row[key] for key in keys} for row in annotations]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ORACLE, tmp_path / "rows.json"],
        env={**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    rate, error = json.loads(done.stdout.splitlines()[-1])
    assert (found.win_rate, found.standard_error) == (rate, error)
    mean = math.fsum(found.predictions) / 805
    assert 100 * mean == pytest.approx(rate, abs=1e-9)
    variance = math.fsum((value - mean) ** 2 for value in found.predictions) / 804
    assert 100 * math.sqrt(variance / 805) == pytest.approx(error, abs=1e-9)


def test_the_published_instructions_have_the_metric_and_others_do_not(real_data, gamed, tmp_path, capsys):
    documents = json.loads((real_data / "alpaca_eval" / "text_davinci_003_outputs.json").read_text())
    outputs = json.loads((real_data / "alpaca_eval" / "wizardlm-13b_outputs.json").read_text())
    text = json.dumps([document["instruction"] for document in documents])
    assert hashlib.sha256(text.encode()).hexdigest() == PUBLISHED_SHA256
    texts = [row["output"] for row in outputs]
    with ScriptedEndpoint(by_hash) as endpoint:
        judge = make(endpoint.url, tmp_path, length_data=gamed)
        metrics = judge.extra_metrics(texts, documents)
        assert list(metrics) == ["win_rate_lc"]
        assert len(metrics["win_rate_lc"]) == 805
        assert all(0 <= value <= 1 for value in metrics["win_rate_lc"])
        assert judge.extra_metrics(texts[:9], documents[:9]) == {}
        judge.accept(documents[:9])
    assert "no win_rate_lc: its data is of the 805 published instructions" in capsys.readouterr().err
    assert judge.identity()["alpaca_eval"]["length_data"] == hashlib.sha256(gamed.read_bytes()).hexdigest()


def test_length_data_that_is_missing_or_something_else_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"length_data=.*nix\.csv: No such file"):
        make("http://127.0.0.1:1/v1", tmp_path, length_data=tmp_path / "nix.csv")
    (tmp_path / "other.csv").write_text("a,b\n")
    with pytest.raises(InputError, match=r"no column index, instruction_difficulty"):
        make("http://127.0.0.1:1/v1", tmp_path, length_data=tmp_path / "other.csv")
