import math

import numpy as np
import pytest

from della.errors import InputError
from della.outcomes import benchmarks_of, merge_label, read_runs, widest
from della.record import read_compact, write_compact
from tests.della.synthetic import record

SCORES = {"gsm8k": [1.0, 0.0, 0.5, None]}


def test_merges_are_named_in_the_papers_order():
    assert merge_label(["code", "lm", "math"]) == "LM+Math+Code"
    assert merge_label(["code", "lm"]) == "LM+Code"
    assert merge_label([]) == "base"
    assert merge_label(["poetry", "math"]) == "Math+poetry"


def test_a_merge_has_the_benchmarks_of_its_experts():
    assert benchmarks_of(["code", "lm"]) == ("alpaca_eval", "mbpp")
    assert benchmarks_of(["math"]) == ("gsm8k",)
    assert benchmarks_of(["poetry", "math"], ["mbpp", "haiku"]) == ("mbpp", "haiku")


def test_a_null_score_is_nan():
    scores = read_runs([record(["math"], "dare", SCORES, seed=1)])[0].scores["gsm8k"]
    assert scores[:3].tolist() == [1.0, 0.0, 0.5]
    assert math.isnan(scores[3])


def test_records_read_back_from_their_compact_form_are_the_same_runs(tmp_path):
    full = [record(["math"], "dare", SCORES, seed=seed) for seed in (1, 2)]
    write_compact(tmp_path / "runs.jsonl", full, command="make", commit=None)
    one, other = read_runs(full), read_runs(read_compact(tmp_path / "runs.jsonl"))
    assert [(run.point, run.seed, run.prompts_of) for run in one] == [(r.point, r.seed, r.prompts_of) for r in other]
    assert np.array_equal(one[0].scores["gsm8k"], other[0].scores["gsm8k"], equal_nan=True)
    assert one[0].groups["gsm8k"].tolist() == other[0].groups["gsm8k"].tolist()


def test_failed_runs_are_left_out():
    failed = record(["math"], "dare", {}, seed=1) | {"status": "failed"}
    assert read_runs([failed]) == []


def test_benchmarks_of_one_run_from_two_sweeps_are_put_together():
    one = record(["math"], "unmerged", {"gsm8k": [1.0]})
    other = record(["math"], "unmerged", {"gsm8k": [1.0], "mbpp": [0.0]})
    runs = read_runs([one, other])
    assert len(runs) == 1
    assert set(runs[0].scores) == {"gsm8k", "mbpp"}


def test_two_records_of_one_run_that_disagree_are_an_error():
    one = record(["math"], "unmerged", {"gsm8k": [1.0]})
    other = record(["math"], "unmerged", {"gsm8k": [0.0], "mbpp": [0.0]})
    with pytest.raises(InputError, match="disagree on gsm8k"):
        read_runs([one, other])


def test_the_widest_runs_of_each_split_are_kept():
    runs = read_runs(
        [
            record(["math"], "dare", SCORES, seed=1, limit=8),
            record(["math"], "dare", SCORES, seed=2),
            record(["math"], "dare", SCORES, seed=1, split="dev", limit=3),
        ]
    )
    assert {(run.split, run.limit) for run in widest(runs)} == {("test", None), ("dev", 3)}


def test_a_run_on_one_group_has_its_prompts_alone():
    groups = ["seen", "held_out", "seen", "seen"]
    run = read_runs([record(["math"], "dare", {"gsm8k": [1.0, 0.0, 0.0, 1.0]}, seed=1, groups=groups)])[0]
    assert run.only("seen").scores["gsm8k"].tolist() == [1.0, 0.0, 1.0]
    assert run.only("held_out").scores["gsm8k"].tolist() == [0.0]
    assert run.only("held_out").prompts_of != run.prompts_of
