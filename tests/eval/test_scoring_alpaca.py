"""AlpacaEval's win rate from verdicts: the package's figures, length control, and files that do not fit."""

import csv
import json
import random
import re

import pytest

from eval.errors import InputError
from eval.judge import read_annotations
from eval.scoring_alpaca import head_to_head, length_controlled, read_outputs


def test_the_leaderboards_own_row_comes_out_to_1e_9(real_data):
    folder = real_data / "alpaca_eval"
    rows = read_annotations(folder / "wizardlm-13b_alpaca_eval_gpt4_annotations.json")
    found = head_to_head([row["preference"] for row in rows])
    with (folder / "alpaca_eval_gpt4_leaderboard.csv").open() as file:
        published = next(row for row in csv.DictReader(file) if row[""] == "wizardlm-13b")
    for name in ("win_rate", "standard_error", "n_wins", "n_wins_base", "n_draws", "n_total", "discrete_win_rate"):
        assert abs(found[name] - float(published[name])) < 1e-9, name


def test_draws_and_missing_verdicts_count_as_in_the_package():
    """Two wins, one loss, two draws (0 is the old code of 1.5) and two nulls: 3/5; n is 5."""
    found = head_to_head([2, 2.0, 1, 1.5, 0, None, float("nan")])
    assert {name: value for name, value in found.items() if name.startswith("n_")} == {
        "n_wins": 2,
        "n_wins_base": 1,
        "n_draws": 2,
        "n_total": 5,
    }
    assert found["win_rate"] == 60


def test_weighted_preferences_count_as_what_they_are():
    """1.9 and 1.3 are 0.9 and 0.3 of a win: 60 %; rounded, one win and one loss: 50 %."""
    found = head_to_head([1.9, 1.3])
    assert abs(found["win_rate"] - 60) < 1e-9
    assert found["discrete_win_rate"] == 50


@pytest.mark.parametrize("wrong", ["2", True, [2]])
def test_a_preference_that_is_no_number_is_refused(wrong):
    with pytest.raises(InputError, match=re.escape(f"annotation 1 (from 0): preference {json.dumps(wrong)}")):
        head_to_head([2, wrong])


def test_annotations_without_any_verdict_are_refused():
    with pytest.raises(InputError, match="none of the 2 annotations holds a verdict"):
        head_to_head([None, None])


COUNT = 60


def annotations(lengths=lambda number: 10) -> list[dict]:
    """The model wins the first three of every four."""
    return [
        {
            "instruction": f"Say {number}.",
            "output_1": "x" * 20,
            "output_2": "x" * (20 + lengths(number)),
            "generator_1": "reference",
            "generator_2": "model",
            "preference": 2.0 if number % 4 < 3 else 1.0,
        }
        for number in range(COUNT)
    ]


@pytest.fixture
def gamed(tmp_path):
    """A df_gamed.csv of COUNT instructions without difficulty and of two baselines gamed in length."""
    path, draw = tmp_path / "df_gamed.csv", random.Random(0)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["preference", "index", "std_delta_len", "instruction_difficulty", "not_gamed_baseline", "model"]
        )
        for model, sign in (("concise", 1), ("verbose", -1)):
            for index in range(COUNT):
                length = sign * draw.uniform(0.5, 1.5)
                writer.writerow([float(draw.random() < 0.5), index, length, 0.0, False, model])
    return path


def test_without_differences_in_length_to_control_the_rate_stays_near_the_plain_one(gamed):
    """Lengths vary, but not with the verdicts; the plain rate is 75 %, the regression is regularised."""
    found = length_controlled(annotations(lambda number: (number // 4) % 5), gamed, order=None)
    assert sorted(found) == ["lc_standard_error", "length_controlled_winrate"]
    assert abs(found["length_controlled_winrate"] - 75) < 10


def test_wins_by_length_alone_count_for_less(gamed):
    """The model's outputs are longer exactly where it wins: at equal length less is left of its 75 %."""
    found = length_controlled(annotations(lambda number: 40 if number % 4 < 3 else -10), gamed, order=None)
    assert found["length_controlled_winrate"] < 70


def test_annotations_in_another_order_find_their_instructions(gamed):
    rows = annotations(lambda number: (number * 7) % 11)
    order = [row["instruction"] for row in rows]
    shuffled = random.Random(1).sample(rows, COUNT)
    assert length_controlled(shuffled, gamed, order) == length_controlled(rows, gamed, None)


def test_what_length_control_cannot_work_with_is_told(gamed, tmp_path):
    rows = annotations()
    with pytest.raises(InputError, match="has no output_2"):
        length_controlled([{**rows[0], "x": 1}, {k: v for k, v in rows[1].items() if k != "output_2"}], gamed, None)
    with pytest.raises(InputError, match=r"several generator_2 \(model, other\)"):
        length_controlled([rows[0], {**rows[1], "generator_2": "other"}], gamed, None)
    with pytest.raises(InputError, match=r"annotation 0 .*not one of AlpacaEval's 1"):
        length_controlled(rows, gamed, ["Another."])
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="has no column preference"):
        length_controlled(rows, other, None)
    with pytest.raises(InputError, match="not a table"):
        length_controlled(rows, tmp_path / "nix.csv", None)


DOCUMENTS = [{"instruction": text, "output": ""} for text in ("Greet Mia.", "Greet Ben.", "Greet Mia.")]


def outputs_file(tmp_path, rows):
    path = tmp_path / "outputs.json"
    path.write_text(rows if isinstance(rows, str) else json.dumps(rows))
    return path


def test_outputs_find_their_documents_in_any_order(tmp_path):
    rows = [{"instruction": i, "output": o} for i, o in [("Greet Ben.", "b"), ("Greet Mia.", "m"), ("Greet Mia.", "n")]]
    assert read_outputs(outputs_file(tmp_path, rows), DOCUMENTS) == ([0, 1, 2], ["m", "b", "n"])
    assert read_outputs(outputs_file(tmp_path, rows[:1]), DOCUMENTS, partial=True) == ([1], ["b"])


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("{", "not valid JSON"),
        ("{}", "not a JSON list"),
        ("[]", "holds no output"),
        ([{"instruction": "Greet Ben."}], r"entry 0 \(from 0\) lacks instruction or output"),
        ([{"instruction": "Greet Zoe.", "output": "z"}], "entry 0 .* not one of the benchmark's"),
        ([{"instruction": "Greet Ben.", "output": "b"}] * 2, "entry 1 .* a second output"),
        ([{"instruction": "Greet Ben.", "output": "b"}], r"2 of 3 instructions have no output \(first: document 0"),
    ],
)
def test_outputs_that_do_not_fit_are_told(tmp_path, rows, told):
    with pytest.raises(InputError, match=told):
        read_outputs(outputs_file(tmp_path, rows), DOCUMENTS)


def test_a_missing_outputs_file_is_told(tmp_path):
    with pytest.raises(InputError, match="no outputs file"):
        read_outputs(tmp_path / "nix.json", DOCUMENTS)
