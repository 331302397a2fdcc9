"""AlpacaEval's win rate from verdicts: the package's figures, length control, and files that do not fit."""

import csv
import json
import random
import re

import pytest

from eval.errors import InputError
from eval.judge import read_annotations
from eval.judges.annotator import quiet
from eval.scoring_alpaca import check_annotations, control_length, head_to_head, length_notes, read_outputs


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


@pytest.mark.parametrize("wrong", ["2", True, [2], float("inf")])
def test_a_preference_that_is_no_number_is_refused(wrong, tmp_path):
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps([{"preference": 2}, {"preference": wrong}]))
    with pytest.raises(InputError, match=re.escape(f"entry 1 (from 0): preference {json.dumps(wrong)}")):
        read_annotations(path)


@pytest.mark.parametrize("kind", ["ranked", "weighted"])
@pytest.mark.parametrize("seed", range(5))
def test_every_figure_is_the_packages_own_bit_for_bit(kind, seed, tmp_path):
    """Made-up annotations with nulls, NaN, both codes of a draw and numbers outside of the code, given to the package's
    function and read by us in three layouts. Seeds 0 to 2 have few verdicts, 3 and 4 many. pandas, with which the
    package reads its files, reads decimals to within some units in the last place, and writes ten digits."""
    import pandas as pd

    with quiet():  # the package's import changes the level of the log
        from alpaca_eval.metrics import get_winrate

    draw = random.Random(f"{kind} {seed}")
    codes = [1, 2, 1.0, 2.0, 0, 1.5, None, float("nan"), -1, 3, 0.5]
    some = [draw.choice(codes) if kind == "ranked" else draw.choice([1 + draw.random(), *codes]) for _ in range(805)]
    rows = [
        {"instruction": f"Say {n}.", "preference": code} for n, code in enumerate(some[: (3, 9, 30, 804, 805)[seed]])
    ]
    rows.append({"instruction": "Say it.", "preference": 2.0})
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(rows))
    theirs = get_winrate(rows)
    lines, columns = tmp_path / "annotations.jsonl", tmp_path / "columns.json"
    lines.write_text("".join(json.dumps(row) + "\r\n" for row in rows))
    pd.DataFrame(rows).to_json(columns)
    for file in (path, lines):
        ours = head_to_head([row["preference"] for row in read_annotations(file)])
        assert {name: repr(float(value)) for name, value in ours.items()} == {
            name: repr(float(value)) for name, value in theirs.items()
        }
    assert head_to_head([row["preference"] for row in read_annotations(columns)]) == pytest.approx(
        theirs, rel=1e-8, nan_ok=True
    )
    assert get_winrate(pd.read_json(path)) == pytest.approx(theirs, rel=1e-8, nan_ok=True)


def test_verdicts_on_several_models_have_no_win_rate():
    row = {"instruction": "a", "generator_1": "reference", "generator_2": "one", "annotator": "gpt4", "preference": 2}
    assert check_annotations([row, {**row, "instruction": "b"}, {"preference": 1}]) == []
    for field in ("generator_1", "generator_2", "annotator"):
        with pytest.raises(
            InputError, match=rf"annotations of 2 {field} in one file \(.*other.*\): score one at a time"
        ):
            check_annotations([row, {**row, field: "other"}])


def test_an_instruction_that_is_judged_twice_is_said():
    row = {"instruction": "a", "preference": 2}
    assert check_annotations([row, row, {**row, "instruction": "b"}]) == [
        "1 instructions have several verdicts; each counts, as in the package"
    ]


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
    found = control_length(annotations(lambda number: (number // 4) % 5), gamed, order=None)
    assert len(found.predictions) == COUNT
    assert abs(found.win_rate - 75) < 10


def test_wins_by_length_alone_count_for_less(gamed):
    """The model's outputs are longer exactly where it wins: at equal length less is left of its 75 %."""
    found = control_length(annotations(lambda number: 40 if number % 4 < 3 else -10), gamed, order=None)
    assert found.win_rate < 70


def test_annotations_in_another_order_find_their_instructions(gamed):
    rows = annotations(lambda number: (number * 7) % 11)
    order = [row["instruction"] for row in rows]
    shuffled = random.Random(1).sample(rows, COUNT)
    assert control_length(shuffled, gamed, order) == control_length(rows, gamed, None)
    spaced = [{**row, "instruction": f" {row['instruction']}\r\n".replace(" ", "  ")} for row in shuffled]
    assert control_length(spaced, gamed, order) == control_length(rows, gamed, None)


def test_missing_instructions_leave_the_others_in_their_places(gamed):
    """Every third instruction has no annotation: its row of the data is nobody's."""
    rows = annotations(lambda number: (number * 7) % 11)
    order = [row["instruction"] for row in rows]
    found = control_length([row for number, row in enumerate(rows) if number % 3], gamed, order)
    assert len(found.predictions) == 40


def test_length_control_against_another_reference_than_alpaca_eval_2s_is_remarked_upon():
    assert length_notes([{"generator_1": "gpt4_1106_preview"}, {}]) == []
    (line,) = length_notes([{"generator_1": "text_davinci_003"}])
    assert "these are against text_davinci_003: not comparable with its leaderboard" in line


def test_a_model_against_itself_is_a_draw_by_construction(gamed):
    rows = [{**row, "generator_1": "model", "output_1": row["output_2"]} for row in annotations()]
    assert control_length(rows, gamed, None).win_rate == 50


def test_what_length_control_cannot_work_with_is_told(gamed, tmp_path):
    rows = annotations(lambda number: number % 5)
    with pytest.raises(InputError, match=r"annotation 1 .* has no output_2"):
        control_length([rows[0], {**rows[1], "output_2": None}], gamed, None)
    with pytest.raises(InputError, match=r"annotation 0 .*not one of AlpacaEval's 1"):
        control_length(rows, gamed, ["Another."])
    with pytest.raises(InputError, match="is of 60 instructions, there are 59 verdicts"):
        control_length(rows[1:], gamed, None)
    with pytest.raises(InputError, match=r"is of 60 instructions, and has none of number 60"):
        control_length(rows, gamed, ["", *(row["instruction"] for row in rows)])
    with pytest.raises(InputError, match="all outputs differ from their references by the same length"):
        control_length(annotations(), gamed, None)


DOCUMENTS = [{"instruction": text, "output": ""} for text in ("Greet Mia.", "Greet Ben.", "Greet Mia.")]


def outputs_file(tmp_path, rows):
    path = tmp_path / "outputs.json"
    path.write_text(rows if isinstance(rows, str) else json.dumps(rows))
    return path


def test_outputs_find_their_documents_in_any_order(tmp_path):
    rows = [{"instruction": i, "output": o} for i, o in [("Greet Ben.", "b"), ("Greet Mia.", "m"), ("Greet Mia.", "n")]]
    assert read_outputs(outputs_file(tmp_path, rows), DOCUMENTS) == ([0, 1, 2], ["m", "b", "n"])
    assert read_outputs(outputs_file(tmp_path, rows[:1]), DOCUMENTS, partial=True) == ([1], ["b"])
    spaced = [{"instruction": f"{row['instruction']} \n".replace(" ", "\n"), "output": row["output"]} for row in rows]
    assert read_outputs(outputs_file(tmp_path, spaced), DOCUMENTS) == ([0, 1, 2], ["m", "b", "n"])


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("[{", "not valid JSON"),
        ("{", "line 1: not JSON"),
        ("{}", "line 1 lacks instruction or output"),
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
