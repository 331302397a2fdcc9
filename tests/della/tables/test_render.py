import csv
import io
import re

import pytest

from della.statistics import Estimate
from della.tables.render import (
    Table,
    escaped,
    gap_text,
    latex,
    long_csv,
    markdown,
    score_text,
    signed,
    write_table,
)

CELL = Estimate(value=0.85249, low=0.8291, high=0.87, error=0.01, n=500, seeds=(5, 5))


def table() -> Table:
    made = Table("demo", "A 50 % demo & more", ["Method", "rank_by", "score"], labels=2, notes=["p < 0.05"])
    made.rows = [["ta_elect", "a|b", score_text(CELL)], ["x", "y", score_text(None)]]
    made.rules = {0, 1}
    made.record(CELL, method="ta_elect", benchmark="gsm8k")
    made.record(None, method="x", benchmark="gsm8k")
    return made


def test_a_cell_has_its_interval_prompts_and_seeds():
    assert score_text(CELL) == "85.2 [82.9, 87.0] n=500x5"
    assert score_text(Estimate(0.5, 0.4, 0.6, 0.05, 80, seeds=(1, 1))) == "50.0 [40.0, 60.0] n=80"
    assert score_text(Estimate(0.5, 0.4, 0.6, 0.05, 80, seeds=(5, 10))) == "50.0 [40.0, 60.0] n=80x5-10"
    assert score_text(Estimate(0.5, 0.4, 0.6, 0.05, 80, nulls=3)) == "50.0 [40.0, 60.0] n=80 (3 null)"
    assert score_text(None) == "not run"


def test_a_difference_has_signs_and_a_rounded_zero_has_none():
    assert gap_text(Estimate(0.012, -0.0031, 0.0275, 0.01, 9), 2) == "+1.20 [-0.31, +2.75]"
    assert signed(-0.04) == "0.0"
    assert signed(0.04) == "0.0"
    assert signed(-0.06) == "-0.1"


def test_markdown_columns_line_up():
    """Every line of the table is as wide as every other, text to the left and numbers to the right."""
    lines = [line for line in markdown(table()).splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1
    assert lines[0].startswith("| Method   | rank_by |")
    assert lines[3].endswith("                  not run |")
    assert "a\\|b" in lines[2]


def test_latex_specials_are_escaped_and_rules_are_booktabs():
    text = latex(table(), "made by `x` at 50 %")
    assert r"ta\_elect" in text
    assert r"A 50 \% demo \& more" in text
    assert r"p \textless{} 0.05" in text
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 2, 1]
    assert re.search(r"ta\\_elect & a\|b & 85\.2 \[82\.9, 87\.0\] n=500x5 \\\\", text)
    assert escaped("\\{}$#^~>") == r"\textbackslash{}\{\}\$\#\textasciicircum{}\textasciitilde{}\textgreater{}"


def test_the_csv_has_full_precision_and_an_empty_value_for_what_has_not_run():
    first, rest = long_csv(table(), "source").split("\n", 1)
    assert first == "# source"
    rows = list(csv.DictReader(io.StringIO(rest)))
    assert float(rows[0]["value"]) == pytest.approx(85.249)
    assert (rows[0]["n"], rows[0]["mask_seeds"], rows[0]["quantity"]) == ("500", "5", "score")
    assert (rows[1]["value"], rows[1]["method"]) == ("", "x")


def test_the_three_files_are_written_with_their_source(tmp_path):
    paths = write_table(table(), tmp_path, "Made by `make` at commit 1.")
    assert [path.name for path in paths] == ["demo.md", "demo.tex", "demo.csv"]
    assert all("Made by `make` at commit 1." in path.read_text() for path in paths)
