import pytest

from della.outcomes import read_runs
from della.selection import as_selected, choose, choose_runs, complete_families, final_runs, grid_size, grids_of
from tests.della.synthetic import record

MERGE = ["math", "code"]
GRID = {"merge": [MERGE], "method": "dare_elect", "options": {"drop_rate": [0.3, 0.5, 0.7], "lambda_": [0.5, 1.0, 1.5]}}


def dev(right: int, *, seed: int | None = 0, method: str = "dare_elect", split: str = "dev", **options) -> dict:
    """A run that scores `right` of 10 on GSM8K and 5 of 10 on MBPP."""
    scores = {"gsm8k": [1.0] * right + [0.0] * (10 - right), "mbpp": [1.0, 0.0] * 5}
    return record(options.pop("merge", MERGE), method, scores, seed=seed, split=split, **options)


def test_the_best_mean_over_the_merges_benchmarks_is_chosen():
    """GSM8K 4, 8, 6 of 10 and MBPP 5 of 10 each: the best mean is (0.8 + 0.5) / 2 = 0.65, at drop rate 0.5."""
    records = [dev(right, drop_rate=p, lambda_=1.0) for right, p in ((4, 0.3), (8, 0.5), (6, 0.7))]
    (choice,) = choose(records, [GRID])
    assert (choice.merge, choice.name, choice.family_seed) == (("code", "math"), "dare_elect", 0)
    assert (choice.method["drop_rate"], choice.method["lambda_"]) == (0.5, 1.0)
    assert choice.score == pytest.approx(0.65)
    assert (choice.n, choice.edges, choice.points, choice.of) == (20, (), 3, 9)
    assert choice.label == "p=0.5 lambda=1"


def test_equal_scores_give_the_smaller_lambda_then_the_smaller_drop_rate():
    points = [(0.7, 0.5), (0.5, 1.0), (0.5, 0.5), (0.3, 1.0)]
    records = [dev(6, drop_rate=p, lambda_=x) for p, x in points]
    (choice,) = choose(records, [GRID])
    assert (choice.method["drop_rate"], choice.method["lambda_"]) == (0.5, 0.5)
    assert choose(records[::-1], [GRID]) == [choice]


def test_a_choice_at_the_end_of_a_list_is_flagged():
    (choice,) = choose([dev(9, drop_rate=0.7, lambda_=0.5), dev(4, drop_rate=0.5, lambda_=1.0)], [GRID])
    assert choice.edges == ("drop_rate", "lambda_")
    assert choice.label == "p=0.7* lambda=0.5*"


def test_an_option_with_one_value_has_no_edge():
    single = GRID | {"options": {"drop_rate": [0.3, 0.5, 0.7], "lambda_": [1.0]}}
    (choice,) = choose([dev(9, drop_rate=0.5, lambda_=1.0)], [single])
    assert choice.edges == ()


def test_runs_off_the_grid_are_no_candidates():
    """An ablation, another lambda, another split and another merge all score better; none is chosen."""
    records = [
        dev(5, drop_rate=0.5, lambda_=1.0),
        dev(9, drop_rate=0.5, lambda_=1.0, elect=False),
        dev(9, drop_rate=0.5, lambda_=1.2),
        dev(9, drop_rate=0.3, lambda_=1.0, split="test"),
        dev(9, drop_rate=0.3, lambda_=1.0, merge=["math", "code", "lm"]),
    ]
    (choice,) = choose(records, [GRID])
    assert (choice.score, choice.method["elect"]) == (0.5, True)


def test_an_option_that_records_leave_out_at_its_default_still_tells_grids_apart():
    """A record of constant lambda does not name lambda_by; it is no point of a grid of adaptive lambda.

    Math scores 0.5 in both: means 0.7 and 0.45.
    """
    records = [dev(9, drop_rate=0.5), dev(4, drop_rate=0.5, lambda_by="adaptive")]
    assert "lambda_by" not in records[0]["config"]["method"]
    assert {run.option("lambda_by") for run in read_runs(records)} == {"adaptive", "constant"}
    common = GRID | {"options": {"drop_rate": [0.5]}}
    adaptive = GRID | {"options": {"drop_rate": [0.5], "lambda_by": ["adaptive"]}}
    assert [choice.score for grid in (common, adaptive) for choice in choose(records, [grid])] == [0.7, 0.45]


def test_the_choice_on_test_is_made_on_test_records():
    records = [dev(9, drop_rate=0.3, lambda_=1.0), dev(6, drop_rate=0.5, lambda_=1.0, split="test")]
    (choice,) = choose(records, [GRID], "test")
    assert (choice.split, choice.method["drop_rate"]) == ("test", 0.5)


def test_more_seeds_at_the_chosen_point_do_not_move_the_choice():
    """Seed 0: 8 against 7 of 10. Seeds 1 and 2, which only the better point has, score 1 of 10."""
    records = [dev(8, drop_rate=0.5, lambda_=1.0), dev(7, drop_rate=0.3, lambda_=1.0)]
    more = [dev(1, seed=seed, drop_rate=0.5, lambda_=1.0) for seed in (1, 2)]
    assert choose(records + more, [GRID])[0].method == choose(records, [GRID])[0].method


def test_a_run_that_lacks_a_benchmark_of_its_merge_is_no_candidate():
    half = record(MERGE, "dare_elect", {"gsm8k": [1.0] * 10}, seed=0, split="dev", drop_rate=0.5)
    assert choose([half], [GRID]) == []


