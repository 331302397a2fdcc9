"""The task folder in lm-eval's own command line: every task file, with the protocol that it brings."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from eval.benchmarks import BENCHMARKS, TASKS
from eval.tasks.prompts import find_format


def run_alone(data: Path, folder: Path, tasks: list[str], *more: str) -> dict[str, dict]:
    """The results of lm-eval's command line with its scripted `dummy` model, which answers all prompts alike and
    wrongly; run where the repository is not on the path."""
    command = [sys.executable, "-P", "-m", "lm_eval", "--include_path", str(TASKS), "--model", "dummy"]
    command += ["--tasks", ",".join(tasks), "--output_path", str(folder / "out"), *more]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"DELLA_DATA_DIR": str(data), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    (file,) = (folder / "out").rglob("results*.json")
    return json.loads(Path(file).read_text())["results"]


def test_the_task_folder_works_alone_with_a_split_and_a_family_of_prompts(family_data, tmp_path):
    tasks = [BENCHMARKS[name].task for name in ("gsm8k", "mbpp", "alpaca_eval")]
    results = run_alone(family_data, tmp_path, tasks, "--metadata", '{"split": "dev", "prompts": "tiny"}')
    assert results["della_gsm8k"]["numeric,none"] == 0
    assert results["della_mbpp"]["pass_at_1,none"] == 0
    assert results["della_alpaca_eval"]["win_rate,none"] == pytest.approx(1 / 3)  # loses for Mia, else draws


def test_every_task_file_works_alone(family_data, tmp_path):
    """HumanEval too, and the variants, which bring their protocol with them; test splits are made of the dev splits."""
    for path in list(family_data.glob("*/dev.*")):
        path.with_stem("test").write_bytes(path.read_bytes())
    tasks = sorted(path.stem for path in TASKS.glob("*.yaml"))
    assert len(tasks) == 8
    assert {benchmark.task for benchmark in BENCHMARKS.values()} <= set(tasks)
    results = run_alone(family_data, tmp_path, tasks, "--log_samples")
    assert results["della_humaneval"]["pass_at_1,none"] == 0
    assert results["della_gsm8k_dare"]["mergelm,none"] == 0
    assert "mergelm,none" not in results["della_gsm8k_fixed"]
    shown = {}
    for task in ("della_gsm8k", "della_gsm8k_fixed", "della_gsm8k_dare"):
        (samples,) = (tmp_path / "out").rglob(f"samples_{task}_2*.jsonl")
        sample = json.loads(samples.read_text().splitlines()[0])
        shown[task] = sample["arguments"]["gen_args_0"]["arg_0"]
    question = {"question": "Tom has 0 pens and buys 2 more. How many?"}
    assert shown == {
        "della_gsm8k": find_format("wizard_13b", "gsm8k").prompt(question),
        "della_gsm8k_fixed": find_format("wizard_13b/fixed", "gsm8k").prompt(question),
        "della_gsm8k_dare": find_format("wizard_13b/dare", "gsm8k").prompt(question),
    }
