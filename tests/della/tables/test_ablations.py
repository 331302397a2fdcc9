"""The paper's other comparisons: told from the records, beside the printed numbers, differences by hand."""

import math

import pytest

from della.outcomes import MERGES, read_runs
from della.report import build_report
from della.tables.ablation_study import AblationStudy
from della.tables.ablations import ABLATIONS, told
from tests.della.synthetic import epsilon_records, main_table_records, pruning_records, seeds_records
from tests.della.tables import ablations as made

LEVELS = {"ta_elect": (50, 40), "dare_elect": (56, 46), "ties": (60, 58), "della": (70, 62)}
MATH_CODE = ("code", "math")


def tables(records, **more):
    return build_report(records, "make", "1", **more).tables


def row(table, *labels):
    (found,) = [row for row in table.rows if tuple(row[: len(labels)]) == labels]
    return found


def starts(cells):
    return [cell.split(" ")[0] for cell in cells]


EACH = {
    "rescale_merge": made.rescaled_merge({"per_parameter": 70, "none": 30, "l1": 60}),
    "rescale_expert": made.rescaled_expert({0.3: 80, 0.5: 70}, {0.3: 60, 0.5: 30}),
    "no_elect": made.no_elect(LEVELS),
    "wanda": made.wanda({"wanda top": 40, "wanda": 50, "della": 60, "top": 55, "proportional": 58}),
    "drop_rates": made.by_drop_rate({0.1: 50, 0.3: 55, 0.5: 60, 0.7: 45, 0.9: 30}),
    "lambdas": made.by_lambda({0.5: 50, 1.0: 60, 1.5: 55, 2.0: 40}),
    "adaptive_lambda": made.adaptive(60, 55),
    "rank_over": made.rank_over({0.5: 60, 0.9: 50}, {0.5: 58, 0.9: 40}),
}


@pytest.mark.parametrize("name", EACH)
def test_records_of_a_comparison_give_its_two_tables_and_no_other(name):
    found = tables(EACH[name])
    assert list(found) == [name, f"{name}_gaps"]
    assert all("etectable" in " ".join(table.notes) for table in found.values())
    assert {row["table"] for table in found.values() for row in table.data} == set(found)


def test_every_comparison_is_tested_and_the_names_are_its_own():
    assert [ablation.name for ablation in ABLATIONS] == list(EACH)
    for ablation in ABLATIONS:
        keys = [variant.key for variant in ablation.variants]
        assert len(set(keys)) == len(keys)
        assert {key for pair in ablation.pairs for key in pair} <= set(keys)


def test_the_other_sweeps_tell_of_none():
    for records in (main_table_records(), pruning_records(), epsilon_records(), seeds_records()):
        runs = [run for run in read_runs(records) if run.split == "test"]
        assert told(runs, runs) == []


def test_a_search_on_the_test_prompts_is_no_curve_over_lambda():
    """The main table chosen on test prompts runs every drop rate and lambda there, which is a search."""
    lambdas, rates = (0.5, 1.0, 1.5, 2.0), (0.1, 0.3, 0.5, 0.7)
    more = {"merges": [MATH_CODE], "seed": 0}
    records = [r for p in rates for x in lambdas for r in made.merged("della", 50, drop_rate=p, lambda_=x, **more)]
    merges = [list(MATH_CODE)]
    grids = [{"method": "della", "merge": merges, "options": {"drop_rate": rates, "lambda_": lambdas}}]
    assert list(tables(records, select="test", grids=grids))[:2] == ["table1", "gaps"]
    assert list(tables(records, select="test"))[:2] == ["table1", "gaps"]
    on_dev = [made.run(MATH_CODE, "della", 50, drop_rate=0.1, lambda_=x, seed=0, split="dev") for x in lambdas]
    assert "table1" in tables(records + on_dev, grids=grids)  # chosen on both: the search on test is none either


