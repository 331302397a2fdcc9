"""Tables of the pruning, epsilon and seeds sweeps, and of the experts."""

import math

import pytest
from scipy import stats

from della.outcomes import read_runs
from della.tables.epsilon import Epsilons, epsilon_table
from della.tables.experts import experts_table, groups_table
from della.tables.pruning import pruning_study, pruning_summary, pruning_table
from della.tables.published import read_published
from della.tables.seeds import seeds_table, spread_interval
from tests.della.synthetic import pruning_records, record, unmerged_records


def right(count: int, of: int = 100) -> list[float]:
    return [1.0] * count + [0.0] * (of - count)


def pruned(method: str, count: int, p: float, **options) -> dict:
    return record(["math"], method, {"gsm8k": right(count)}, seed=1, drop_rate=p, **options)


def test_magprune_minus_dare_is_paired_by_drop_rate_and_stands_beside_table_6():
    """At 0.5: 80 - 70 = 10 points (paper .648 - .627 = 2.1), at 0.9: 60 - 40 = 20 (2.1); mean 15."""
    records = [pruned("dare", 70, 0.5), pruned("della", 80, 0.5), pruned("dare", 40, 0.9), pruned("della", 60, 0.9)]
    records.append(record(["math"], "unmerged", {"gsm8k": right(95)}))
    found = pruning_study(read_runs(records))
    table = pruning_table(found, read_published(), [])
    assert [row[1] for row in table.rows] == ["none", "0.5", "0.9", "mean"]
    assert table.header[2:4] == ["DARE", "MAGPRUNE, row"]
    assert [row[-2].split(" ")[0] for row in table.rows] == ["-", "+10.0", "+20.0", "+15.0"]
    assert [row[-1] for row in table.rows] == ["-", "+2.1", "+2.1", "-"]
    assert table.rows[0][2].startswith("95.0 [")
    assert table.rows[2][2].startswith("40.0 [")
    summary = pruning_summary(found, read_published(), [])
    assert [row[1].split(" ")[0] for row in summary.rows] == ["+10.0", "+20.0", "+15.0"]


def test_other_epsilons_and_ablations_stay_out_of_the_pruning_table():
    """Epsilon 0.14 has two drop rates, 0.4 has one: 0.14 is shown. No rescaling is another experiment."""
    records = [pruned("dare", 70, 0.5), pruned("della", 80, 0.5), pruned("della", 60, 0.9), pruned("dare", 40, 0.9)]
    records += [pruned("della", 99, 0.5, epsilon=0.4), pruned("della", 1, 0.5, rescale="none", rank_over="tensor")]
    found = pruning_study(read_runs(records))
    assert found.epsilon == 0.14
    assert found.variants == ["dare", "magnitude row"]
    assert found.score("math", "magnitude row", 0.5).value == pytest.approx(0.80)


def test_a_drop_rate_that_one_pruning_lacks_is_not_run():
    records = [pruned("dare", 70, 0.5), pruned("della", 80, 0.5), pruned("dare", 40, 0.9)]
    table = pruning_table(pruning_study(read_runs(records)), [], [])
    assert table.rows[2][3:5] == ["not run", "not run"]
    assert table.rows[3][4] == "not run"


def test_a_drop_rate_beyond_one_epsilon_is_shown_with_another():
    """Three rates ran with 0.14, 0.94 with 0.1 alone, which p + epsilon/2 < 1 allows; 0.5 with 0.1 stays out."""
    records = [pruned("dare", count, p) for count, p in ((75, 0.3), (70, 0.5), (40, 0.9), (20, 0.94))]
    records += [pruned("della", count, p) for count, p in ((79, 0.3), (80, 0.5), (60, 0.9))]
    records += [pruned("della", 30, 0.94, epsilon=0.1), pruned("della", 1, 0.5, epsilon=0.1)]
    found = pruning_study(read_runs(records))
    assert found.epsilons == {0.3: 0.14, 0.5: 0.14, 0.9: 0.14, 0.94: 0.1}
    assert found.epsilon_note == "MAGPRUNE: epsilon 0.14; 0.1 at drop rate 0.94."
    table = pruning_table(found, read_published(), [])
    assert [row[-2].split(" ")[0] for row in table.rows] == ["-", "+4.0", "+10.0", "+20.0", "+10.0", "+11.0"]
    assert [row[-1] for row in table.rows] == ["-", "+1.6", "+2.1", "+2.1", "+4.8", "-"]


def test_drop_rates_and_prunings_that_an_expert_was_left_out_of_are_no_rows_and_no_gaps():
    """Math alone ran at 0.9 and in proportion to the magnitude: Code has neither, and not "not run"."""
    records = [pruned("dare", 70, 0.5), pruned("della", 80, 0.5), pruned("dare", 40, 0.9), pruned("della", 60, 0.9)]
    records.append(pruned("della", 65, 0.9, rank_by="proportional"))
    records += [
        record(["code"], m, {"mbpp": right(n)}, seed=1, drop_rate=0.5) for m, n in (("dare", 50), ("della", 60))
    ]
    found = pruning_study(read_runs(records))
    table = pruning_table(found, [], [])
    assert table.header[4] == "proportional, row"
    assert [row[:2] for row in table.rows if row[0] == "Code"] == [["Code", x] for x in ("none", "0.5", "mean")]
    assert table.rows[1][4] == "not run"
    assert table.rows[2][4].startswith("65.0 [")
    assert [row[4] for row in table.rows if row[0] == "Code"] == ["-", "-", "-"]
    summary = pruning_summary(found, [], [])
    assert [row[2].split(" ")[0] for row in summary.rows] == ["+10.0", "-", "+10.0"]


