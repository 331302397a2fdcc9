"""Shared by the evaluation tests: the public benchmark files, and a small data folder in the family layout."""

import json
import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the published benchmark files; skips when it is not named, fails when it is named and missing."""
    if "DELLA_DATA_DIR" not in os.environ:
        pytest.skip("DELLA_DATA_DIR is not set")
    folder = Path(os.environ["DELLA_DATA_DIR"])
    assert (folder / "gsm8k" / "test.jsonl").is_file(), f"DELLA_DATA_DIR={folder} does not hold the benchmarks"
    return folder


GSM8K = [
    {"question": f"Tom has {n} pens and buys 2 more. How many?", "answer": f"{n} + 2 = {n + 2} #### {n + 2}"}
    for n in range(5)
]
MBPP = [
    {
        "task_id": 40 + n,
        "text": f"Write a function f that adds {n}.",
        "code": f"def f(x):\n    return x + {n}",
        "test_list": [f"assert f(1) == {1 + n}", f"assert f(5) == {5 + n}", f"assert f(-3) == {n - 3}"],
        "test_setup_code": "",
        "challenge_test_list": [],
        "group": "held_out" if n % 2 else "seen",
    }
    for n in range(4)
]
ALPACA_EVAL = [
    {
        "instruction": f"Greet {name}.",
        "output": reference,
        "generator": "tiny_base",
        "dataset": "tiny",
        "rule": {"kind": "starts", "text": f"Dear {name}"},
    }
    for name, reference in [("Mia", "Dear Mia, hello."), ("Ben", "What?"), ("Zoe", "Hello Zoe")]
]


HUMANEVAL = [
    {
        "task_id": f"HumanEval/{n}",
        "prompt": f'def add_{n}(x: int) -> int:\n    """ Add {n} to x.\n    """\n',
        "canonical_solution": f"    return x + {n}\n",
        "entry_point": f"add_{n}",
        "test": f"\n\nMETADATA = {{}}\n\n\ndef check(candidate):\n    assert candidate(1) == {1 + n}\n",
    }
    for n in range(3)
]


@pytest.fixture
def family_data(tmp_path: Path) -> Path:
    """Dev splits of three benchmarks, 5, 4 and 3 documents, as della.tiny lays them out; HumanEval's test split, 3."""
    folder = tmp_path / "data"
    for name, rows in [("gsm8k", GSM8K), ("mbpp", MBPP)]:
        (folder / name).mkdir(parents=True)
        (folder / name / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "alpaca_eval").mkdir()
    (folder / "alpaca_eval" / "dev.json").write_text(json.dumps(ALPACA_EVAL))
    (folder / "human_eval").mkdir()
    (folder / "human_eval" / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in HUMANEVAL))
    return folder
