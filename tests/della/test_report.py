import random
import re

import pytest

from della.errors import InputError
from della.report import build_report, splice, write_report
from tests.della.synthetic import (
    epsilon_records,
    main_table_records,
    pruning_records,
    record,
    seeds_records,
)


def everything() -> list[dict]:
    found = main_table_records() + pruning_records() + epsilon_records() + seeds_records()
    return list({r["identity"]: r for r in found}.values())


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    return out, write_report(everything(), out, "make reproduce", "abc1234")


def test_every_table_and_figure_is_written(written):
    out, paths = written
    tables = ("table1", "gaps", "experts", "experts_groups", "pruning", "epsilon", "seeds", "noise", "common")
    figures = ("drop_rate", "lambda", "pruning", "epsilon")
    names = {f"{t}.{e}" for t in tables for e in ("md", "tex", "csv")}
    assert {path.name for path in paths} == names | {f"{f}.{e}" for f in figures for e in ("png", "pdf")}
    assert {path.name for path in out.iterdir()} == {path.name for path in paths}


def test_records_in_another_order_give_the_same_bytes(written, tmp_path):
    _, paths = written
    shuffled = everything()
    random.Random(0).shuffle(shuffled)
    for one, other in zip(paths, write_report(shuffled, tmp_path, "make reproduce", "abc1234"), strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


def test_every_file_names_the_command_and_the_commit_and_no_day(written):
    _, paths = written
    for path in paths:
        data = path.read_bytes()
        assert b"make reproduce" in data, path.name
        assert b"abc1234" in data, path.name
        assert b"CreationDate" not in data, path.name
        assert not re.search(rb"tIME", data), path.name


def test_markdown_latex_and_csv_hold_the_same_numbers(written):
    out, _ = written
    cell = re.compile(r"(-?\d+\.\d) \[(-?\d+\.\d), (-?\d+\.\d)\] n=")
    text = (out / "table1.md").read_text()
    assert len(cell.findall(text)) > 80
    assert cell.findall(text) == cell.findall((out / "table1.tex").read_text())
    rows = [line.split(",") for line in (out / "table1.csv").read_text().splitlines()[1:]]
    columns = [rows[0].index(name) for name in ("value", "low", "high")]
    numbers = {tuple(f"{float(row[i]):.1f}" for i in columns) for row in rows[1:] if row[columns[0]]}
    assert numbers == set(cell.findall(text))


def test_a_sweep_that_chooses_nothing_has_no_table_1():
    report = build_report(pruning_records(), "make", "1", grids=[])
    assert list(report.tables) == ["experts", "experts_groups", "pruning"]
    assert list(report.fragments) == [*report.tables, "pruning_summary"]


def test_without_records_table_1_says_not_run_everywhere():
    report = build_report([], "make", "1")
    assert list(report.tables) == ["table1", "gaps"]
    assert report.tables["table1"].rows[0][3:7] == ["not run", "79.1", "not run", "60.6"]
    assert report.figures == {}


def test_records_of_two_engines_are_refused():
    one = record(["math"], "dare", {"gsm8k": [1.0]}, seed=1)
    other = record(["math"], "dare", {"gsm8k": [1.0]}, seed=2, engine="hf")
    with pytest.raises(InputError, match=r"more than one engine \(hf float32, vllm float32\)"):
        build_report([one, other], "make", "1")


def test_fragments_are_put_between_their_markers(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("a\n<!-- begin: gaps -->\nold\n<!-- end: gaps -->\nb\n<!-- begin: x -->\nkept\n<!-- end: x -->\n")
    kept = splice(readme, {"gaps": "new\n", "unused": "?"})
    assert kept == ["x"]
    assert readme.read_text() == (
        "a\n<!-- begin: gaps -->\nnew\n<!-- end: gaps -->\nb\n<!-- begin: x -->\nkept\n<!-- end: x -->\n"
    )
    splice(readme, {"gaps": "new\n"})
    assert readme.read_text().count("new") == 1


def test_a_marker_without_an_end_is_an_input_error_and_changes_nothing(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("<!-- begin: gaps -->\n")
    with pytest.raises(InputError, match="has no `<!-- end: gaps -->`"):
        splice(readme, {"gaps": "new"})
    assert readme.read_text() == "<!-- begin: gaps -->\n"
