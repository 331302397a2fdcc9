"""The tables of selection: by hand, beside Table 1, and what they say when a part has not run."""

import pytest

from della.compact import read_compact, write_compact
from della.nested import Selections, grid_name
from della.outcomes import read_runs
from della.report import build_report
from della.tables.selection import selection_tables
from tests.della.synthetic import main_table_records, record

MERGE = ["math", "code"]
RATES = [0.3, 0.5]
GRIDS = [
    {"merge": [MERGE], "method": "della", "options": {"drop_rate": RATES}},
    {"merge": [MERGE], "method": "ties", "options": {"drop_rate": RATES}},
]


def right(count: int, of: int = 30) -> list[float]:
    return [1.0] * count + [0.0] * (of - count)


def tried(method: str, p: float, count: int, split: str = "test", seed: int | None = 0) -> dict:
    """A point that is right on the first `count` of 30 prompts of both benchmarks."""
    seed = seed if method == "della" else None
    return record(MERGE, method, {"gsm8k": right(count), "mbpp": right(count)}, seed=seed, split=split, drop_rate=p)


def both() -> list[dict]:
    """DELLA: 0.5 best on dev, 0.3 on test, on every prompt at least as good. TIES: 0.3 on both."""
    records = [tried("della", 0.3, 12, "dev"), tried("della", 0.5, 15, "dev")]
    records += [tried("ties", 0.3, 9, "dev"), tried("ties", 0.5, 6, "dev")]
    records += [tried("della", 0.3, 21), tried("della", 0.5, 18), tried("ties", 0.3, 12), tried("ties", 0.5, 9)]
    return records + [tried("della", p, 15, seed=seed) for p in RATES for seed in (1, 2)]


def without(keep) -> list[dict]:
    return [r for r in both() if keep(r["config"])]


def test_three_choices_by_hand():
    """DELLA on test: 0.5 has 18 of 30, 60 %; 0.3 has 21, 70 %, and as it is nowhere worse and the first of equals every
    part of the prompts chooses it: nested 70 %, no selection. TIES 12 of 30, 40 %. Other masks 15 of 30: 20 less."""
    methods, _ = selection_tables(read_runs(both()), GRIDS, ["about"])
    ties, della = methods.rows
    assert della[:4] == ["Math+Code", "DELLA", "p=0.5* lambda=1", "p=0.3* lambda=1"]
    assert [cell.split(" ")[0] for cell in della[4:7]] == ["60.0", "70.0", "70.0"]
    assert della[7] == "0.00 [0.00, 0.00]"
    assert della[9].startswith("-20.00 [")
    assert ties[:4] == ["Math+Code", "TIES", "p=0.3* lambda=1", "p=0.3* lambda=1"]
    assert [cell.split(" ")[0] for cell in ties[4:6]] == ["40.0", "40.0"]
    assert ties[9] == "-"
    assert methods.notes[0] == "about"
    assert methods.notes[1] == (
        "Choosing on the test prompts adds to a score, mean over merges, points: "
        "TIES 0.00 [0.00, 0.00], DELLA 0.00 [0.00, 0.00]."
    )


def test_a_gap_and_its_selection_by_hand():
    """DELLA - TIES: 60 - 40 with dev's choices, 70 - 40 with test's, 50 - 40 with other masks of test's choice."""
    _, gaps = selection_tables(read_runs(both()), GRIDS, [])
    row = gaps.rows[0]
    assert row[:2] == ["DELLA - TIES", "Math+Code"]
    assert [cell.split(" ")[0] for cell in (row[2], row[3], row[6])] == ["+20.00", "+30.00", "+10.00"]
    naive, nested, selection = (float(cell.split(" ")[0]) for cell in row[3:6])
    assert selection == pytest.approx(naive - nested, abs=0.011)
    assert [r[2:] for r in gaps.rows[1:]] == [["not run"] * 5] * 3


def test_without_runs_on_dev_the_choice_on_dev_is_not_run():
    on_test = without(lambda c: c["split"] == "test" and (c["seed"] in (0, None) or c["method"]["drop_rate"] == 0.3))
    methods, gaps = selection_tables(read_runs(on_test), GRIDS, [])
    assert [row[2] for row in methods.rows] == ["not run"] * 2
    assert [row[4] for row in methods.rows] == ["not run"] * 2
    assert methods.rows[0][5].startswith("40.0")
    assert gaps.rows[0][2] == "not run"
    assert gaps.rows[0][3].startswith("+30.00")


def test_without_final_runs_other_masks_are_not_run():
    methods, gaps = selection_tables(read_runs(without(lambda c: c["seed"] in (0, None))), GRIDS, [])
    assert [row[9] for row in methods.rows] == ["-", "not run"]
    assert gaps.rows[0][6] == "not run"