def test_without_elect_beside_table_4_and_with_it_beside_table_1():
    table = tables(EACH["no_elect"])["no_elect"]
    assert table.header[2] == "Chosen"
    off = row(table, "Math+Code", "DELLA, no Elect")
    assert off[2:5] == ["p=0.5 lambda=1.5", "-", "-"]
    assert starts(off[5:]) == ["62.0", "48.7", "62.0", "8.6", "62.0", "28.6"]
    assert off[5].endswith("] n=100")
    on = row(table, "Math+Code", "DELLA, Elect")
    assert starts(on[5:]) == ["70.0", "64.9", "70.0", "20.0", "70.0", "42.4"]
    assert any("development prompts" in note for note in table.notes)
    assert "MAGPRUNE" not in " ".join(table.notes)
    assert "DELLA: epsilon 0.14 (full width)." in table.notes


def test_the_differences_of_election_by_hand():
    """DELLA 70 - 62 = 8 points for each merge and their mean; the paper's cells: LM+Math 72.9 - 70.2, mean of the four
    (2.7 + 7.3 + 13.8 - 0.1) / 4 = 5.925. Without Elect DELLA - TA is 62 - 40 = 22, the paper's 70.2 - 69.5."""
    table = tables(EACH["no_elect"])["no_elect_gaps"]
    label = "DELLA, Elect - DELLA, no Elect"
    one = row(table, label, "LM+Math")
    assert [one[2], one[3].split(" ")[0], one[4]] == ["+2.7", "+8.0", "200"]
    mean = row(table, label, "mean")
    assert [mean[2], mean[3].split(" ")[0], mean[4]] == ["+5.9", "+8.0", "300"]
    other = row(table, "DELLA, no Elect - TA, no Elect", "LM+Math")
    assert [other[2], other[3].split(" ")[0]] == ["+0.7", "+22.0"]
    assert len(table.rows) == 7 * 5


def test_the_error_and_the_p_value_of_a_difference_by_hand():
    """Math+Code, DELLA with and without Elect: 8 of 100 prompts differ on each of two benchmarks, all one way: error
    sqrt(2 x 0.08 x 0.92 / 100) / 2 = 1.918 points, t = 4.17, p = 3e-5, times 35 of Holm: 0.001."""
    table = tables(EACH["no_elect"])["no_elect_gaps"]
    gap = row(table, "DELLA, Elect - DELLA, no Elect", "Math+Code")
    assert float(gap[6]) == pytest.approx(2.8016 * 100 * math.sqrt(2 * 0.08 * 0.92 / 100) / 2, rel=0.03)
    assert float(gap[5].lstrip("< ")) == pytest.approx(0.001, abs=0.0005)
    assert "35 comparisons" in " ".join(table.notes)
    assert {d["quantity"] for d in table.data} == {"difference", "p, Holm"}


def test_what_has_not_run_says_so_and_keeps_the_papers_number():
    found = tables(made.no_elect({"della": (70, 62)}, [MATH_CODE]))
    assert row(found["no_elect"], "LM+Math", "TIES, no Elect")[2:6] == ["-", "not run", "72.1", "not run"]
    gaps = found["no_elect_gaps"]
    assert row(gaps, "DELLA, Elect - DELLA, no Elect", "Math+Code")[3].startswith("+8.0")
    assert row(gaps, "DELLA, Elect - DELLA, no Elect", "mean")[2:] == ["+5.9", "not run", "-", "-", "-"]


def test_before_anything_has_run_the_sweeps_blocks_tell_what_is_to_come():
    merges = [list(merge) for merge in MERGES]
    grids = [{"method": "ties", "merge": merges, "options": {"elect": [False], "lambda_": [1.0, 2.0]}}]
    found = tables([], grids=grids)
    assert list(found) == ["no_elect", "no_elect_gaps"]
    assert row(found["no_elect"], "LM+Code", "TIES, no Elect")[3:5] == ["not run", "64.9"]


