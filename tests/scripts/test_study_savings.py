"""The study of what stopping early saves, whole, on a pico family."""

import json

import pytest

from della.record import load_records
from scripts import study_savings

PICO = ("experts=tiny_pico", "experts.max_new_tokens=8", "engine=hf", "sweep=search_savings")
SMALL = (
    *("sweep.merges=[[lm,math]]", "sweep.family_seeds=[0]", "sweep.dev_limit=6", "sweep.test_limit=3"),
    *("sweep.seeds=[1,2]", "sweep.search.seeds=[0,1]", "sweep.search.looks=3"),
    *("sweep.search.space.drop_rate.values=[0.5]", "sweep.search.space.lambda_.values=[0.5,1.0]"),
)


@pytest.fixture(autouse=True)
def _few_rules(monkeypatch):
    """The rules' measurement, of seconds, at a small count."""
    monkeypatch.setattr(study_savings, "TRIED", (("paired", 0.01, True),))
    monkeypatch.setattr(study_savings, "ORDERS", 1)


def test_the_study_runs_what_is_missing_replays_the_searches_and_publishes_cases_and_tables(call, work):
    """2 seeds x 2 points; where the two winners differ, their test runs with 2 mask seeds."""
    where = (f"paths.work={work}", f"paths.results={work / 'results'}")
    ended = call("study_savings", *PICO, *SMALL, *where, "publish=true")
    assert ended.code == 0, ended.err
    assert "of 2 winners within one paired standard error" in ended.out
    records = load_records(work / "records")
    assert sum(record["config"]["split"] == "dev" for record in records) == 4
    assert {record["config"]["seed"] for record in records if record["config"]["split"] == "dev"} == {0, 1}
    folder = work / "results" / "tiny_pico" / "search_savings"
    cases = json.loads((folder / "study.json").read_text())["cases"]
    assert [case["seed"] for case in cases] == [0, 1]
    assert all(case["differs"] == 0 for case in cases), "prompts asked in parts score as prompts asked at once"
    assert all(0 < case["prompts"] <= case["of"] == 2 * 2 * 6 for case in cases)
    assert {"savings.md", "rules.csv"} <= {path.name for path in folder.iterdir()}

    again = call("study_savings", *PICO, *SMALL, *where)
    assert again.code == 0
    assert " 0 executed" in again.out
    assert len(load_records(work / "records")) == len(records)


def test_a_live_search_asks_as_many_prompts_as_its_replay_and_finds_the_same_winner(call, work, pico, tmp_path):
    one = ("sweep.search.seeds=[0]", "sweep.choose_seed=0", "sweep.search.prune=certain", "sweep.search.looks=6")
    where = (f"paths.work={work}", f"paths.results={work / 'results'}")
    assert call("study_savings", *PICO, *SMALL, *one, *where, "publish=true").code == 0
    published = work / "results" / "tiny_pico" / "search_savings" / "study.json"
    (case,) = json.loads(published.read_text())["cases"]

    live = tmp_path / "live"
    live.mkdir()
    (live / "experts").symlink_to(pico.folder.parent)
    ended = call("run", *PICO, *SMALL, *one, "tracking=none", f"paths.work={live}")
    assert ended.code == 0, ended.err
    assert f"{2 - case['whole']} stopped early, {case['prompts']} prompts" in ended.out
    won = dict(part.split(":") for part in case["winner"].split(","))
    assert f"drop_rate={won['drop_rate']} lambda_={float(won['lambda_']):.4g}" in ended.out


def test_a_search_that_is_no_grid_is_refused(call, work):
    ended = call("study_savings", "experts=tiny_pico", "sweep=search_della", f"paths.work={work}")
    assert ended.code == 2
    assert "this study is of searches through a grid; write sampler=grid" in ended.err
