"""Judges behind a real server: vLLM's, with a tiny untrained model on loopback.

What it writes is nonsense, so that every verdict is null after the answers allowed; held to the words that a parser
reads (vLLM's structured outputs, a bias on two tokens), each has a verdict.
"""

import importlib.util
from types import SimpleNamespace

import pytest

from eval.errors import JudgeError
from tests.eval.engines.models import make_model, make_tokenizer
from tests.eval.engines.server import vllm_server
from tests.eval.pairs import GPT4, TURBO, judged, make, ranking
from tests.eval.solutions import documents
from tests.eval.solutions import make as make_solution_judge

pytestmark = pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed")

ROWS = [{"instruction": f"Greet {n}.", "output_1": f"Hello {n}.", "output_2": f"Dear {n}!"} for n in range(3)]
TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
CONTEXT = 4096


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A running server of an untrained Llama that takes chats of 4,096 tokens: its url, the ids of `m` and `M`."""
    folder = tmp_path_factory.mktemp("served")
    model = make_model(folder / "model", seed=1, context=CONTEXT, tied=False, template=TEMPLATE)
    tokens = {letter: make_tokenizer().convert_tokens_to_ids(letter) for letter in "mM"}
    options = ("--served-model-name", "scripted", "--max-model-len", str(CONTEXT))
    with vllm_server(model, folder, *options, "--logprobs-mode", "processed_logprobs", dev=False) as url:
        yield SimpleNamespace(url=url, tokens=tokens)


def test_nonsense_is_null_after_the_answers_allowed_and_counted(served, tmp_path):
    """Three pairs, three answers each, none of which ranks anything."""
    judge = make(served.url, tmp_path, GPT4, timeout_s=120.0)
    judge.accept([])
    assert judged(judge, ROWS) == [None, None, None]
    account = judge.take_accounts()["alpaca_eval"]
    assert [account[name] for name in ("asked", "requests", "unread", "null", "failed")] == [3, 9, 9, 3, 0]
    assert account["tokens_out"] == 9 * 100
    assert account["tokens_in"] > 9 * 300
    again = make(served.url, tmp_path, GPT4)
    assert judged(again, ROWS) == [None, None, None]
    assert again.take_accounts()["alpaca_eval"]["requests"] == 0


def test_a_ranking_is_read(served, tmp_path):
    """Held to the two rankings there are, the model chooses one for each pair."""
    choice = {"structured_outputs": {"choice": [ranking(1), ranking(2)]}, "max_tokens": 200}
    judge = make(served.url, tmp_path, GPT4, timeout_s=120.0, settings=choice)
    assert set(judged(judge, ROWS)) <= {0.0, 1.0}
    assert judge.take_accounts()["alpaca_eval"]["requests"] == 3


def test_a_weighted_verdict_is_read_from_logprobs(served, tmp_path):
    """A bias that leaves `m` and `M` alone: the verdict is between the two, as the model weighs them."""
    bias = {"logit_bias": {str(token): 100 for token in served.tokens.values()}}
    judge = make(served.url, tmp_path, TURBO, timeout_s=120.0, settings=bias)
    found = judged(judge, ROWS)
    assert all(0 < value < 1 for value in found)
    assert judge.take_accounts()["alpaca_eval"]["requests"] == 3


def test_solutions_are_judged_and_nonsense_is_null(served, tmp_path):
    """The paper's protocol asks five times."""
    docs, outputs = documents(2)
    judge = make_solution_judge(served.url, tmp_path, settings={"max_tokens": 8, "seed": 1}, timeout_s=120.0)
    assert judge.judge(docs, outputs) == [None, None]
    assert judge.take_account()["requests"] == 10
    held = {"structured_outputs": {"choice": ["[[A]]", "[[B]]"]}}
    judge = make_solution_judge(served.url, tmp_path, settings=held, timeout_s=120.0)
    assert set(judge.judge(docs, outputs)) <= {0.0, 1.0}


def test_a_pair_too_long_for_the_model_is_null_and_asked_about_once(served, tmp_path):
    rows = [{"instruction": "Greet.", "output_1": "Hello " * CONTEXT, "output_2": "Dear"}]
    judge = make(served.url, tmp_path, GPT4, timeout_s=120.0)
    assert judged(judge, rows) == [None]
    account = judge.take_accounts()["alpaca_eval"]
    assert [account[name] for name in ("requests", "refused", "null")] == [1, 1, 1]


def test_a_model_that_is_not_served_is_an_error(served, tmp_path):
    with pytest.raises(JudgeError, match=r"HTTP 404: .*another.*; 0 of 3 verdicts are kept"):
        judged(make(served.url, tmp_path, GPT4, model="another"), ROWS)