def test_table_3_by_drop_rate():
    """With - without: 80 - 60 = 20 and 70 - 30 = 40, mean 30 points; DARE in the paper 8.8, 13.6, text 28.4."""
    found = tables(EACH["rescale_expert"])
    table = found["rescale_expert"]
    assert table.header == ["Expert", "Method", "Setting", "GSM8K", "paper"]
    assert table.rows[0][:3] == ["Math", "not pruned", "-"]
    assert table.rows[0][3].startswith("95.0 [")
    assert [r[1] for r in table.rows[1:5]] == [
        "DARE, with scaling",
        "DARE, without",
        "DELLA, with scaling",
        "DELLA, without",
    ]
    assert starts(row(table, "Math", "DELLA, without", "p=0.5 lambda=1")[3:]) == ["30.0", "34.9"]
    gaps = [r for r in found["rescale_expert_gaps"].rows if r[0].startswith("DARE")]
    assert [starts([r[2], r[3], r[4]]) for r in gaps] == [
        ["p=0.3", "+8.8", "+20.0"],
        ["p=0.5", "+13.6", "+40.0"],
        ["mean", "+28.4", "+30.0"],
    ]


def test_table_2s_numbers_stand_in_rows_of_their_own():
    """70 - 30 = 40 points with and without, 70 - 60 = 10 to the L1 norm."""
    found = tables(EACH["rescale_merge"])
    paper = row(found["rescale_merge"], "Math+Code", "paper, without")
    assert paper[2:] == ["-", "-", "42.2", "-", "25.6", "-", "33.9"]
    gaps = found["rescale_merge_gaps"]
    assert "paper" not in gaps.header
    assert starts([r[3] for r in gaps.rows]) == ["+40.0", "+10.0"] * 2


def test_table_7_by_drop_rate():
    """The paper's p = 0.5 minus itself is left out; p = 0.1: 50 - 60 = -10, the paper's .702 - .724 = -2.2 points."""
    found = tables(EACH["drop_rates"])
    cells = row(found["drop_rates"], "LM+Math", "DELLA", "p=0.9 lambda=1")
    assert starts(cells[3:]) == ["30.0", "68.3", "30.0", "45.5", "-", "-", "30.0", "57.0"]
    gaps = found["drop_rates_gaps"]
    assert len(gaps.rows) == 4 * 5
    assert starts(row(gaps, "DELLA, minus p=0.5", "LM+Math", "p=0.1 lambda=1")[3:5]) == ["-2.2", "-10.0"]
    assert not [r for r in gaps.rows if r[2] == "p=0.5 lambda=1"]


def test_figure_4_has_no_printed_numbers():
    """TA: 50, 55, 40 minus 60 at lambda 1."""
    found = tables(EACH["lambdas"])
    assert "paper" not in found["lambdas"].header
    gaps = [r for r in found["lambdas_gaps"].rows if r[0] == "TA, minus lambda=1"]
    assert [[r[2], r[3].split(" ")[0]] for r in gaps] == [
        ["lambda=0.5", "-10.0"],
        ["lambda=1.5", "-5.0"],
        ["lambda=2", "-20.0"],
    ]


def test_figure_5s_text_stands_beside_the_mean_over_merges():
    found = tables(EACH["adaptive_lambda"])
    cells = row(found["adaptive_lambda"], "LM+Code", "TIES, adaptive")
    assert cells[2] == "p=0.5 lambda adaptive"
    means = [r for r in found["adaptive_lambda_gaps"].rows if r[1] == "mean"]
    assert [[r[0], r[2], r[3].split(" ")[0]] for r in means] == [
        ["DARE, constant - DARE, adaptive", "+2.9", "+5.0"],
        ["TIES, constant - TIES, adaptive", "+2.3", "+5.0"],
        ["DELLA, constant - DELLA, adaptive", "+1.5", "+5.0"],
    ]


