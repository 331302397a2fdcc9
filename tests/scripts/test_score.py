"""python -m scripts.score: what it prints and writes, and how it ends for files that it can't score."""

import json
import re
from pathlib import Path

import pytest

from eval.sandbox import isolation_level
from tests.scripts.scored import adds, answers, line_of, write


def test_gsm8k_prints_every_metric_with_its_error_problems_and_samples(call, data, tmp_path):
    """flexible: problem means 1, 1/2, 0: mean 50 %, standard error 50/sqrt(3) = 28.87 points. numeric: 29.00 is 29,
    so 1, 1, 0: 66.67 %, standard error sqrt(1/3)/sqrt(3) = 33.33."""
    rows = answers((2, "one"), (0, "The answer is: 18."), ("1", "It is $29.00."), (1, "29"))
    samples = write(tmp_path / "samples.jsonl", rows)
    ended = call("score", "benchmark=gsm8k", f"samples={samples}", f"data={data}")
    assert (ended.code, ended.err) == (0, "")
    assert line_of(ended.out, "metric") == ["metric", "score", "%", "s.e.", "n", "samples"]
    assert line_of(ended.out, "flexible") == ["flexible", "50.00", "28.87", "3", "4"]
    assert line_of(ended.out, "numeric") == ["numeric", "66.67", "33.33", "3", "4"]
    assert line_of(ended.out, "strict") == ["strict", "33.33", "33.33", "3", "4"]
    assert "isolation" not in ended.out


def test_programs_run_at_a_level_that_is_said_and_kept(call, data, tmp_path):
    """MBPP 11: two of four samples pass, pass@2 = 1 - C(2,2)/C(4,2) = 5/6; 12: both. Equal lines are two samples."""
    right, wrong = (11, adds(10)), (11, adds(9))
    rows = answers(right, wrong, right, wrong, (12, f"```python\n{adds(11)}\n```"), ("12", adds(11)))
    samples, out = write(tmp_path / "samples.jsonl.gz", rows), tmp_path / "scores.json"
    ended = call(
        "score", "benchmark=mbpp", f"samples={samples}", f"data={data}", "k=[1,2]", f"out={out}", "paths.work=work"
    )
    assert ended.code == 0
    assert line_of(ended.out, "pass_at_1") == ["pass_at_1", "75.00", "25.00", "2", "6"]
    assert line_of(ended.out, "pass_at_2") == ["pass_at_2", "91.67", "8.33", "2", "6"]
    assert ended.out.count(f"isolation level {isolation_level()}") == 1
    assert "program" in ended.err  # the progress bar
    report = json.loads(out.read_text())
    assert (report["n"], report["samples"], report["missing"], report["isolation"]) == (2, 6, 0, isolation_level())
    assert report["metrics"]["pass_at_1"] == {"score": 0.75, "standard_error": 0.25, "n": 2, "samples": 6}
    assert report["problems"]["11"] == {
        "samples": 4,
        "pass_at_1": 0.5,
        "pass_at_2": 5 / 6,
        "reasons": ["", "assertion", "", "assertion"],
    }
    assert report["provenance"]["packages"]["numpy"]
    assert sorted(report["versions"]) == ["benchmark", "sandbox"]


def test_clean_false_takes_outputs_as_they_are(call, data, tmp_path):
    fenced = f"```python\n{adds(10)}\n```"
    samples = write(tmp_path / "samples.jsonl", answers((11, fenced), (12, adds(11))))
    common = ("benchmark=mbpp", f"samples={samples}", f"data={data}", "cache=false")
    assert line_of(call("score", *common).out, "pass_at_1")[1] == "100.00"
    assert line_of(call("score", *common, "clean=false").out, "pass_at_1")[1] == "50.00"


def test_humaneval_takes_its_task_ids_and_their_numbers(call, data, tmp_path):
    rows = answers(("HumanEval/0", "    return x"), (1, "    return x + 1"), ("1", "    return x"))
    samples = write(tmp_path / "samples.jsonl", rows)
    ended = call("score", "benchmark=humaneval", f"samples={samples}", f"data={data}")
    assert line_of(ended.out, "pass_at_1") == ["pass_at_1", "75.00", "25.00", "2", "3"]


