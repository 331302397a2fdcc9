"""What judging will cost, against what published verdicts did cost; and the means that texts are counted by."""

import json
import os
import statistics
from pathlib import Path

import pytest

from eval.tasks.data import read_documents
from scripts.planning.assumptions import Assumptions
from scripts.planning.counts import Run
from scripts.planning.judging import REFERENCE_BYTES, judge_of, judged, judging
from scripts.planning.texts import MEAN_ANSWER, MEAN_DOCUMENT, Text
from tests.scripts.test_configs import composed

WIZARD = ("experts=folders", "experts.family=wizard_13b", "sweep=main_table")


@pytest.fixture
def data() -> Path:
    """The published files."""
    if DATA is None:
        pytest.skip("DELLA_DATA_DIR names no folder of published data")
    return Path(DATA)


DATA = os.environ.get("DELLA_DATA_DIR")  # before the tests of this folder take it away


def cost(answer_bytes: float, *more: str) -> float:
    """Of one AlpacaEval verdict, counted at 4 bytes a token."""
    config = composed("plan_sweep", *WIZARD, "judge=alpaca_eval_gpt4", *more)
    judge, note = judge_of(config)
    assert note is None
    texts = {"alpaca_eval": Text({}, 100.0, answer_bytes / 4, 512)}
    (asked,) = judging(config, judge, [Run(None, "final", {"alpaca_eval": 1})], texts, Assumptions())
    assert asked.verdicts == 1
    return asked.cost


def test_the_papers_judge_costs_what_published_verdicts_did(data):
    """GPT-4's 805 verdicts on wizardlm-13b carry their price, 0.0195 dollars each. Counted: at most a quarter more."""
    folder = data / "alpaca_eval"
    rows = json.loads((folder / "wizardlm-13b_alpaca_eval_gpt4_annotations.json").read_text())
    paid = statistics.fmean(row["price_per_example"] for row in rows if row.get("price_per_example"))
    assert paid <= cost(MEAN_ANSWER["alpaca_eval"][0]) <= 1.25 * paid


def test_prices_and_answers_are_options():
    """Sent: c tokens at 10 a million; answered 1,000 at 20: 0.02 more than with none."""
    prices = ("judge.price_in=10", "judge.price_out=20")
    none, many = (cost(986, *prices, f"assume.judge_answer_tokens={n}") for n in (1, 1001))
    assert many - none == pytest.approx(0.02)


def test_rules_are_counted_as_the_papers_judges_where_they_cannot_judge():
    judge, note = judge_of(composed("plan_sweep", *WIZARD))
    assert (judge.name, judge.gsm8k, judged(judge)) == ("alpaca_eval_gpt4", True, {"alpaca_eval": True, "gsm8k": True})
    assert "judge=rules cannot judge" in note
    judge, note = judge_of(composed("plan_sweep", "experts=tiny_pico", "sweep=main_table"))
    assert (judge.name, note, any(judged(judge).values())) == ("rules", None, False)


def test_the_means_are_those_of_the_published_data(data):
    def mean(texts) -> float:
        return statistics.fmean(len(text.encode()) for text in texts)

    stated = {name: len(next(iter(v for k, v in row.items() if k != "task_id"))) for name, row in MEAN_DOCUMENT.items()}
    gsm8k, mbpp, alpaca = (read_documents(name, data, "test") for name in ("gsm8k", "mbpp", "alpaca_eval"))
    humaneval = read_documents("humaneval", data, "test")
    wizard = json.loads((data / "alpaca_eval" / "wizardlm-13b_outputs.json").read_text())
    assert stated["gsm8k"] == pytest.approx(mean(row["question"] for row in gsm8k), abs=0.5)
    assert stated["mbpp"] == pytest.approx(mean(row["text"] for row in mbpp), abs=0.5)
    tests = mean(test for row in mbpp for test in row["test_list"])
    assert len(MEAN_DOCUMENT["mbpp"]["test_list"][0]) == pytest.approx(tests, abs=0.5)
    assert stated["alpaca_eval"] == pytest.approx(mean(row["instruction"] for row in alpaca), abs=0.5)
    assert stated["humaneval"] == pytest.approx(mean(row["prompt"] for row in humaneval), abs=0.5)
    assert MEAN_ANSWER["gsm8k"][0] == pytest.approx(2 * mean(row["answer"] for row in gsm8k), abs=1)
    assert MEAN_ANSWER["mbpp"][0] == pytest.approx(2 * mean(row["code"] for row in mbpp), abs=1)
    solutions = mean(row["canonical_solution"] for row in humaneval)
    assert MEAN_ANSWER["humaneval"][0] == pytest.approx(2 * solutions, abs=1)
    assert MEAN_ANSWER["alpaca_eval"][0] == pytest.approx(mean(row["output"] for row in wizard), abs=0.5)
    assert REFERENCE_BYTES["gsm8k"] == pytest.approx(mean(row["answer"] for row in gsm8k), abs=0.5)
    assert REFERENCE_BYTES["alpaca_eval"] == pytest.approx(mean(row["output"] for row in alpaca), abs=0.5)
