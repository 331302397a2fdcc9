"""The task folder in lm-eval's own command line: every task file, with the protocol that it brings."""

import json
import os
import subprocess
import sys
from pathlib import Path

from eval.benchmarks import BENCHMARKS, TASKS
from eval.tasks.prompts import find_format


def test_every_task_file_works_alone(family_data, tmp_path):
    """The other tasks in lm-eval's command line: HumanEval, and the variants, which bring their protocol with them.

    The `dummy` model answers all prompts alike and wrongly; test splits are made of the dev splits.
    """
    for path in list(family_data.glob("*/dev.*")):
        path.with_stem("test").write_bytes(path.read_bytes())
    tasks = sorted(path.stem for path in TASKS.glob("*.yaml"))
    assert len(tasks) == 8
    assert {benchmark.task for benchmark in BENCHMARKS.values()} <= set(tasks)
    command = [sys.executable, "-P", "-m", "lm_eval", "--include_path", str(TASKS), "--model", "dummy"]
    command += ["--tasks", ",".join(tasks), "--output_path", str(tmp_path / "out"), "--log_samples"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"DELLA_DATA_DIR": str(family_data), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    (file,) = (tmp_path / "out").rglob("results*.json")
    results = json.loads(Path(file).read_text())["results"]
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