def test_missing_problems_are_an_error_unless_some_are_enough(call, data, tmp_path):
    samples = write(tmp_path / "samples.jsonl", answers((1, "29")))
    common = ("benchmark=gsm8k", f"samples={samples}", f"data={data}")
    ended = call("score", *common)
    assert ended.code == 2
    assert "2 of 3 problems of gsm8k have no sample (first: 0)" in ended.err
    ended = call("score", *common, "partial=true", "out=scores.json")
    assert line_of(ended.out, "flexible") == ["flexible", "100.00", "nan", "1", "1"]
    assert "partial: 2 problems without a sample are left out" in ended.out
    report = json.loads(Path("scores.json").read_text())
    assert (report["n"], report["missing"]) == (1, 2)
    assert report["metrics"]["flexible"]["standard_error"] is None


def test_annotations_give_the_packages_figures(call, tmp_path):
    rows = [{"preference": preference} for preference in (2, 2, 1, 1.5, None)]
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(rows))
    ended = call("score", "benchmark=alpaca_eval", f"annotations={path}", "out=scores.json")
    assert ended.code == 0
    assert line_of(ended.out, "win_rate") == ["win_rate", "62.5"]
    assert [line_of(ended.out, name)[1] for name in ("n_wins", "n_wins_base", "n_draws", "n_total", "n_null")] == [
        *("2", "1", "1", "4", "1")
    ]
    assert sum("not computed: no df_gamed.csv" in line for line in ended.out.splitlines()) == 1
    report = json.loads(Path("scores.json").read_text())
    assert report["metrics"]["win_rate"] == 62.5
    assert report["length_controlled"].startswith("not computed")


def test_outputs_go_through_the_judge(call, data, tmp_path):
    """Rules: Mia both (a draw), Ben the model, Zoe neither (a draw): (1/2 + 1 + 1/2) / 3."""
    texts = {"Greet Zoe.": "no", "Greet Mia.": "Dear Mia!", "Greet Ben.": "Dear Ben!"}
    path = tmp_path / "outputs.json"
    path.write_text(json.dumps([{"instruction": i, "output": o} for i, o in texts.items()]))
    ended = call("score", "benchmark=alpaca_eval", f"outputs={path}", f"data={data}", "out=scores.json")
    assert ended.code == 0
    metrics = json.loads(Path("scores.json").read_text())["metrics"]
    assert abs(metrics["win_rate"] - 200 / 3) < 1e-9
    assert (metrics["n_wins"], metrics["n_draws"], metrics["n_total"]) == (1, 2, 3)
    assert abs(metrics["rule_pass"] - 200 / 3) < 1e-9


GOOD = '{"id": 0, "output": "18"}'

