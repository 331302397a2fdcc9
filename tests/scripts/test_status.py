"""How far a sweep is said to be: from its records and claims alone, without a model, a family or torch being made."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from della.claim import claim
from della.record import load_records
from scripts import status
from scripts.points import first_stage
from scripts.progress import StageProgress, Survey, final_runs, time_left
from scripts.slurm.submissions import Submission, submissions
from tests.scripts.test_configs import composed

ROOT = Path(__file__).resolve().parents[2]
PICO = ("experts=tiny_pico", "experts.max_new_tokens=4", "engine=hf", "tracking=none")
# Table 1 for one merge: to choose, 8 methods x 1 point, and base and 3 experts at once; then 4 methods that draw
# nothing x 1 + 4 that do x 2 mask seeds.
SMALL = (
    *("sweep=main_table", "sweep.dev_limit=2", "sweep.test_limit=2", "sweep.seeds=[1,2]"),
    *("sweep.merges=[[lm,math]]", "sweep.drop_rates=[0.5]", "sweep.lambdas=[1.0]"),
)
FIRST, SECOND = 8 + 4, 4 + 4 * 2


@pytest.fixture(scope="module")
def swept(call, pico, tmp_path_factory) -> Path:
    """A sweep that is done."""
    work = tmp_path_factory.mktemp("swept")
    (work / "experts").symlink_to(pico.folder.parent)
    assert call("run", *PICO, *SMALL, f"paths.work={work}").code == 0
    return work


@pytest.fixture
def half(swept, tmp_path) -> tuple[Path, list[str]]:
    """The same with half of the first stage left: its folder, and the identities of the first stage, in order."""
    work = tmp_path / "half"
    shutil.copytree(swept, work, symlinks=True)
    identities = list(Survey(composed("status", *PICO, *SMALL, f"paths.work={work}")).first)
    for path in (work / "records").glob("*.json"):
        if path.stem not in identities[: FIRST // 2]:
            path.unlink()
    return work, identities


def looked(call, work: Path, *more: str) -> dict:
    ended = call("status", *PICO, *SMALL, f"paths.work={work}", "json=true", *more)
    assert ended.code in (0, 1), ended.err
    return json.loads(ended.out)


def test_a_sweep_that_is_done_is_complete(call, swept):
    ended = call("status", *PICO, *SMALL, f"paths.work={swept}", "watch=true")
    assert (ended.code, ended.err) == (0, "")
    total = FIRST + SECOND
    said = f"{total} of {total} runs done (100 %), 0 running, 0 failed, 0 pending; complete"
    assert ended.out.startswith(f"sweep main_table, experts tiny_pico: {said}\n")
    assert looked(call, swept)["seconds_left"] == 0


def test_runs_of_the_second_stage_are_counted_before_they_are_chosen(call, half):
    work, _ = half
    found = looked(call, work)
    assert [(stage["runs"], stage["done"], stage["known"]) for stage in found["stages"]] == [
        (FIRST, FIRST // 2, True),
        (SECOND, 0, False),
    ]
    assert found["pending"] == FIRST // 2 + SECOND
    assert found["seconds_left"] is None
    ended = call("status", *PICO, *SMALL, f"paths.work={work}")
    assert "no worker is at it: the sweep's command goes on with it" in ended.out
    assert "chosen points on the test split (not chosen yet)" in ended.out


def test_a_run_in_a_workers_hands_is_running_with_where_and_since_when(call, half, monkeypatch):
    work, identities = half
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    with claim(work / "records" / "claims", identities[-1]):
        found = looked(call, work)
        ended = call("status", *PICO, *SMALL, f"paths.work={work}")
    assert (found["running"], found["pending"], found["workers"]) == (1, FIRST // 2 - 1 + SECOND, 1)
    (run,) = found["stages"][0]["running"]
    assert run["identity"] == identities[-1]
    assert run["holder"]["job"]["job"] == "17"
    assert run["holder"]["pid"] == os.getpid()
    assert found["seconds_left"] > 0
    assert re.search(r"base unmerged\(\) seed=None test|code unmerged", ended.out)
    assert f"{os.uname().nodename.split()[0]} job 17" in ended.out
    assert "1 worker" in ended.out


def test_a_dead_workers_run_is_pending(call, half):
    work, identities = half
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    claims = work / "records" / "claims"
    with claim(claims, identities[-1]):
        text = json.loads((claims / f"{identities[-1]}.claim").read_text())
    (claims / f"{identities[-1]}.claim").write_text(json.dumps({**text, "pid": dead.pid, "start": 1}))
    assert looked(call, work)["running"] == 0


def test_failed_runs_are_named_with_their_reasons_and_the_exit_code_is_1(call, work, misshapen):
    sweep = (
        *("sweep=seeds", "sweep.family_seeds=[]", "sweep.merges=[[lm,math],[lm,code]]", "sweep.drop_rates=[0.5]"),
        *("sweep.seeds=[1]", "sweep.test_limit=2", f"paths.work={work}", *misshapen),
    )
    ran = call("run", *PICO, *sweep)
    assert ran.code == 1
    assert "12 runs, 12 executed, 0 done before, 5 failed" in ran.out
    assert "failed: 5 of 12 runs, tried again by the next invocation: " in ran.err
    failed = [record for record in load_records(work / "records") if record["status"] == "failed"]
    assert all(record["error"].startswith("InputError: expert code (") for record in failed)
    assert all("code" in record["config"]["merge"] for record in failed)
    ended = call("status", *PICO, *sweep)
    assert ended.code == 1
    assert "7 of 12 runs done (58 %), 0 running, 5 failed, 0 pending; failed runs are left" in ended.out
    for record in failed:
        assert record["identity"] in ended.out
        assert record["error"] in ended.out


def test_a_family_that_is_not_made_is_named_and_not_made(call, tmp_path):
    ended = call("status", *PICO, *SMALL, f"paths.work={tmp_path / 'new'}")
    assert ended.code == 2
    assert "is not made yet; run `python -m scripts.experts experts=tiny_pico seeds=[0]` first" in ended.err
    assert not (tmp_path / "new").exists()


def test_without_a_sweep_there_is_nothing_to_look_at(call, work):
    ended = call("status", *PICO, f"paths.work={work}")
    assert (ended.code, ended.err) == (2, "error: no sweep to look at: write sweep=NAME\n")


HEAVY = """
import sys
from scripts.status import main
main()
heavy = {"torch", "transformers", "vllm", "lm_eval", "datasets", "pandas", "wandb", "matplotlib"}
print(sorted(heavy & set(sys.modules)))
"""


def test_looking_loads_no_heavy_package(swept):
    arguments = [*PICO, *SMALL, f"paths.work={swept}"]
    done = subprocess.run([sys.executable, "-c", HEAVY, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_watching_ends_with_the_sweep(call, swept, half, monkeypatch):
    """It looks three times: before the second pause ends, the missing records are there."""
    work, _ = half
    pauses = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            shutil.copytree(swept / "records", work / "records", dirs_exist_ok=True)

    monkeypatch.setattr(status.time, "sleep", pause)
    ended = call("status", *PICO, *SMALL, f"paths.work={work}", "watch=true")
    assert ended.code == 0
    assert pauses == [status.WATCH_SECONDS] * 2
    assert ended.out.count("sweep main_table") == 3
    assert "0 pending; complete" in ended.out


@pytest.mark.parametrize("sweep", ["main_table", "pruning", "epsilon", "seeds"])
def test_the_second_stage_has_one_point_of_each_method_with_its_seeds(sweep):
    """main_table: 4 merges x (4 methods that draw nothing + 4 that do x 5 mask seeds); the others choose none."""
    config = composed("run", f"sweep={sweep}")
    assert first_stage(config)
    assert final_runs(config) == (4 * (4 + 4 * 5) if sweep == "main_table" else 0)


def stage(pending: int, seconds: float | None, done: int = 1) -> StageProgress:
    return StageProgress("s", pending + done, done, pending, [], [], seconds)


def test_the_time_left_is_the_median_for_each_pending_run_shared_by_the_workers():
    """10 runs of 6 s and 5 of 8 s in 4 workers: 100 / 4 s; unmeasured, the 5 count 6 s each: 90 / 4 s."""
    assert time_left([stage(10, 6.0), stage(5, 8.0)], 4) == 25.0
    assert time_left([stage(10, 6.0), stage(5, None)], 4) == 22.5
    assert time_left([stage(10, None)], 4) is None
    assert time_left([stage(10, 6.0)], 0) is None
    assert time_left([stage(0, 6.0)], 0) == 0.0


def test_jobs_are_shown_of_this_sweep_alone_and_a_damaged_file_is_passed_over(call, swept, monkeypatch):
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "alpha")
    for number, sweep in enumerate(("main_table", "seeds"), 41):
        folder = swept / "slurm" / sweep
        folder.mkdir(parents=True)
        Submission(str(number), "beta", sweep, "tiny_pico", "dev", 4, time.time(), [], str(folder)).write()
    (swept / "slurm" / "broken").mkdir()
    (swept / "slurm" / "broken" / "submission.json").write_text("{")
    assert [submission.job for submission in submissions(swept)] == ["41", "42"]
    ended = call("status", *PICO, *SMALL, f"paths.work={swept}")
    assert "job 41 on beta: cannot be asked from here; logs" in ended.out
    assert "job 42" not in ended.out


def test_of_a_sweep_that_searches_it_counts_searches_and_trials(call, work):
    ended = call("status", *PICO, "sweep=search_della", f"paths.work={work}")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == (
        "sweep search_della, experts tiny_pico: 0 of 4 searches begun; 0 trials done, 0 running or left behind, "
        "0 failed\n"
    )
    refused = call("status", *PICO, "sweep=search_della", "json=true", f"paths.work={work}")
    assert refused.code == 2
    assert "watch and json are for sweeps of grids" in refused.err