def test_a_constant_lambda_is_not_chosen_among_adaptive_runs():
    """On development prompts: adaptive 45, constant 45 at lambda 1 and less elsewhere; each keeps its own."""
    grids = [
        {"method": "ties", "merge": [list(MATH_CODE)], "options": options | {"drop_rate": [0.5]}}
        for options in ({"lambda_": [0.5, 1.0, 2.0]}, {"lambda_by": ["adaptive"]})
    ]
    (ablation,) = (a for a in ABLATIONS if a.name == "adaptive_lambda")
    found = AblationStudy(ablation, read_runs(made.adaptive(60, 55, [MATH_CODE])), grids, "dev")
    (constant,) = found.choices[MATH_CODE, "ties constant"]
    (adaptive,) = found.choices[MATH_CODE, "ties adaptive"]
    assert (constant.points, constant.of, adaptive.points, adaptive.of) == (3, 3, 1, 1)
    assert constant.method.get("lambda_by", "constant") == "constant"
    assert adaptive.method["lambda_by"] == "adaptive"


def test_figure_6_compares_at_equal_drop_rates():
    """p = 0.5: 60 - 58 = 2; p = 0.9: 50 - 40 = 10; the mean is over the four merges at each."""
    gaps = tables(EACH["rank_over"])["rank_over_gaps"]
    assert [r[1:3] for r in gaps.rows[-2:]] == [["mean", "p=0.5 lambda=1"], ["mean", "p=0.9 lambda=1"]]
    assert starts([r[3] for r in gaps.rows[-2:]]) == ["+2.0", "+10.0"]
    assert gaps.rows[-1][4] == "300x2"


def test_table_5s_three_columns_and_ours():
    found = tables(EACH["wanda"])
    assert starts(row(found["wanda"], "LM+Code", "WANDA, p=0/1")[3:5]) == ["40.0", "54.8"]
    assert starts(row(found["wanda"], "LM+Code", "DELLA, p by magnitude")[3:5]) == ["58.0", "-"]
    gaps = found["wanda_gaps"]
    wanted = {"DELLA, p by rank - WANDA, p by rank": ["+1.0", "+10.0"]}  # 72.9 - 71.9, 60 - 50
    wanted["DELLA, p by rank - WANDA, p=0/1"] = ["+2.1", "+20.0"]
    wanted["magnitude, p=0/1 - WANDA, p=0/1"] = ["-", "+15.0"]
    wanted["DELLA, p by rank - DELLA, p by magnitude"] = ["-", "+2.0"]
    assert {r[0]: starts(r[2:4]) for r in gaps.rows if r[1] == "LM+Math"} == wanted


def test_two_windows_are_two_settings_and_one_is_not_mentioned():
    records = made.rank_over({0.5: 60}, {0.5: 58}, [MATH_CODE])
    more = [
        made.run(MATH_CODE, "della", 66, seed=1, drop_rate=0.5, epsilon=0.4, rank_over=r) for r in ("row", "tensor")
    ]
    assert [r[2] for r in tables(records)["rank_over_gaps"].rows if r[1] == "Math+Code"] == ["p=0.5 lambda=1"]
    found = tables(records + more)["rank_over_gaps"].rows
    assert [r[2] for r in found if r[1] == "Math+Code"] == [
        "p=0.5 lambda=1 epsilon=0.14",
        "p=0.5 lambda=1 epsilon=0.4",
    ]


def test_training_seeds_are_averaged():
    """Row minus tensor is 2 points in family 0 and 6 in family 1: 4, on 200 prompts a benchmark."""
    records = made.rank_over({0.5: 60}, {0.5: 58}, [MATH_CODE])
    for tensor, over in ((64, "row"), (58, "tensor")):
        for seed in (1, 2):
            records.append(
                made.run(MATH_CODE, "della", tensor, seed=seed, drop_rate=0.5, rank_over=over, family_seed=1)
            )
    (gap,) = [r for r in tables(records)["rank_over_gaps"].rows if r[1] == "Math+Code"]
    assert gap[3].startswith("+4.0")
    assert gap[4] == "400x2"
