"""Tables and figure of searches, of searches compared, and of what stopping early saves."""

import pytest

from della.outcomes import read_runs
from della.tables.arms import arms_table
from della.tables.detectable import HEAD
from della.tables.savings import rules_table, savings_table, summary
from della.tables.search import full, history, history_figure, importance_table, search_table, spent, winner
from tests.della.synthetic import record


def trial(number: int, value: float | None, prompts: int = 100, **known) -> dict:
    facts = {"whole": prompts == 100, "reused": False, "error": None, "params": {"lambda_": number / 4}, **known}
    return {"number": number, "value": value, "prompts": prompts, **facts}


def log(*trials: dict, arm: str = "della", seed: int = 0, lambda_: float = 1.0, **known) -> dict:
    """A search over LM+Math; its winner has this lambda."""
    won = record(["lm", "math"], "della", {}, lambda_=lambda_)["config"]["method"]
    fixed = {"sweep": "s", "family": "tiny", "family_seed": 0, "merge": ["lm", "math"], "method": "della", "of": 100}
    settings = {"sampler": "tpe", "prune": "paired", "risk": 0.01, "looks": 20, "split": "dev", "wanted": len(trials)}
    found = {"trials": list(trials), "winner": {"method": won}, "importance": {}}
    return {**fixed, **settings, **found, "arm": arm, "seed": seed, **known}


def final(right: int, lambda_: float = 1.0, **config) -> dict:
    """A winner's test run with this many of 100 right on both benchmarks."""
    scores = {name: [1.0] * right + [0.0] * (100 - right) for name in ("alpaca_eval", "gsm8k")}
    made = record(["lm", "math"], "della", scores, seed=1, lambda_=lambda_)
    return {**made, "identity": f"{right}{lambda_}", "config": {**made["config"], **config}}


TRIALS = (trial(0, 0.5), trial(1, 0.3, 20), trial(2, 0.7), trial(3, 0.7), trial(4, None, 0, error="RuntimeError: no"))


def test_the_winner_is_the_first_of_the_best_whole_trials_and_the_history_has_the_improvements():
    """100 prompts to 0.5, 20 that are stopped, 100 more to 0.7; an estimate of 0.9 wins nothing."""
    found = log(*TRIALS, trial(5, 0.9, 30))
    assert winner(found)["number"] == 2
    assert history(found) == [(100, 0.5), (220, 0.7)]
    assert winner(log(trial(0, 0.3, 20))) is None


def test_prompts_are_counted_beside_what_the_same_trials_would_have_cost():
    """100 + 20 + 100 + 100 of 4 x 100; the failed trial and one from a record are in neither."""
    found = log(*TRIALS, trial(5, 0.6, 0, whole=True, reused=True))
    assert (spent(found), full(found)) == (320, 400)
    table = search_table([found], read_runs([final(60)]), [])
    (row,) = table.rows
    assert row[:3] == ["LM+Math, seed 0", "DELLA", "tpe, seed 0"]
    assert row[3] == "6: 4 whole, 1 stopped, 1 failed, 1 from records"
    assert row[4:7] == ["320", "80 %", "lambda_=0.5"]
    assert row[7] == "70.0"
    assert row[8].startswith("60.0 [")
    assert any("paired, risk 0.01 a look, 20 looks" in note for note in table.notes)


def test_a_winner_chosen_on_the_test_prompts_is_said_to_be():
    for split, said in (("dev", "on other prompts"), ("test", "on the same prompts")):
        logs = [log(*TRIALS, split=split), log(*TRIALS, arm="other", split=split)]
        runs = read_runs([final(60)])
        for table in (search_table(logs, runs, []), arms_table(logs, runs, [])):
            told = [said in note for note in table.notes if note.startswith("Dev:")]
            assert told == ([] if (split, table.name) == ("dev", "arms") else [True])


def test_a_winner_that_has_not_run_on_test_is_not_run_and_another_points_runs_are_not_its():
    table = search_table([log(*TRIALS)], read_runs([final(60, lambda_=2.0)]), [])
    assert table.rows[0][-1] == "not run"


def test_merges_that_differ_in_weights_alone_are_two_points():
    plain, weighted = final(60), final(80, weights={"lm": 0.5})
    assert len(read_runs([plain, weighted])) == 2
    method = plain["config"]["method"]
    found = search_table(
        [log(*TRIALS, winner={"method": method, "weights": {"lm": 0.5}})], read_runs([plain, weighted]), []
    )
    assert found.rows[0][-1].startswith("80.0 [")


