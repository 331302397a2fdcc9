"""Judges: rules checked by a program, verdicts read from alpaca_eval's files, the package's own win rate."""

import json

import pytest

from eval.errors import InputError
from eval.judge import AnnotationsJudge, RuleJudge, official_win_rate, read_annotations
from scripts.show import standard_error

RULE = {"kind": "starts", "text": "Dear Mia"}
GOOD, BAD = " Dear Mia, hi", " Hello"


def test_who_alone_satisfies_the_rule_wins_and_everything_else_is_a_draw():
    documents = [{"rule": RULE}] * 4
    preferences = RuleJudge().judge([""] * 4, [GOOD, BAD, GOOD, BAD], [BAD, GOOD, GOOD, BAD], documents)
    assert preferences == [1.0, 0.0, 0.5, 0.5]


def test_the_rule_judge_also_says_whether_the_model_satisfied_the_rule():
    assert RuleJudge().extra_metrics([GOOD, BAD], [{"rule": RULE}] * 2) == {"rule_pass": [1.0, 0.0]}


def test_documents_without_rules_need_another_judge():
    with pytest.raises(InputError, match=r"document 1 .* has no rule"):
        RuleJudge().accept([{"rule": RULE}, {}])


def test_gpt4s_verdicts_on_wizardlm_give_the_official_leaderboard_row(real_data):
    """alpaca_eval_gpt4_leaderboard.csv, row wizardlm-13b: 601 wins, 194 losses, 9 draws, one verdict missing."""
    folder = real_data / "alpaca_eval"
    annotations = read_annotations(folder / "wizardlm-13b_alpaca_eval_gpt4_annotations.json")
    row = official_win_rate([annotation["preference"] for annotation in annotations])
    assert row["win_rate"] == pytest.approx(75.31094527363184, abs=1e-9)
    assert row["standard_error"] == pytest.approx(1.5101858292160824, abs=1e-9)
    assert row["n_total"] == 804


def test_looked_up_verdicts_have_the_official_mean(real_data):
    """Preferences in [0, 1], null left out: 100 times their mean is the leaderboard's win rate."""
    folder = real_data / "alpaca_eval"
    outputs = json.loads((folder / "wizardlm-13b_outputs.json").read_text())
    judge = AnnotationsJudge(folder / "wizardlm-13b_alpaca_eval_gpt4_annotations.json")
    texts = [row["output"] for row in outputs]
    verdicts = judge.judge([row["instruction"] for row in outputs], texts, texts, outputs)
    known = [verdict for verdict in verdicts if verdict is not None]
    assert (len(verdicts), len(known)) == (805, 804)
    assert 100 * sum(known) / len(known) == pytest.approx(75.31094527363184, abs=1e-9)
    assert 100 * standard_error(known) == pytest.approx(1.5101858292160824, abs=1e-9)


def test_both_draw_codes_and_a_missing_verdict_are_understood(tmp_path):
    """1: reference, 2: model, 0 and 1.5: draw, 1.75: a weighted verdict, null: none."""
    codes = [1, 2, 0, 1.5, 1.75, None]
    rows = [{"instruction": str(n), "output_2": "x", "preference": code} for n, code in enumerate(codes)]
    (tmp_path / "annotations.json").write_text(json.dumps(rows))
    judge = AnnotationsJudge(tmp_path / "annotations.json")
    assert judge.judge([str(n) for n in range(6)], ["x"] * 6, [""] * 6, [{}] * 6) == [0.0, 1.0, 0.5, 0.5, 0.75, None]


def test_an_output_that_nobody_judged_is_an_error_and_never_a_loss(tmp_path):
    (tmp_path / "annotations.json").write_text('[{"instruction": "a", "output_2": "x", "preference": 2}]')
    judge = AnnotationsJudge(tmp_path / "annotations.json")
    with pytest.raises(InputError, match=r"no verdict on 1 of 2 outputs \(first: document 1\)"):
        judge.judge(["a", "a"], ["x", "y"], ["", ""], [{}, {}])


@pytest.mark.parametrize("text", ["{}", "[1]", '[{"instruction": "a"}]', "not json"])
def test_a_file_of_something_else_is_refused(text, tmp_path):
    path = tmp_path / "annotations.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"annotations\.json.* is not an annotation|line 1: not JSON"):
        read_annotations(path)


@pytest.mark.parametrize("missing", ["instruction", "output_2"])
def test_verdicts_that_say_not_what_they_are_about_cannot_be_looked_up(missing, tmp_path):
    row = {"instruction": "a", "output_2": "x", "preference": 2}
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps([row, {key: value for key, value in row.items() if key != missing}]))
    with pytest.raises(InputError, match=rf"entry 1 \(from 0\) has no {missing}"):
        AnnotationsJudge(path)


def test_a_verdict_that_is_no_preference_is_none_and_never_a_number(tmp_path):
    """NaN as Python and pandas write it, and numbers that are in nobody's code: left out, as the package does."""
    rows = [
        {"instruction": str(n), "output_2": "x", "preference": code} for n, code in enumerate([float("nan"), -1, 3])
    ]
    (tmp_path / "annotations.json").write_text(json.dumps(rows))
    judge = AnnotationsJudge(tmp_path / "annotations.json")
    assert judge.judge(["0", "1", "2"], ["x"] * 3, [""] * 3, [{}] * 3) == [None] * 3
