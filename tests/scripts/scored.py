"""A small data folder, samples files and how a line of the output is read: shared by the tests of scripts.score."""

import gzip
import json
from pathlib import Path

GSM8K = [{"question": "?", "answer": f"... #### {n}"} for n in (18, 29, 1000)]
MBPP = [
    {"task_id": n, "text": "?", "test_list": [f"assert f(1) == {n}", f"assert f(2) == {n + 1}"], "test_setup_code": ""}
    for n in (11, 12)
]
HUMANEVAL = [
    {
        "task_id": f"HumanEval/{n}",
        "prompt": f"def add_{n}(x):\n",
        "test": f"def check(candidate):\n    assert candidate(1) == {1 + n}",
        "entry_point": f"add_{n}",
    }
    for n in (0, 1)
]
ALPACA_EVAL = [
    {"instruction": f"Greet {name}.", "output": reference, "rule": {"kind": "starts", "text": f"Dear {name}"}}
    for name, reference in [("Mia", "Dear Mia, hello."), ("Ben", "What?"), ("Zoe", "Hello Zoe")]
]


def write_data(folder: Path) -> Path:
    """A folder of three GSM8K, two MBPP, two HumanEval problems and three instructions, laid out as the real ones."""
    for name, rows in (("gsm8k", GSM8K), ("mbpp", MBPP)):
        (folder / name).mkdir(parents=True)
        write(folder / name / "test.jsonl", rows)
    (folder / "human_eval").mkdir()
    write(folder / "human_eval" / "HumanEval.jsonl.gz", HUMANEVAL)
    (folder / "alpaca_eval").mkdir()
    (folder / "alpaca_eval" / "test.json").write_text(json.dumps(ALPACA_EVAL))
    return folder


def write(path: Path, rows: list) -> Path:
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    if path.suffix == ".gz":
        with gzip.open(path, "wt") as file:
            file.write(text)
    else:
        path.write_text(text)
    return path


def answers(*pairs) -> list[dict]:
    return [{"id": id_, "output": output} for id_, output in pairs]


def line_of(text: str, metric: str) -> list[str]:
    return next(line.split() for line in text.splitlines() if line.startswith(f"{metric} "))


def adds(number: int) -> str:
    return f"def f(x):\n    return x + {number}"