def test_there_is_no_pruning_table_without_both_prunings():
    assert pruning_study(read_runs([pruned("della", 80, 0.5)])) is None


def test_mask_seeds_and_families_are_counted_in_the_pruning_table():
    table = pruning_table(pruning_study(read_runs(pruning_records())), [], [])
    lm = next(row for row in table.rows if row[:2] == ["LM", "0.5"])
    assert lm[2].endswith("n=180x2")
    assert {row["families"] for row in table.data if row["quantity"] == "score"} == {3}


def test_epsilons_are_compared_with_dare():
    """40, 50 and 55 of 100 at epsilons 0, 0.1 and 0.18: +10 and +15 points over epsilon 0."""
    records = [pruned("della", count, 0.9, epsilon=e) for count, e in ((40, 0.0), (50, 0.1), (55, 0.18))]
    records += [pruned("della", 70, 0.5, epsilon=e) for e in (0.0, 0.2)]
    found = Epsilons(read_runs(records))
    assert found.curves == {(("math",), 0.9, 1.0): [0.0, 0.1, 0.18]}
    table = epsilon_table(found, [])
    assert [row[3] for row in table.rows] == ["0", "0.1", "0.18"]
    assert [row[-1].split(" ")[0] for row in table.rows] == ["-", "+10.0", "+15.0"]
    assert table.rows[1][5].startswith("50.0 [")


def test_the_spread_over_mask_seeds_and_training_seeds():
    """Family 0: 50, 54 and family 1: 60, 64 of 100. Within: squares 8 + 8 over 2 freedoms: sd 2.83 points. Means 52 and
    62: sd 7.07 with one freedom. One run's prompts: sqrt(0.25 / 99) = 5.0 points at 50 %."""
    counts = {(0, 1): 50, (0, 2): 54, (1, 1): 60, (1, 2): 64}
    records = [
        record(["math", "code"], "della", {"gsm8k": right(c), "mbpp": right(c)}, seed=seed, family_seed=family)
        for (family, seed), c in counts.items()
    ]
    (row,) = seeds_table(read_runs(records), []).rows
    assert row[3].startswith("57.0 [")
    assert row[4] == "2"
    assert row[5].startswith("2.83 [")
    assert row[5].endswith("df=2")
    assert row[6].startswith("7.07 [")
    assert row[6].endswith("df=1")
    assert float(row[7]) == pytest.approx(100 * math.sqrt(0.25 / 99 / 2), abs=0.1)


def test_the_chi_squared_interval_of_a_spread():
    """Two degrees of freedom: chi-squared quantiles are -2 ln(1 - q), so 7.378 at 0.975 and 0.0506 at 0.025."""
    low, high = spread_interval(1.0, 2)
    assert low == pytest.approx(math.sqrt(2 / 7.3778), rel=1e-4)
    assert high == pytest.approx(math.sqrt(2 / 0.050636), rel=1e-4)
    assert stats.chi2.ppf(0.975, 2) == pytest.approx(-2 * math.log(0.025))


def test_without_several_seeds_there_is_no_table_of_seeds():
    single = record(["math", "code"], "ties", {"gsm8k": right(5), "mbpp": right(5)})
    assert seeds_table(read_runs([single]), []) is None


def test_an_expert_is_compared_with_the_best_of_the_others():
    """Math expert 90 on GSM8K, base 30, Code expert 40: it leads by 50 points over Code."""
    levels = {(): 30, ("math",): 90, ("code",): 40}
    records = [
        record(m, "unmerged", {"gsm8k": right(c), "mbpp": right(80 if m == ("code",) else 10)})
        for m, c in levels.items()
    ]
    table = experts_table(read_runs(records), [])
    rows = {row[1]: row for row in table.rows}
    assert rows["Math"][-1].startswith("+50.0 [")
    assert rows["Math"][-1].endswith("over Code")
    assert rows["Code"][-1].startswith("+70.0 [")
    assert rows["base"][-1] == "-"
    assert rows["base"][2] == "not run"


def test_every_training_seed_has_its_rows():
    table = experts_table(read_runs(unmerged_records(family_seeds=(0, 1, 2))), [])
    assert [row[0] for row in table.rows] == ["0"] * 4 + ["1"] * 4 + ["2"] * 4


def test_experts_scored_on_their_own_benchmarks_alone_make_no_table_of_experts():
    assert experts_table(read_runs([record(["math"], "unmerged", {"gsm8k": right(9)})]), []) is None


def test_groups_of_prompts_are_reported_apart():
    """Of 100 prompts the first 60 are seen and right, the other 40 held out and half of them right."""
    groups = ["seen"] * 60 + ["held_out"] * 40
    table = groups_table(read_runs([record(["math"], "unmerged", {"gsm8k": right(80)}, groups=groups)]), [])
    assert table.header[3:] == ["seen", "held out"]
    (row,) = table.rows
    assert row[:3] == ["0", "Math", "GSM8K"]
    assert row[3].startswith("100.0 [94.0, 100.0] n=60")
    assert row[4].startswith("50.0 [")
    assert row[4].endswith("n=40")


def test_without_groups_there_is_no_table_of_groups():
    runs = read_runs([record(["math"], "unmerged", {"gsm8k": right(80)}, groups=["test"] * 100)])
    assert groups_table(runs, []) is None
