"""`make reproduce EXPERTS=wizard_13b`, rehearsed: the family's own file, fetched from a hub, merged, asked the real
benchmarks with the paper's prompts, judged by scripted judges, printed as Table 1.

What is scripted: the hub, the weights (stand-ins of the same traits) and both judges' answers. On a machine with the
real folders nothing else is different. By default a few prompts and one point a method; `full` takes all 805, 1,319 and
500 prompts, through the commands that make itself runs, with vLLM.
"""

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from della.record import load_records
from tests.eval.scripted_endpoint import ScriptedEndpoint
from tests.scripts.fetching.scripted_hub import Repository, ScriptedHub
from tests.scripts.rehearsal.judges import answer
from tests.scripts.rehearsal.standins import stand_ins
from tests.scripts.test_configs import composed

ROOT = Path(__file__).resolve().parents[3]
DATA = os.environ.get("DELLA_DATA_DIR")
# One point for each merge and method, and one mask seed: 4 x 8 choosing runs and 4 single models, then 4 x 4 runs of
# the random methods with another seed.
ONE_POINT = "sweep.drop_rates=[0.5] sweep.lambdas=[1.0] sweep.seeds=[1]"
RUNS = 4 * 8 + 4 + 4 * 4
JUDGED = "judge.model=gpt-4 judge.gsm8k=true benchmarks.gsm8k.metric=judged"
PAPER = ["79.1", "60.6", "81.8", "64.1", "35.2", "57.9"]  # cells of the paper's Table 1


@pytest.fixture(scope="module")
def published() -> dict[str, dict[str, bytes]]:
    if DATA is None:
        pytest.skip("DELLA_DATA_DIR is not set")
    return stand_ins()


@pytest.fixture
def hub(published):
    """The stand-ins under the names and commits that configs/experts/wizard_13b.yaml pins, the base gated."""
    named = composed("experts", "experts=wizard_13b").experts.hub
    repositories = {}
    for name, source in named.items():
        repo, _, commit = source.partition("@")
        repositories[repo] = Repository(published[name], commit, token="hf_read" if name == "base" else None)
    with ScriptedHub(repositories) as running:
        yield running


def environment(hub: ScriptedHub, tmp_path: Path, **more: str) -> dict[str, str]:
    return {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": "hf_read",
        "HF_HUB_OFFLINE": "0",
        "DELLA_DATA_DIR": str(DATA),
        "DELLA_CACHE": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": "1",
        **more,
    }


def commands(arguments: str, judge: str) -> list[list[str]]:
    """What `make reproduce EXPERTS=wizard_13b SELECT=test` runs after the environment is there."""
    asked = ["make", "-n", "reproduce", "EXPERTS=wizard_13b", "SELECT=test", f"JUDGE={judge}", f"ARGS={arguments}"]
    told = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout
    found = [shlex.split(line) for line in told.splitlines() if "-m scripts." in line]
    assert [line[line.index("-m") + 1] for line in found] == ["scripts.experts", "scripts.run", "scripts.report"]
    return found


def test_the_reproduction_of_table_1_goes_through_on_stand_ins(hub, call, tmp_path):
    """Every run of the shortened sweep is done, in the dtypes of the paper, and Table 1 has no empty cell.

    Two prompts of each benchmark, eight tokens an answer, transformers as the engine: nothing else is overridden.
    """
    arguments = f"paths.work={tmp_path / 'work'} {JUDGED} {ONE_POINT} sweep.test_limit=2 tracking=none"
    short = ["engine=hf", "experts.max_new_tokens=8", f"experts.data={DATA}"]
    with ScriptedEndpoint(answer) as endpoint:
        experts, run, report = commands(f"{arguments} judge.base_url={endpoint.url}", "served")
        fetched = subprocess.run(experts, cwd=ROOT, env=environment(hub, tmp_path), capture_output=True, text=True)
        assert (fetched.returncode, fetched.stderr) == (0, "")
        run.remove("-m")  # the module's; what is left of it is the multirun's, which one process does without
        in_process = [item for item in run[2:] if item != "-m" and not item.startswith(("hydra/launcher", "engine="))]
        ended = call("run", *in_process, *short)
        assert ended.code == 0, ended.err
        assert f"{RUNS} runs, {RUNS} executed, 0 done before, 0 failed" in ended.out
        reported = call("report", *[item for item in report[3:] if not item.startswith("engine=")], *short)
    check(load_records(tmp_path / "work" / "records"), reported.out, {"alpaca_eval": 2, "gsm8k": 2, "mbpp": 2})
    held = json.loads((tmp_path / "work" / "experts" / "wizard_13b.lock.json").read_text())["models"]
    assert sorted(held["lm"]["files"])[-5:-2] == [
        "pytorch_model-00001-of-00002.bin",
        "pytorch_model-00002-of-00002.bin",
        "pytorch_model.bin.index.json",
    ]
    assert not any(name.endswith(".bin") for name in held["base"]["files"])


def check(records: list[dict], printed: str, prompts: dict[str, int]) -> None:
    """What every rehearsal must have left: done records of the family's settings, and the table beside the paper's."""
    assert {record["status"] for record in records} == {"done"}
    assert len(records) == RUNS
    assert {record["config"]["prompts"] for record in records} == {"wizard_13b"}
    assert {record["config"]["engine"]["dtype"] for record in records} == {"bfloat16"}
    assert {record["config"]["merge_dtype"] for record in records} == {"float16"}
    assert {record["config"]["split"] for record in records} == {"test"}
    assert {record["config"]["judge"] for record in records} == {"alpaca_eval_gpt4 (gpt-4)"}
    for record in records:
        for name, block in record["scores"].items():
            assert block["n"] == prompts[name]
            assert block["metric"] == {"alpaca_eval": "win_rate", "gsm8k": "judged", "mbpp": "pass_at_1"}[name]
            assert None not in block["metrics"][block["metric"]]
    table = printed[printed.index("DELLA's Table 1") : printed.index("DELLA minus the others")]
    assert [number for number in PAPER if number not in table] == []
    assert "not run" not in table
    assert len(re.findall(rf"n={prompts['gsm8k']}\b", table)) >= 4 * 3
    assert "metric shown: gsm8k judged" in table
    assert "chosen on the very test prompts reported, as the paper did: optimistic" in table


@pytest.mark.full
@pytest.mark.timeout(7200)
def test_the_same_with_every_prompt_the_paper_has(hub, tmp_path):
    """805, 1,319 and 500 prompts, the papers' limits on answers, vLLM, the sweep's own launcher."""
    arguments = f"paths.work={tmp_path / 'work'} {JUDGED} {ONE_POINT} judge.parallel=32 tracking=none workers=1"
    with ScriptedEndpoint(answer) as endpoint:
        printed = ""
        for command in commands(f"{arguments} judge.base_url={endpoint.url}", "served"):
            log = tmp_path / "log.txt"
            with log.open("w") as stream:
                done = subprocess.run(
                    command, cwd=ROOT, env=environment(hub, tmp_path), stdout=subprocess.PIPE, stderr=stream, text=True
                )
            assert done.returncode == 0, log.read_text()[-3000:]
            printed = done.stdout
    prompts = {"alpaca_eval": 805, "gsm8k": 1319, "mbpp": 500}
    check(load_records(tmp_path / "work" / "records"), printed, prompts)
    assert {asked["model"] for asked in endpoint.bodies} == {"gpt-4"}
