"""What a sweep is counted as; the main table's numbers are in tests/scripts/test_plan_sweep.py."""

from scripts.planning.counts import planned, rounds, splits
from scripts.search_settings import Search, Space
from tests.scripts.test_configs import composed

SIZES = {("gsm8k", "test"): 300}


def test_searches_with_a_budget_are_counted_with_its_prompts():
    """A grid of 3 points asked all 300 prompts, and 50 trials that share the prompts of 5, 30 each. Chosen on test
    there are no development runs: 5 mask seeds of DARE, one run of task arithmetic."""
    options = ("sweep.merges=[[math]]", "benchmarks=[gsm8k]", "select=test", "sweep.test_limit=500")
    config = composed("run", "experts=wizard_13b", "sweep=search_compare", *options)
    config.sweep.searches = {
        "grid": Search("task_arithmetic", sampler="grid", space={"lambda_": Space(low=0.5, high=1.5, step=0.5)}),
        "evolution": Search(
            "dare", sampler="cmaes", trials=50, budget=5, space={"drop_rate": Space(low=0.0, high=0.9, per="expert")}
        ),
    }
    trials, finals = planned(config, SIZES)
    assert [dict(run.prompts) for run in trials] == [{"gsm8k": 300}] * 3 + [{"gsm8k": 30}] * 50
    assert [(run.point.method, run.point.seed) for run in finals] == [
        ("task_arithmetic", None),
        *(("dare", seed) for seed in config.sweep.seeds),
    ]
    assert splits(config) == [("gsm8k", "test")]


def test_searches_that_differ_in_their_seed_alone_have_a_winner_each():
    config = composed("run", "experts=wizard_13b", "sweep=search_della", "sweep.search.seeds=[1,2,3]")
    trials, finals = planned(config, {})
    assert len(trials) == 3 * 4 * 60
    assert len(finals) == 3 * 4 * (1 + 5)


def test_a_search_that_may_drop_nothing_is_counted_with_every_mask_seed():
    space = "sweep.search.space"
    given = (f"{space}.drop_rate.values=[0.5,0.0]", f"{space}.drop_rate.low=null", f"{space}.drop_rate.high=null")
    config = composed("run", "experts=wizard_13b", "sweep=search_della", *given, f"{space}.epsilon_share.high=0.5")
    assert len(planned(config, {})[1]) == 4 * (1 + 5)


def test_workers_go_through_one_search_after_the_other():
    config = composed("run", "experts=wizard_13b", "sweep=search_della")
    trials, finals = planned(config, {})
    assert [len(runs) for runs in rounds(config, (trials, finals))] == [60] * 4 + [4 * 6]
    assert {run.point.merge for run in rounds(config, (trials, finals))[0]} == {("lm", "math")}
