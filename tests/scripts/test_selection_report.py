"""A sweep chosen on dev, then on test: one report of both, and what it says while one is missing."""

from pathlib import Path

from della.compact import read_compact, read_header
from della.record import load_records

PICO = ("experts=tiny_pico", "experts.max_new_tokens=4", "engine=hf", "tracking=none")
# The frame of Table 1 for one merge, two lambdas, three prompts a benchmark.
TABLE = (
    *("sweep=main_table", "sweep.merges=[[lm,math]]", "sweep.drop_rates=[0.5]", "sweep.lambdas=[1.0,1.5]"),
    *("sweep.dev_limit=3", "sweep.test_limit=3", "sweep.seeds=[1,2]"),
    *(f"sweep.grids.{name}.merge=[]" for name in ("average", "task_arithmetic", "dare", "dare_ties", "single")),
)


def test_records_of_both_selections_are_reported_together(call, work):
    """4 methods x 2 points choose. A sweep chosen on dev has no table of selection and says how to get one; with that
    of select=test both stand side by side, in one file of compact records, and Table 1 stays as it was."""
    assert call("run", *PICO, *TABLE, f"paths.work={work}").code == 0
    first = call("report", *PICO, *TABLE, f"paths.work={work}")
    assert "chosen on test: not run; for the tables of selection run" in first.out
    assert "SWEEP=main_table SELECT=test`" in first.out
    folder = work / "reports" / "tiny_pico" / "main_table"
    assert not (folder / "selection.md").exists()
    table1 = (folder / "table1.csv").read_text().splitlines()[1:]

    assert call("run", *PICO, *TABLE, "select=test", f"paths.work={work}").code == 0
    published = (f"paths.work={work}", f"paths.results={work}/results", "publish=true")
    Path("README.md").write_text("<!-- begin: main_table/selection_gaps -->\n<!-- end: main_table/selection_gaps -->\n")
    second = call("report", *PICO, *TABLE, *published)
    assert second.code == 0
    assert "**Selection: how many points of DELLA's gains are the choice's**" in second.out
    assert "| DELLA - TIES" in Path("README.md").read_text()
    folder = work / "results" / "tiny_pico"
    assert (folder / "main_table" / "table1.csv").read_text().splitlines()[1:] == table1
    command = "make sweep EXPERTS=tiny_pico SWEEP=main_table"
    assert read_header(folder / "main_table.jsonl")["command"] == f"{command} && {command} SELECT=test"
    kept = {record["identity"] for record in read_compact(folder / "main_table.jsonl")}
    assert kept == {record["identity"] for record in load_records(work / "records")}

    again = call("report", f"records={folder}/main_table.jsonl", *PICO, f"paths.work={work}")
    assert again.code == 0
    written = work / "reports" / "tiny_pico" / "main_table" / "selection.md"
    assert written.read_bytes() == (folder / "main_table" / "selection.md").read_bytes()

    records = [r for r in load_records(work / "records") if r["config"]["split"] == "test"]
    own = {r["identity"] for r in records if r["config"]["seed"] == 0}  # the choosing runs' mask seed
    (work / "records" / f"{min(own)}.json").unlink()
    short = call("report", *PICO, *TABLE, f"paths.work={work}")
    assert "chosen on test: left out, " in short.out
    assert "**Selection" not in short.out


def test_a_sweep_chosen_on_test_alone_has_no_choice_on_dev(call, work):
    assert call("run", *PICO, *TABLE, "select=test", f"paths.work={work}").code == 0
    reported = call("report", *PICO, *TABLE, "select=test", f"paths.work={work}")
    assert "chosen on dev: not run; for the tables of selection run" in reported.out
    rows = [line for line in reported.out.splitlines() if line.startswith("| LM+Math ") and "not run" in line]
    assert any("DELLA" in row for row in rows)
