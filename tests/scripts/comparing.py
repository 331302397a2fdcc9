"""Made-up runs for the tests of scripts.compare: records with samples, outcomes files, and the data they answered."""

import hashlib
import json
from pathlib import Path

from della.methods import describe, make_method
from della.record import make_record, score_block, write_record

QUESTIONS = [f"Tom has {i} pens and buys 2 more. How many?" for i in range(40)]


def write_data(folder: Path) -> str:
    """GSM8K's test split of 40 problems under folder/gsm8k. Returns its SHA-256."""
    file = folder / "gsm8k" / "test.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"question": question, "answer": f"So {i + 2}\n#### {i + 2}"} for i, question in enumerate(QUESTIONS)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return hashlib.sha256(file.read_bytes()).hexdigest()


def outputs_of(right: set[int], n: int = 40) -> list[str]:
    """`The answer is: N.`, N right for the problems in `right`."""
    return [f"Step by step. The answer is: {i + 2 if i in right else 999}." for i in range(n)]


def write_run(
    records: Path, right: set[int], *, seed: int = 1, n: int = 40, data: str = "d" * 64, version: int = 1, **config
) -> str:
    """A record of DELLA on LM+Math with its samples; `right` are the problems solved. Returns its identity."""
    described = {
        "family": "tiny",
        "family_seed": 0,
        "merge": ["lm", "math"],
        "method": describe(make_method("della")),
        "seed": seed,
        "split": "test",
        "limit": None,
        "benchmarks": ["gsm8k"],
        "prompts": "tiny",
        "max_new_tokens": 48,
        "engine": {"name": "hf", "dtype": "float32", "max_model_len": None},
        "judge": "rules",
    }
    ids = [str(i) for i in range(n)]
    scores = [float(i in right) for i in range(n)]
    block = score_block("flexible", ids, ["all"] * n, {"flexible": scores, "strict": scores})
    inputs = {"base": "b", "data": {"gsm8k": data}}
    record = make_record(described | config, inputs, {"gsm8k": version, "merge": 1}, scores={"gsm8k": block})
    samples = [{"benchmark": "gsm8k", "id": i, "output": o} for i, o in zip(ids, outputs_of(right, n), strict=True)]
    write_record(records, record, samples)
    return record["identity"]


def write_outcomes(file: Path, right: set[int], n: int = 40, **more) -> Path:
    """What scripts.evaluate out=FILE writes."""
    scores = [float(i in right) for i in range(n)]
    outcome = {
        "ids": [str(i) for i in range(n)],
        "metrics": {"flexible": scores},
        "groups": ["all"] * n,
        "outputs": outputs_of(right, n),
    }
    about = {"model": file.stem, "split": "test", "engine": "hf", "outcomes": {"gsm8k": outcome}}
    file.write_text(json.dumps(about | more))
    return file
