"""What a search refuses, in one line and before anything is opened."""

import pytest

from tests.scripts.test_search import PICO, SMALL, TPE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("sweep.search.method=ties", "method ties has no such option to search"),
        ("sweep.merges=[]", "name the experts to merge, as sweep.merges=[[lm,math]]"),
        ("sweep.merges=[[lm,chemistry]]", "there is no expert 'chemistry' to merge"),
        ("sweep.search.sampler=annealing", "sampler=annealing: write one of tpe, cmaes, random, grid"),
        ("sweep.merges=[[lm,math],[math,lm]]", "sweep.merges=[[lm,math],[lm,math]]: [lm,math] is there twice"),
        ("sweep.merges=[[lm,lm]]", "sweep.merges=[lm,lm]: lm is there twice"),
        ("benchmarks=[gsm8k]", "benchmarks=[gsm8k] is without alpaca_eval; add it, or leave lm+math out"),
        ("sweep.seeds=[]", "a winner drops at random on test; write at least one mask seed"),
        ("sweep.search.seeds=[1,1]", "sweep.search.seeds=[1,1]: 1 is there twice"),
        ("sweep.search.space.fuse.values=[sum]", "space.lambda_; a further one goes into a file of configs/sweep"),
        ("sweep.search.space.lambda_.hihg=2", "sweep.search.space.lambda_.hihg: no such option"),
        ("sweep.search.space.lambda_.high=inf", "lambda_ is inf; write a finite number"),
        ("sweep.search.space.drop_rate.low=2", "low=2.0 and high=0.95; write a low below high"),
    ],
)
def test_a_mistake_is_one_line_before_anything_runs(change, message, call, work):
    ended = call("run", *PICO, "sweep=search_della", *SMALL, change, f"paths.work={work}")
    assert ended.code == 2
    assert message in ended.err
    assert ended.err.count("\n") == 1
    assert not (work / "records").exists()
    assert not list((work / "search").glob("*")) if (work / "search").exists() else True


def test_an_option_out_of_bounds_is_told_before_a_family_is_trained(call, tmp_path):
    ended = call("run", "engine=hf", "sweep=search_grid", "sweep.search.options.epsilon=abc", f"paths.work={tmp_path}")
    assert ended.code == 2
    assert "sweep.search.space: method della: epsilon is 'abc'" in ended.err
    assert not (tmp_path / "experts").exists()


def test_a_search_without_a_method_is_refused(call, work):
    ended = call("run", *PICO, "sweep=search_compare", "sweep.searches.della_grid.method=", f"paths.work={work}")
    assert ended.code == 2
    assert "sweep.searches.della_grid: write its method, one of average" in ended.err


def test_without_development_prompts_a_search_is_refused_before_anything_is_opened(call, pico, work, tmp_path):
    (tmp_path / "data").mkdir()
    family = [f"experts.models.{name}={pico.models[name]}" for name in ("lm", "math", "code")]
    own = ("experts.recipe=null", f"experts.base={pico.base}", f"experts.data={tmp_path / 'data'}", *family)
    ended = call("run", *TPE, *own, f"paths.work={work}")
    assert ended.code == 2
    assert "or choose on the test prompts, as the paper did: select=test" in ended.err


def test_a_report_before_the_search_says_what_to_run(call, work):
    ended = call("report", *TPE, f"paths.work={work}")
    assert ended.code == 2
    assert "no search has begun; run `make sweep EXPERTS=tiny_pico SWEEP=search_della` first" in ended.err


def test_searches_that_differ_in_when_they_end_alone_are_refused(call, work):
    """They would be one study, and its trials would stand in the tables under both names."""
    same = ("sweep=search_compare", "sweep.searches.evolution_per_expert.budget=50")
    one = "sweep.searches.evolution_per_expert_and_layer"
    per = [f"{one}.space.{name}.per=expert" for name in ("drop_rate", "weight")]
    ended = call("run", *PICO, *same, *per, f"paths.work={work}")
    assert ended.code == 2
    assert "sweep.searches.evolution_per_expert_and_layer: the same search as evolution_per_expert" in ended.err


def test_a_budget_that_screening_uses_up_is_refused(call, work):
    """25 points, a twentieth of the prompts each: 1.25 whole trials."""
    ended = call("run", *PICO, "sweep=search_grid", "sweep.search.budget=1.25", f"paths.work={work}")
    assert ended.code == 2
    assert "asking 25 points the first part costs as much as 1.25 whole trials" in ended.err