# File content (None: no file), further arguments, what the answer must say.
MISTAKES = {
    "no file": (None, "", "no samples file"),
    "an empty file": ("", "", "holds no sample"),
    "blank lines alone": ("\n  \n", "", "holds no sample"),
    "no JSON": (f"{GOOD}\n\nid 1", "", "samples.jsonl, line 3: not JSON"),
    "a list": ("[1]", "", 'entry 0 (from 0): write an object with "id" and "output"'),
    "no output": (f'{GOOD}\n{{"id": 0, "text": ""}}', "", 'line 2: write an object with "id" and "output" (it has id'),
    "an output that is no text": (f'{GOOD}\n{{"id": 0, "output": null}}', "", "line 2: output is null; write a string"),
    "an id of another type": (f'{GOOD}\n{{"id": 1.0, "output": ""}}', "", "line 2: id is 1.0; write the row in the"),
    "a switch for an id": (f'{GOOD}\n{{"id": true, "output": ""}}', "", "line 2: id is true"),
    "a list of too many lists": ('[["18"], [], [], []]', "", "entry 3 (from 0): gsm8k has 3 problems; write one list"),
    "a list of lists of something": ('[["18"], [29], []]', "", "entry 1 (from 0): a list that holds something else"),
    "a protocol of other prompts": (GOOD, "prompts=tiny protocol=dare", "protocol=dare: goes with prompts=wizard_13b"),
    "an unknown id": (
        f'{GOOD}\n{{"id": 3, "output": ""}}',
        "",
        "line 2: gsm8k has no problem 3; write an id from 0 to 2",
    ),
    "not UTF-8": (b'{"id": 0, "output": "\xff"}', "", "line 1: not UTF-8"),
    "a k of too few samples": (f"{GOOD}\n" * 2, "k=[1,3] partial=true", "k=3: 1 of 1 problems have fewer samples"),
    "a k of zero": (GOOD, "k=[0]", "k=0: write a whole number from 1"),
    "no k": (GOOD, "k=[]", "k=[]: write at least one number"),
    "an unknown benchmark": (GOOD, "benchmark=gsm9k", "write one of gsm8k, mbpp, humaneval, alpaca_eval"),
    "an unknown family of prompts": (GOOD, "prompts=llama", "prompts=llama: write one of"),
    "no time at all": (GOOD, "timeout_s=0", "timeout_s=0: write a number above 0"),
    "a time that is no number": (GOOD, "timeout_s=nan", "timeout_s=nan: write a number above 0, at most 86400"),
    "a time that no clock holds": (GOOD, "timeout_s=1e300", "timeout_s=1e+300: write a number above 0, at most 86400"),
    "more memory than can be counted": (GOOD, f"memory_mb={10**15}", f"memory_mb={10**15}: write a whole number up to"),
    "an id of too many digits": (f'{GOOD}\n{{"id": {"9" * 5000}, "output": ""}}', "", "line 2: not JSON (a number too"),
    "an id as text of too many digits": (f'{GOOD}\n{{"id": "{"9" * 5000}", "output": ""}}', "", "no problem 9999"),
    "no worker": (GOOD, "workers=0", "workers=0: write a whole number from 1"),
    "too little memory": (GOOD, "memory_mb=1", "memory_mb=1: write a whole number from 64"),
    "a file of another benchmark": (GOOD, "annotations=a.json", "annotations= does not go with benchmark=gsm8k"),
    "samples of alpaca_eval": (GOOD, "benchmark=alpaca_eval", "samples= does not go with benchmark=alpaca_eval"),
    "an out in no folder": (GOOD, "out=nix/scores.json", "out=nix/scores.json: nix is no folder"),
    "an out that is a folder": (GOOD, "out=.", "out=.: this is a folder"),
    "no data folder": (GOOD, "data=nix", "nix: no such folder of benchmark data"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_writes_nothing(name, call, data, tmp_path):
    content, more, told = MISTAKES[name]
    samples = tmp_path / "samples.jsonl"
    if content is not None:
        samples.write_bytes(content if isinstance(content, bytes) else content.encode())
    common = {"benchmark": "gsm8k", "samples": str(samples), "data": str(data), "out": "scores.json"}
    common.update(argument.split("=", 1) for argument in more.split())
    ended = call("score", *(f"{key}={value}" for key, value in common.items()))
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    assert told in ended.err
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("", "benchmark is not set; write benchmark=VALUE"),
        ("benchmark=mbpp", "benchmark=mbpp needs samples=FILE"),
        ("benchmark=alpaca_eval", "needs annotations=FILE or outputs=FILE"),
        ("benchmark=alpaca_eval annotations=a outputs=b", "needs annotations=FILE or outputs=FILE"),
        ("benchmark=alpaca_eval annotations=nix.json", "no annotations file nix.json"),
        ("benchmark=alpaca_eval annotations={empty}", "none of the 0 annotations holds a verdict"),
        ("benchmark=alpaca_eval annotations={verdict} length_data=nix.csv", "length_data=nix.csv: No such file"),
        ("benchmark=alpaca_eval outputs=nix.json data={data}", "no outputs file nix.json"),
        ("benchmark=alpaca_eval outputs=nix.json", "no data folder is named"),
        ("benchmark=humaneval samples={empty} data={elsewhere}", "no test data of humaneval"),
    ],
)
def test_what_is_missing_is_told(arguments, told, call, data, tmp_path):
    (tmp_path / "empty.json").write_text("[]")
    (tmp_path / "verdict.json").write_text('[{"preference": 1}]')
    paths = {"empty": tmp_path / "empty.json", "verdict": tmp_path / "verdict.json", "elsewhere": tmp_path}
    ended = call("score", *arguments.format(data=data, **paths).split())
    assert (ended.code, ended.out) == (2, "")
    assert re.fullmatch(f"error: .*{re.escape(told)}.*\n", ended.err)


HOSTILE = [
    "import os\nos._exit(0)",
    "def f(x):\n    raise SystemExit(0)",
    "import os\nfor fd in range(64):\n    try: os.write(fd, b'passed')\n    except OSError: pass\nos._exit(0)",
    "print('passed' * 10000)",
    "import atexit\natexit.register(print, 'passed')",
]


def test_programs_that_only_pretend_score_nothing(call, data, tmp_path):
    rows = answers(*((id_, code) for code in HOSTILE for id_ in (11, 12)))
    samples = write(tmp_path / "samples.jsonl", rows)
    ended = call("score", "benchmark=mbpp", f"samples={samples}", f"data={data}", "clean=false")
    assert line_of(ended.out, "pass_at_1") == ["pass_at_1", "0.00", "0.00", "2", "10"]