def test_without_whole_grids_on_test_there_is_no_table():
    """A sweep that chose on dev has test runs of one point a method, TIES's and DELLA's new masks."""
    chosen = without(lambda c: c["split"] == "dev" or (c["seed"] in (1, 2) and c["method"]["drop_rate"] == 0.5))
    assert selection_tables(read_runs(chosen), GRIDS, []) == []


def test_a_grid_that_lacks_a_point_is_left_out_and_named():
    part = without(lambda c: c["method"]["name"] != "ties" or c["method"]["drop_rate"] == 0.3)
    methods, gaps = selection_tables(read_runs(part), GRIDS, [])
    assert [row[1] for row in methods.rows] == ["DELLA"]
    assert "Not run on all points of the grid: Math+Code TIES 1 of 2." in methods.notes
    assert gaps.rows[0][2:] == ["not run"] * 5


def test_a_method_with_one_point_has_nothing_to_choose():
    single = [g | {"options": {"drop_rate": [0.3]}} if g["method"] == "ties" else g for g in GRIDS]
    assert [row[1] for row in selection_tables(read_runs(both()), single, [])[0].rows] == ["DELLA"]


def test_ablations_have_a_name_of_their_own():
    """No elect on both sides: the gap is between the two that share it."""
    plain = {"merge": [MERGE], "method": "della", "options": {"drop_rate": RATES, "epsilon": [0.14]}}
    assert grid_name(plain) == ("della", "")
    assert grid_name(plain | {"options": {"drop_rate": RATES, "elect": [False]}}) == ("della", "elect=False")
    records = []
    for method, count in (("della", 21), ("ties", 12)):
        for p in RATES:
            scores = {name: right(count) for name in ("gsm8k", "mbpp")}
            seed = 0 if method == "della" else None
            records.append(record(MERGE, method, scores, seed=seed, drop_rate=p, elect=False))
    grids = [grid | {"options": {"drop_rate": RATES, "elect": [False]}} for grid in GRIDS]
    methods, gaps = selection_tables(read_runs(both() + records), [*GRIDS, *grids], [])
    assert [row[1] for row in methods.rows] == ["TIES", "TIES elect=False", "DELLA", "DELLA elect=False"]
    shown = [row[3].split(" ")[0] for row in gaps.rows if row[0] == "DELLA - TIES"]
    assert shown == ["+30.00", "+30.00"]


def test_training_seeds_are_averaged():
    """Family 0 as above, family 1 with DELLA right on all: the mean of 70 and 100 is 85 %."""
    more = []
    for r in both():
        method, split, seed = (r["config"][name] for name in ("method", "split", "seed"))
        count = 30 if method["name"] == "della" else 12
        scores = {"gsm8k": right(count), "mbpp": right(count)}
        more.append(
            record(MERGE, method["name"], scores, seed=seed, split=split, family_seed=1, drop_rate=method["drop_rate"])
        )
    found = Selections(read_runs(both() + more), GRIDS)
    assert found.cells[("code", "math"), ("della", "")].naive[0] == pytest.approx(0.85)


@pytest.fixture(scope="module")
def reports():
    one, both = main_table_records(), main_table_records(choose_on=("dev", "test"))
    return {name: build_report(records, "make", "1") for name, records in (("dev", one), ("both", both))}


def test_with_both_selections_every_other_table_stays_as_it_is(reports):
    """The runs that only the choice on test made show in the tables of selection and nowhere else."""
    dev, both = reports["dev"].tables, reports["both"].tables
    assert set(both) - set(dev) == {"selection", "selection_gaps"}
    for name, table in dev.items():
        assert both[name] == table, name


def test_all_methods_and_merges_have_a_row_and_the_gaps_of_all_merges_come_first(reports):
    tables = reports["both"].tables
    assert len(tables["selection"].rows) == 4 * 7
    assert [row[:2] for row in tables["selection_gaps"].rows[:4]] == [
        ["DELLA - TIES", "all"],
        ["DELLA - DARE", "all"],
        ["DELLA - mean of TIES and DARE", "all"],
        ["DELLA - TA", "all"],
    ]
    assert len(tables["selection_gaps"].rows) == 4 + 4 * 3
    notes = tables["selection_gaps"].notes
    assert sum(" as chosen and scored on test, " in note for note in notes) == 4
    for name in ("selection", "selection_gaps"):
        assert any("etectable" in note for note in tables[name].notes)


def test_compact_records_hold_both_selections(reports, tmp_path):
    """Written, read back and reported without the sweep's grids: the same tables."""
    path = tmp_path / "main_table.jsonl"
    write_compact(path, main_table_records(choose_on=("dev", "test")), command="make", commit="1")
    again = build_report(read_compact(path), "make", "1")
    assert again.fragments == reports["both"].fragments
