"""Sweeps: complete, done once, the same however often they are killed and however many workers share them."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from della.record import comparable, load_records
from della.wandb_file import contents
from scripts.session import Session

PICO = ("experts=tiny_pico", "experts.max_new_tokens=8", "engine=hf", "tracking=none")
# Table 1 for one merge at one drop rate, lambda and epsilon, two prompts a benchmark, two mask seeds. Runs, by hand: to
# choose, 8 methods x 1 point, and base and 3 experts at once; then 4 methods that draw nothing x 1 + 4 that do x 2.
TABLE = (
    *("sweep=main_table", "sweep.merges=[[lm,math]]", "sweep.drop_rates=[0.5]", "sweep.lambdas=[1.0]"),
    *("sweep.dev_limit=2", "sweep.test_limit=2", "sweep.seeds=[1,2]"),
)
FIRST, RUNS = 8 + 4, 8 + 4 + 4 + 4 * 2
# One point of each method of the seeds sweep (dare_elect, della, ties, ta_elect), the base and the 3 experts.
SMALL = (
    *("sweep=seeds", "sweep.family_seeds=[]", "sweep.merges=[[lm,math]]", "sweep.drop_rates=[0.5]"),
    *("sweep.seeds=[1]", "sweep.test_limit=2"),
)


def outcomes(work: Path) -> dict[str, str]:
    """Identity -> everything of the record but its provenance."""
    return {record["identity"]: comparable(record) for record in load_records(work / "records")}


def tables(work: Path) -> dict[str, bytes]:
    """Every file of the report."""
    folder = work / "reports"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def undisturbed(call, pico, tmp_path_factory) -> Path:
    """A sweep that nothing happened to, in one process, and its report."""
    work = tmp_path_factory.mktemp("undisturbed")
    (work / "experts").symlink_to(pico.folder.parent)
    ended = call("run", *PICO, *TABLE, f"paths.work={work}")
    assert ended.code == 0
    assert f"{RUNS} runs, {RUNS} executed, 0 done before, 0 failed" in ended.out
    assert call("report", *PICO, *TABLE, f"paths.work={work}").code == 0
    return work


def test_a_sweep_has_a_done_record_of_every_run_and_is_not_run_again(undisturbed, call):
    records = load_records(undisturbed / "records")
    assert len(records) == RUNS
    assert {record["status"] for record in records} == {"done"}
    assert sum(record["config"]["split"] == "dev" for record in records) == 8
    before = outcomes(undisturbed)
    again = call("run", *PICO, *TABLE, f"paths.work={undisturbed}")
    assert again.code == 0
    assert f"{RUNS} runs, 0 executed, {RUNS} done before, 0 failed" in again.out
    assert outcomes(undisturbed) == before


def test_choosing_on_the_test_split_shares_the_runs_that_are_the_same_and_says_so(undisturbed, call, tmp_path):
    """4 methods draw nothing and have their test run; the others choose with mask seed 0, which no test run had."""
    work = tmp_path / "work"
    shutil.copytree(undisturbed, work, symlinks=True, ignore=shutil.ignore_patterns("reports"))
    ended = call("run", *PICO, *TABLE, "select=test", f"paths.work={work}")
    assert ended.code == 0
    assert f"{RUNS - 4} runs, 4 executed, {RUNS - 8} done before, 0 failed" in ended.out
    reported = call("report", *PICO, *TABLE, "select=test", f"paths.work={work}")
    assert reported.code == 0
    assert "chosen on the very test prompts reported, as the paper did" in reported.out
    assert (work / "reports" / "tiny_pico" / "main_table-test").is_dir()


def test_a_point_that_fails_is_one_failed_record_and_is_tried_again_by_the_next_invocation(call, work, monkeypatch):
    run = Session.run

    def stubborn(session, point, facts):
        if point.method == "ties":
            raise RuntimeError("the machine\nran out of patience")
        return run(session, point, facts)

    monkeypatch.setattr(Session, "run", stubborn)
    first = call("run", *PICO, *SMALL, f"paths.work={work}")
    assert first.code == 1
    assert "8 runs, 8 executed, 0 done before, 1 failed" in first.out
    (failed,) = (record for record in load_records(work / "records") if record["status"] == "failed")
    reason = f"{failed['identity']} (RuntimeError: the machine ran out of patience)"
    assert first.err.endswith(f"failed: 1 of 8 runs, tried again by the next invocation: {reason}\n")
    assert failed["config"]["method"]["name"] == "ties"

    monkeypatch.setattr(Session, "run", run)
    second = call("run", *PICO, *SMALL, f"paths.work={work}")
    assert second.code == 0
    assert "8 runs, 1 executed, 7 done before, 0 failed" in second.out
    assert {record["status"] for record in load_records(work / "records")} == {"done"}


def test_an_expert_of_another_shape_fails_its_own_points_and_the_rest_is_run(call, work, misshapen):
    """SMALL's 8 points hold the Code expert in one: the expert alone."""
    ended = call("run", *PICO, *SMALL, *misshapen, f"paths.work={work}")
    assert ended.code == 1
    assert "8 runs, 8 executed, 0 done before, 1 failed" in ended.out
    (failed,) = (record for record in load_records(work / "records") if record["status"] == "failed")
    assert failed["config"]["merge"] == ["code"]
    assert failed["error"].startswith("InputError: expert code (")
    assert failed["identity"] in ended.err