def test_arms_are_compared_with_those_that_ran_once_and_the_mean_of_several_seeds_has_a_row():
    """Winners with 60, 70 and 80 right: +10 and +20 over the grid, their mean +15."""
    logs = [
        log(*TRIALS, arm="grid", lambda_=0.5),
        log(*TRIALS, arm="evolution"),
        log(*TRIALS, arm="evolution", seed=1, lambda_=2.0),
    ]
    table = arms_table(logs, read_runs([final(60, 0.5), final(70, 1.0), final(80, 2.0)]), [])
    assert table.header[-1] == "minus grid"
    assert [(row[1], row[2]) for row in table.rows] == [
        ("grid", "0"), ("evolution", "0"), ("evolution", "1"), ("evolution", "mean")]  # fmt: skip
    assert [row[-1].split(" ")[0] for row in table.rows] == ["-", "+10.0", "+20.0", "+15.0"]
    assert table.rows[-1][6].startswith("75.0 [")
    assert any(note.startswith(HEAD) for note in table.notes)


def test_there_is_no_comparison_of_one_arm():
    assert arms_table([log(*TRIALS)], [], []) is None


def test_importances_stand_in_a_table_where_there_are_any():
    """Parameters by name, whatever their order in a log: a file's is another than a study's."""
    assert importance_table([log(*TRIALS)]) is None
    several = [{"lambda_": 0.8, "drop_rate": 0.2}, {"weight.lm": 1.0}]
    table = importance_table([log(*TRIALS), *(log(*TRIALS, importance=shares) for shares in several)])
    assert table.header == ["Parameter", *["LM+Math, seed 0: DELLA, seed 0"] * 2]
    assert table.rows == [["drop_rate", "0.20", "-"], ["lambda_", "0.80", "-"], ["weight.lm", "-", "1.00"]]


def test_a_screened_grids_history_begins_after_its_screening():
    """25 points asked 45 each, then a whole trial of 900, 45 of which it had: 1,125 + 855; the next asks 855 more."""
    screened = log(
        trial(0, 0.3, 900, whole=True), trial(1, 0.4, 900, whole=True), screened=25, first=45, beside=23 * 45
    )
    assert history(screened) == [(1980, 0.3), (2835, 0.4)]
    assert spent(screened) == 2835


def test_the_figure_has_a_line_for_each_search_that_has_a_whole_trial():
    assert history_figure([log(trial(0, 0.3, 20))]) is None
    (axes,) = history_figure([log(*TRIALS), log(*TRIALS, arm="grid")]).axes
    assert len(axes.lines) == 2
    assert list(axes.lines[0].get_xdata()) == [100, 220, 320]


def case(loss: float, error: float, prompts: int = 300, **known) -> dict:
    fixed = {"family_seed": 1, "merge": ["lm", "math"], "seed": 0, "points": 10, "of": 1000, "whole": 3, "differs": 1}
    winners = {"winner": "lambda_:1", "grid_winner": "lambda_:1" if loss == 0 else "lambda_:2"}
    return {**fixed, **winners, "prompts": prompts, "loss": loss, "error": error, **known}


def test_savings_count_the_winners_within_one_paired_standard_error_and_the_prompts():
    """Losses 0, 0.01 at s.e. 0.02 and 0.03 at s.e. 0.02: 2 of 3; (300 + 300 + 450) / 3000 = 35 %."""
    cases = [case(0.0, 0.0), case(0.01, 0.02), case(0.03, 0.02, prompts=450)]
    assert summary(cases).startswith("2 of 3 winners within one paired standard error")
    assert "1 of them the same; 35.0 % of the prompts in all (30.0 to 45.0; at most 40 % in 2 of 3)" in summary(cases)
    table = savings_table(cases, [])
    assert [row[-1] for row in table.rows] == ["yes", "yes", "no"]
    assert any("of 300 scores 3 differ from the record's" in note for note in table.notes)
    assert [row[-4] for row in table.rows] == ["the same", "lambda_:2", "lambda_:2"]
    assert table.rows[2][-3:-1] == ["+3.00", "2.00"]


def test_rules_stand_beside_each_other():
    found = {"rule": "paired", "risk": 0.01, "screen": True, "looks": 20, "searches": 4, "share": 0.28, "largest": 0.4}
    table = rules_table([{**found, "same": 0.75, "loss": 0.001, "beyond": 0.25}], [])
    assert table.rows == [["paired", "0.01", "yes", "20", "4", "28.0 %", "40.0 %", "75.0 %", "0.100", "25.0 %"]]
    assert len(table.data) == 5
    assert table.data[0]["value"] == pytest.approx(28)
