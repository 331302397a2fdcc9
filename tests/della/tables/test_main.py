import pytest

from della.outcomes import EXPERT_BENCHMARK, MERGES, read_runs
from della.report import build_report
from della.selection import choose_runs, final_runs, grids_of
from della.tables.main import gaps_table, main_study, main_table
from della.tables.published import Table1, read_published
from tests.della.synthetic import main_table_records, record

PAPER = Table1(read_published())
RIGHT = {"ta_elect": 50, "dare_elect": 56, "ties": 60, "della": 70}
SEEDS = {"ta_elect": [None], "ties": [None], "dare_elect": [1, 2], "della": [1, 2]}


def runs(methods=tuple(RIGHT)) -> list[dict]:
    """Each method right on the first 50, 56, 60 or 70 of 100 prompts of every benchmark, whatever the seed."""
    out = []
    for merge in MERGES:
        for method in methods:
            scores = {EXPERT_BENCHMARK[e]: [1.0] * RIGHT[method] + [0.0] * (100 - RIGHT[method]) for e in merge}
            out += [record(merge, method, scores, seed=seed, lambda_=1.0) for seed in SEEDS[method]]
    return out


def study(records):
    found = read_runs(records)
    return main_study(final_runs(found, []), [run for run in found if run.method == "unmerged"])


def row(table, *labels):
    (found,) = [row for row in table.rows if tuple(row[: len(labels)]) == labels]
    return found


def test_ours_stand_beside_the_papers():
    table = main_table(study(runs()), [], PAPER, [])
    cells = row(table, "LM+Code", "DELLA")
    assert cells[3].startswith("70.0 [")
    assert cells[3].endswith("] n=100x2")
    assert cells[4:7] == ["79.7", "-", "-"]
    assert cells[7].startswith("70.0 [")
    assert cells[8] == "35.2"
    assert cells[9].endswith("] n=200x2")
    assert cells[10] == "57.5"


def test_what_has_not_run_says_so_and_keeps_the_papers_number():
    table = main_table(study(runs(["ta_elect"])), [], PAPER, [])
    assert row(table, "LM+Math", "DELLA")[3:7] == ["not run", "81.8", "not run", "64.1"]
    assert row(table, "LM expert")[2:] == ["-", "not run", "80.8", "not run", "45.9", "not run", "31.4", "-", "-"]
    assert row(table, "base")[3:5] == ["not run", "-"]
    assert len(table.rows) == 16 + 16 + 4


def test_the_gaps_are_those_of_the_means_of_the_four_averages():
    """70 - 60 = 10, 70 - 56 = 14, their mean 12, 70 - 50 = 20 points, paired: the same 30 prompts of 100 fail for all.

    DELLA - TIES: one prompt in ten differs, on each of three benchmarks that enter the mean of four merges' Avg with
    weights LM 1/8 + 1/8 + 1/12 = 1/3 and the same for the others: error = sqrt(3 (1/3)^2 0.09 / 100) = 1.732 points.
    """
    table = gaps_table(study(runs()), PAPER)
    head = [line[:5] for line in table.rows[:4]]
    assert [line[2] for line in head] == ["+3.6", "+1.2", "+2.4", "+11.1"]
    assert [line[3] for line in head] == ["+3.60", "+1.20", "+2.40", "+11.15"]
    assert [line[4].split(" ")[0] for line in head] == ["+10.00", "+14.00", "+12.00", "+20.00"]
    assert table.rows[0][5] == "300x2"
    assert float(table.rows[0][6]) == pytest.approx(2.8016 * 1.732, rel=0.03)
    low, high = (table.data[0][end] for end in ("low", "high"))
    assert (low, high) == pytest.approx((10 - 1.96 * 1.732, 10 + 1.96 * 1.732), abs=0.35)


def test_a_gap_by_merge_is_the_difference_of_two_average_cells():
    table = gaps_table(study(runs()), PAPER)
    assert row(table, "DELLA - TA", "Math+Code")[2:5][:2] == ["-", "+3.00"]
    assert row(table, "DELLA - TA", "Math+Code")[4].startswith("+20.00 [")


def test_a_gap_of_a_method_that_lacks_a_merge_is_not_run():
    some = [r for r in runs() if r["config"]["method"]["name"] != "ties" or r["config"]["merge"] != ["code", "lm"]]
    table = gaps_table(study(some), PAPER)
    assert [line[4].split(" ")[0] for line in table.rows[:4]] == ["not", "+14.00", "not", "+20.00"]
    assert row(table, "DELLA - TIES", "LM+Math")[4].startswith("+10.00")


def test_choices_and_their_edges_are_shown_and_counted():
    records = main_table_records()
    found = read_runs(records)
    choices = choose_runs(found, grids_of(found))
    table = build_report(records, "make", "1").tables["table1"]
    shown = row(table, "LM+Math", "DARE")[2]
    (choice,) = [c for c in choices if (c.merge, c.name) == (("lm", "math"), "dare_elect")]
    assert shown == choice.label
    flagged = sum(bool(c.edges) for c in choices)
    assert any(f"({flagged} of {len(choices)} choices)" in note for note in table.notes)


def test_the_protocol_the_family_the_engine_and_the_judge_are_named():
    notes = " ".join(build_report(main_table_records(), "make", "1").tables["table1"].notes)
    assert "chosen on development prompts" in notes
    assert "Family tiny; engine vllm float32; AlpacaEval's judge: rules; training seed 0." in notes
    assert "epsilon 0.14" in notes


def test_a_choice_on_the_test_prompts_is_labelled_optimistic():
    """TIES scores 7 and 9 of 10 on the test prompts at lambda 0.5 and 1: it is shown with 9, its best there."""
    records = [
        record(
            ["math", "code"], "ties", {name: [1.0] * count + [0.0] * (10 - count) for name in ("gsm8k", "mbpp")}, **o
        )
        for count, o in ((7, {"lambda_": 0.5}), (9, {"lambda_": 1.0}))
    ]
    table = build_report(records, "make", "1", select="test").tables["table1"]
    assert any("as the paper did: optimistic" in note for note in table.notes)
    assert row(table, "Math+Code", "TIES", "p=0.8 lambda=1*")[5].startswith("90.0 [")


def test_a_grid_with_missing_points_is_named():
    records = [
        r
        for r in main_table_records()
        if (r["config"]["merge"], r["config"]["split"]) != (["code", "lm"], "dev")
        or r["config"]["method"].get("drop_rate") != 0.9
        or r["config"]["method"]["name"] != "ties"
    ]
    notes = build_report(records, "make", "1").tables["table1"].notes
    assert "LM+Code TIES: chosen among 6 of 9 points; the others have not run." in notes
