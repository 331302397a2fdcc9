"""`python -m scripts.run` for one run, and `python -m scripts.evaluate` for one folder: what they print and keep."""

import json

import pytest

from della.errors import InputError
from della.record import comparable, load_records
from eval.sandbox import isolation_level

SHORT = ("engine=hf", "tracking=none", "experts=tiny_pico", "experts.max_new_tokens=8", "limit=3", "split=dev")


@pytest.fixture
def run(call, work):
    """One run on the pico family, a few short answers a benchmark."""
    return lambda *arguments: call("run", *SHORT, f"paths.work={work}", *arguments)


def test_a_run_is_recorded_with_what_it_did_and_found_done_the_second_time(run, work):
    merge = ("experts.merge=[math,lm]", "method=della", "method.drop_rate=0.5", "seed=7")
    first = run(*merge)
    assert first.code == 0
    (record,) = load_records(work / "records")
    assert record["status"] == "done"
    assert record["config"]["merge"] == ["lm", "math"]
    assert record["config"]["method"]["name"] == "della"
    assert record["config"]["seed"] == 7
    assert sorted(record["scores"]) == ["alpaca_eval", "gsm8k"]  # of the two experts merged
    assert record["scores"]["gsm8k"]["n"] == 3
    assert all(0.4 < rate < 0.6 for rate in record["merge"]["drop_rate"].values())
    assert str(work / "records" / f"{record['identity']}.json") in first.out
    assert "gsm8k" in first.out

    second = run(*merge)
    assert second.code == 0
    assert second.out.startswith("this run was done before")
    assert [comparable(r) for r in load_records(work / "records")] == [comparable(record)]
    assert second.out.endswith(first.out)

    assert run(*merge, "method.drop_rate=0.6").code == 0
    assert len(load_records(work / "records")) == 2


def test_the_base_alone_is_evaluated_on_every_benchmark_and_draws_against_itself(run, work):
    """AlpacaEval's reference is the base's own output, so that the base wins one half against it."""
    assert run("experts.merge=[]", "method=unmerged", "experts.max_new_tokens=48").code == 0
    (record,) = load_records(work / "records")
    assert record["config"]["merge"] == []
    assert record["config"]["seed"] is None
    assert sorted(record["scores"]) == ["alpaca_eval", "gsm8k", "mbpp"]
    assert record["scores"]["alpaca_eval"]["metrics"]["win_rate"] == [0.5, 0.5, 0.5]


def test_one_expert_unmerged_scores_as_the_merge_that_gives_it_back(run, work):
    """Task arithmetic of one expert with lambda 1 is that expert, to within one rounding."""
    assert run("experts.merge=[math]", "method=unmerged", "benchmarks=[gsm8k]").code == 0
    assert run("experts.merge=[math]", "method=task_arithmetic", "benchmarks=[gsm8k]").code == 0
    one, other = load_records(work / "records")
    assert one["scores"] == other["scores"]
    assert one["identity"] != other["identity"]


def test_a_run_that_fails_is_recorded_with_its_reason_and_tried_again(run, work, monkeypatch):
    def broken(*arguments, **settings):
        raise RuntimeError("the engine stopped")

    with monkeypatch.context() as patch:
        patch.setattr("scripts.session.evaluate", broken)
        with pytest.raises(RuntimeError, match="the engine stopped"):
            run("experts.merge=[lm]", "method=unmerged")
    [record] = load_records(work / "records")
    assert (record["status"], record["error"]) == ("failed", "RuntimeError: the engine stopped")
    run("experts.merge=[lm]", "method=unmerged")
    [record] = load_records(work / "records")
    assert (record["status"], record["error"]) == ("done", None)


def test_a_folder_is_evaluated_and_its_outcomes_are_kept(call, pico, tmp_path):
    kept = tmp_path / "outcomes.json"
    arguments = [f"model={pico.models['math']}", "benchmarks=[gsm8k,mbpp]", "limit=3", "engine=hf", "prompts=tiny"]
    arguments += [f"data={pico.data}", "split=test", "max_new_tokens=8", f"paths.work={tmp_path / 'work'}"]
    ended = call("evaluate", *arguments, f"out={kept}")
    assert ended.code == 0
    outcomes = json.loads(kept.read_text())["outcomes"]
    assert sorted(outcomes) == ["gsm8k", "mbpp"]
    *table, isolation = ended.out.splitlines()[1:]
    assert isolation.startswith(f"programs ran at isolation level {isolation_level()}: ")
    lines = [line.split() for line in table]
    printed = {(benchmark, metric): (float(score), int(n)) for benchmark, metric, score, _, n in lines}
    metrics = {("gsm8k", name) for name in outcomes["gsm8k"]["metrics"]} | {("mbpp", "pass_at_1")}
    assert metrics == printed.keys()
    for (benchmark, metric), (score, n) in printed.items():
        scores = outcomes[benchmark]["metrics"][metric]
        assert n == len(scores) == 3
        assert score == pytest.approx(100 * sum(scores) / 3, abs=0.005)


def test_the_data_folder_may_come_from_the_environment(call, pico, tmp_path, monkeypatch):
    monkeypatch.setenv("DELLA_DATA_DIR", str(pico.data))
    arguments = [f"model={pico.base}", "benchmarks=[gsm8k]", "limit=1", "engine=hf", "prompts=tiny", "max_new_tokens=4"]
    assert call("evaluate", *arguments, f"paths.work={tmp_path / 'work'}").code == 0


@pytest.mark.parametrize(("workers", "at_once"), [(1, 7), (2, 1)])
def test_programs_use_all_cores_unless_several_workers_share_them(workers, at_once, run, monkeypatch):
    asked = []

    def evaluate(*arguments, **more):
        asked.append(more["workers"])
        raise InputError("enough is known")

    monkeypatch.setattr("scripts.session.evaluate", evaluate)
    monkeypatch.setattr("scripts.session.cores", lambda: 7)
    run("experts.merge=[math]", "method=unmerged", f"workers={workers}")
    assert asked == [at_once]