def test_a_worker_whose_run_was_taken_over_while_it_was_suspended_writes_nothing(call, work, monkeypatch):
    """Suspended in the middle of its first run, whose claim is another worker's when it wakes up."""
    run, taken = Session.run, []

    def suspended(session, point, facts):
        made = run(session, point, facts)
        if not taken:
            (path,) = (work / "records" / "claims").glob("*.claim")
            path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "start": 1, "token": "another"}))
            os.utime(path, (0, 0))  # stale when it comes to this run again, as if the other worker had died
            taken.append(path.stem)
            assert not (work / "records" / f"{path.stem}.json").exists()
        return made

    monkeypatch.setattr(Session, "run", suspended)
    ended = call("run", *PICO, *SMALL, f"paths.work={work}")
    assert ended.code == 0
    assert ended.out.count("not recorded: ") == 1
    assert {record["status"] for record in load_records(work / "records")} == {"done"}
    assert "8 runs, 8 executed, 0 done before, 0 failed" in ended.out


def test_every_run_of_a_sweep_is_mirrored_to_wandb_with_its_config_and_scores(call, work):
    ended = call("run", *PICO, *SMALL, "tracking=wandb", f"paths.work={work}")
    assert ended.code == 0
    mirrored = {path.stem.removeprefix("run-"): path for path in (work / "wandb").rglob("run-*.wandb")}
    records = load_records(work / "records")
    assert mirrored.keys() == {record["identity"] for record in records}
    for record in records:
        shown = contents(mirrored[record["identity"]])
        assert shown["run"].run_group == "seeds"
        assert shown["config"]["method"] == record["config"]["method"]
        scores = {f"score/{name}": block["mean"] for name, block in record["scores"].items()}
        assert {name: shown["summary"][name] for name in scores} == scores


def test_killed_three_times_and_started_again_a_sweep_ends_in_the_same_records_and_tables(
    undisturbed, call, start, work
):
    """Killed with the first record of two workers, in the middle of the first stage, and in the second stage."""
    arguments = (*PICO, *TABLE, f"paths.work={work}")
    kill_at(1, start("run", "-m", *arguments, "workers=2"), work, workers=2)
    kill_at(6, start("run", *arguments), work, workers=1)
    kill_at(FIRST + 2, start("run", *arguments), work, workers=1)
    kept = len(load_records(work / "records"))
    assert FIRST < kept < RUNS
    ended = call("run", *arguments)
    assert f"{RUNS} runs, {RUNS - kept} executed, {kept} done before, 0 failed" in ended.out
    assert outcomes(work) == outcomes(undisturbed)
    assert call("report", *arguments).code == 0
    assert tables(work) == tables(undisturbed)


@pytest.mark.full
def test_a_killed_worker_ends_the_sweep_and_two_workers_finish_it_with_the_same_records(undisturbed, start, work):
    arguments = ("-m", *PICO, *TABLE, f"paths.work={work}", "workers=2")
    command = start("run", *arguments)
    wait_for(2, command, work)
    workers = [pid for pid in descendants(command.pid) if "loky.backend.popen" in command_line(pid)]
    assert len(workers) == 2
    os.kill(workers[1], signal.SIGKILL)
    _, complained = command.communicate(timeout=60)
    assert command.returncode == 1
    assert "failed: a worker was killed (out of memory?); the same command goes on from here\n" in complained

    command = start("run", *arguments)
    said, complained = command.communicate(timeout=300)
    assert command.returncode == 0, complained
    assert "0 failed" in said
    assert outcomes(work) == outcomes(undisturbed)
    makers = {record["provenance"]["pid"] for record in load_records(work / "records")}
    assert len(makers) > 1


def kill_at(count: int, command: subprocess.Popen, work: Path, workers: int) -> None:
    """SIGKILL for the command alone once there are `count` records; what it started must end by itself."""
    wait_for(count, command, work)
    others = descendants(command.pid)
    command.kill()
    command.communicate()
    deadline = time.monotonic() + 10
    while left := [line for pid in others if (line := command_line(pid))]:
        assert time.monotonic() < deadline, left
        time.sleep(0.02)
    claims = {path.stem: json.loads(path.read_text()) for path in (work / "records" / "claims").glob("*.claim")}
    lost = {name for name, owner in claims.items() if owner["pid"] in (command.pid, *others)} - outcomes(work).keys()
    assert len(lost) <= workers


def wait_for(count: int, command: subprocess.Popen, work: Path) -> None:
    """Returns once there are `count` records; the command must still be running."""
    deadline = time.monotonic() + 300
    while len(list((work / "records").glob("*.json"))) < count:
        assert command.poll() is None, command.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.005)


def descendants(pid: int) -> list[int]:
    """The processes that a process started, and theirs."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has just ended
        if parent == pid:
            child = int(stat.parent.name)
            found += [child, *descendants(child)]
    return found


def command_line(pid: int) -> str:
    """Empty for a process that is gone or only waits for its parent."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""