def test_each_training_seed_has_its_own_choice():
    records = [
        dev(9, drop_rate=0.3, lambda_=1.0, family_seed=0),
        dev(1, drop_rate=0.5, lambda_=1.0, family_seed=0),
        dev(1, drop_rate=0.3, lambda_=1.0, family_seed=1),
        dev(9, drop_rate=0.5, lambda_=1.0, family_seed=1),
    ]
    assert [choice.method["drop_rate"] for choice in choose(records, [GRID])] == [0.3, 0.5]


def test_grids_are_found_in_records_that_come_without_them():
    runs = read_runs([dev(5, drop_rate=p, lambda_=x) for p, x in ((0.3, 1.0), (0.5, 0.5))])
    options = {"drop_rate": [0.3, 0.5], "lambda_": [0.5, 1.0]}
    assert grids_of(runs) == [{"method": "dare_elect", "merge": [["code", "math"]], "options": options}]


def test_final_runs_are_the_test_runs_at_the_choice():
    records = [dev(9, drop_rate=0.5, lambda_=1.0), dev(2, drop_rate=0.3, lambda_=1.0)]
    finals = [dev(5, seed=seed, drop_rate=0.5, lambda_=1.0, split="test") for seed in (1, 2, 3)]
    other = [dev(9, seed=1, drop_rate=0.3, lambda_=1.0, split="test")]
    runs = read_runs(records + finals + other)
    cells = final_runs(runs, choose(records, [GRID]))
    assert {key: sorted(run.seed for run in found) for key, found in cells.items()} == {
        (("code", "math"), "dare_elect"): [1, 2, 3]
    }


def test_a_method_with_a_single_point_needs_no_choice_but_one_with_two_does():
    average = dev(5, seed=None, method="average", split="test")
    assert list(final_runs(read_runs([average]), [])) == [(("code", "math"), "average")]
    two = [dev(5, seed=1, drop_rate=p, split="test") for p in (0.3, 0.5)]
    assert final_runs(read_runs(two), []) == {}


def test_families_with_fewer_cells_are_left_out_of_the_table():
    full = [dev(5, seed=None, method=m, split="test", family_seed=0) for m in ("ta_elect", "ties")]
    part = [dev(5, seed=None, method="ta_elect", split="test", family_seed=1)]
    assert complete_families(final_runs(read_runs(full + part), [])) == [0]


def both_selections() -> list[dict]:
    """Two points, p = 0.3 and 0.5: dev prefers 0.5, test 0.3; each choice has final runs with seeds 1 and 2."""
    records = [dev(9, drop_rate=0.5), dev(6, drop_rate=0.3), dev(5, drop_rate=0.5, split="test")]
    records.append(dev(8, drop_rate=0.3, split="test"))
    return records + [dev(7, seed=seed, drop_rate=p, split="test") for p in (0.3, 0.5) for seed in (1, 2)]


@pytest.mark.parametrize(
    ("select", "expected"),
    [("dev", {(0.5, 1), (0.5, 2)}), ("test", {(0.3, 0), (0.5, 0), (0.3, 1), (0.3, 2)})],
)
def test_records_of_both_selections_are_told_apart(select, expected):
    """On dev: the choice with new masks. On test: all points with the mask that chose, and the choice with new ones."""
    runs = read_runs(both_selections())
    choices = choose_runs(runs, [GRID], select)
    found = as_selected(runs, choices, [GRID])
    assert {(run.option("drop_rate"), run.seed) for run in found if run.split == "test"} == expected
    assert {run.option("drop_rate") for run in found if run.split == "dev"} == {0.3, 0.5}
    (final,) = final_runs(found, choices).values()
    assert {run.seed for run in final} == {1, 2}


def test_records_of_one_selection_stay_as_they_are():
    records = [dev(9, drop_rate=0.5), dev(6, drop_rate=0.3)]
    records += [dev(7, seed=seed, drop_rate=0.5, split="test") for seed in (1, 2)]
    records += [dev(5, seed=None, method="ties", split="test", drop_rate=p) for p in (0.3, 0.5)]
    runs = read_runs(records)
    assert as_selected(runs, choose_runs(runs, [GRID], "dev"), [GRID]) == runs


def test_of_a_method_that_draws_nothing_the_choice_on_dev_keeps_one_test_run():
    grid = GRID | {"method": "ties"}
    records = [dev(right, seed=None, method="ties", drop_rate=p) for right, p in ((9, 0.5), (6, 0.3))]
    records += [dev(right, seed=None, method="ties", drop_rate=p, split="test") for right, p in ((5, 0.5), (8, 0.3))]
    runs = read_runs(records)
    found = as_selected(runs, choose_runs(runs, [grid], "dev"), [grid])
    assert [run.option("drop_rate") for run in found if run.split == "test"] == [0.5]


def test_the_mask_that_chose_is_reported_where_there_is_no_other():
    records = [dev(9, drop_rate=0.5), dev(6, drop_rate=0.3), dev(5, drop_rate=0.5, split="test")]
    runs = read_runs(records)
    choices = choose_runs(runs, [GRID], "dev")
    (final,) = final_runs(as_selected(runs, choices, [GRID]), choices).values()
    assert [run.seed for run in final] == [0]


def test_the_size_of_a_grid_is_the_product_of_its_lists():
    assert grid_size(GRID) == 9
    assert grid_size({"merge": [MERGE], "method": "average", "options": {}}) == 1
