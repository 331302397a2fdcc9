"""Sweeps on a real Slurm cluster of one node: the same records as on this machine, whatever happens to the jobs."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from della.claim import holders
from della.record import comparable, load_records
from della.wandb_file import contents
from tests.scripts.cluster import CPUS, Cluster, missing

ROOT = Path(__file__).resolve().parents[2]
# Table 1 for one merge: 8 choosing runs, the base and 3 experts, then 4 runs without and 4 x 3 with a mask seed.
TABLE = (
    *("sweep=main_table", "sweep.merges=[[lm,math]]", "sweep.drop_rates=[0.5]", "sweep.lambdas=[1.0]"),
    *("sweep.dev_limit=12", "sweep.test_limit=12", "sweep.seeds=[1,2,3]"),
)
PICO = ("experts=tiny_pico", "engine=hf", "experts.max_new_tokens=24")
RUNS, WORKERS = 8 + 4 + 4 + 4 * 3, 4
JOBS = (
    *("-m", "hydra/launcher=slurm", f"workers={WORKERS}", "hydra.launcher.cpus_per_task=1"),
    *("hydra.launcher.timeout_min=20", "hydra.launcher.setup=['export OMP_NUM_THREADS=1']"),
)
IN_CI = "DELLA_DATA_DIR" in os.environ  # read before the tests' fixtures take it away


@pytest.fixture(scope="module")
def daemons():
    if why := missing():
        if IN_CI:
            pytest.fail(why)
        pytest.skip(why)
    with Cluster() as started:
        yield started


@pytest.fixture
def cluster(daemons):
    """Without a job, and its node takes jobs, whatever became of the test before."""
    yield daemons
    daemons.clear()


@pytest.fixture(scope="module")
def undisturbed(call, pico, tmp_path_factory) -> dict[str, str]:
    """The records of the sweep run here, in one process: identity -> all of it but its provenance."""
    work = tmp_path_factory.mktemp("undisturbed")
    (work / "experts").symlink_to(pico.folder.parent)
    assert call("run", *PICO, *TABLE, "tracking=none", f"paths.work={work}").code == 0
    return outcomes(work)


@pytest.fixture
def submit(cluster):
    """`python -m scripts.run ARGUMENTS...` from a login node: its output. The number of the jobs is in it."""

    def run(*arguments: str, code: int = 0) -> str:
        done = command(cluster, "run", *PICO, *arguments)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    return run


def command(cluster: Cluster, script: str, *arguments: str) -> subprocess.CompletedProcess:
    given = [sys.executable, "-m", f"scripts.{script}", *arguments]
    environment = {name: value for name, value in cluster.environment.items() if name != "DELLA_DATA_DIR"}
    return subprocess.run(given, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


def outcomes(work: Path) -> dict[str, str]:
    """Identity -> everything of the record but its provenance."""
    return {record["identity"]: comparable(record) for record in load_records(work / "records")}


def logs(work: Path) -> str:
    return "\n".join(path.read_text() for path in sorted(work.glob("slurm/*/*_log.out")))


def finished(work: Path) -> Counter:
    """How often each run was finished, by the jobs' logs."""
    return Counter(re.findall(r"^(?:done|failed) ([0-9a-f]{16}) ", logs(work), re.MULTILINE))


def number_of(said: str) -> str:
    return re.search(r"submitted: job (\d+), ", said)[1]


def there(work: Path) -> int:
    return len(list((work / "records").glob("*.json")))


def wait_for_records(cluster: Cluster, work: Path, count: int) -> None:
    cluster.wait(lambda: there(work) >= count, 240)
    assert there(work) < RUNS, "too late to disturb anything"


def wait_for_jobs(cluster: Cluster) -> None:
    """Until no job is left; the machine's own time is not what is tested."""
    cluster.wait(lambda: not cluster.jobs(), 400)


def two_workers(cluster: Cluster, work: Path) -> list[tuple[str, int]]:
    """Job and process of two workers, or more, that have begun to take runs."""
    seen: dict[str, int] = {}

    def found() -> bool:
        seen.update({h.job["job"]: h.pid for h in holders(work / "records" / "claims").values() if h.job})
        return len(seen) > 1

    cluster.wait(found, 240)
    return list(seen.items())


def test_a_sweep_in_four_jobs_ends_in_the_records_of_the_same_sweep_on_one_machine(cluster, submit, undisturbed, work):
    assert WORKERS <= CPUS
    assert len(undisturbed) == RUNS >= 24
    said = submit(*TABLE, *JOBS, "tracking=none", f"paths.work={work}")
    job = number_of(said)
    assert f"scancel {job}" in said
    shown = shlex.split(re.search(r"how far it is  python -m scripts\.status (.*?)   \(watch", said)[1])
    assert {*PICO, *TABLE, f"paths.work={work}"} <= set(shown)
    assert there(work) < RUNS, "submitting waited for the jobs"
    looked = command(cluster, "status", *shown)
    assert looked.returncode == 0, looked.stderr
    assert re.search(rf"job {job} on onenode: \d \w+", looked.stdout)
    wait_for_jobs(cluster)
    assert outcomes(work) == undisturbed, logs(work)
    assert finished(work) == dict.fromkeys(undisturbed, 1)
    facts = [record["provenance"] for record in load_records(work / "records")]
    assert set(re.findall(r"JobEnvironment\(job_id=(\w+),", logs(work))) == {f"{job}_{n}" for n in range(WORKERS)}
    assert len({fact["pid"] for fact in facts}) > 1  # a busy machine may start the last one too late to get a run
    assert {fact["sweep"] for fact in facts} == {"main_table"}
    looked = command(cluster, "status", *shown)
    assert f"{RUNS} of {RUNS} runs done (100 %), 0 running, 0 failed, 0 pending; complete" in looked.stdout


def test_jobs_that_are_cancelled_killed_warned_requeued_and_drained_end_in_the_same_records(
    cluster, submit, undisturbed, work
):
    """Of four jobs one is cancelled for good; one's worker is killed, one gets the signal that precedes a time limit or
    a preemption, one is requeued as Slurm does after a preemption: these three go on in a second life."""
    cluster.ask("scontrol", "update", f"nodename={cluster.host}", "state=drain", "reason=test")
    job = number_of(submit(*TABLE, *JOBS, "tracking=wandb", f"paths.work={work}"))
    time.sleep(2)
    assert set(cluster.jobs().values()) == {"PENDING"}
    cluster.ask("scontrol", "update", f"nodename={cluster.host}", "state=resume")
    wait_for_records(cluster, work, 2)
    (warned, _), (killed, process), *_ = two_workers(cluster, work)
    before = finished(work)
    os.kill(process, signal.SIGKILL)
    cluster.ask("scancel", "--signal=USR2", warned)
    cancelled, requeued = sorted({f"{job}_{number}" for number in range(WORKERS)} - {warned, killed})
    cluster.ask("scancel", cancelled)
    cluster.ask("scontrol", "requeue", requeued)
    assert there(work) < RUNS, "too late to disturb anything"
    wait_for_jobs(cluster)
    assert outcomes(work) == undisturbed, logs(work)
    assert max(finished(work).values()) == 1
    assert before.keys() <= finished(work).keys(), "a job's second life has overwritten its log"
    said = logs(work)
    assert f"the worker of job {killed} died (exit code 137)" in said
    assert "left: SIGUSR2: Slurm ends this job" in said
    assert not list((work / "records" / "claims").glob("*.tmp"))
    assert mirrored_once(work) == undisturbed.keys()


def mirrored_once(work: Path) -> set[str]:
    """The runs in W&B's files, each readable to its end and each in one file."""
    files = list((work / "wandb").rglob("run-*.wandb"))
    names = [file.stem.removeprefix("run-") for file in files]
    assert len(names) == len(set(names))
    for file in files:
        shown = contents(file)
        assert shown["exit_code"] == 0
        assert shown["run"].run_group == "main_table"
    return set(names)


def test_a_failing_run_fails_in_one_job_and_waiting_for_the_sweep_ends_with_exit_code_1(
    cluster, submit, work, misshapen
):
    """Of seeds' points for LM+Math and LM+Code the latter 4 and the Code expert alone fail: its weights do not fit."""
    sweep = (
        *("sweep=seeds", "sweep.family_seeds=[]", "sweep.merges=[[lm,math],[lm,code]]", "sweep.drop_rates=[0.5]"),
        *("sweep.seeds=[1]", "sweep.test_limit=2", "tracking=none", f"paths.work={work}", *misshapen),
    )
    said = submit(*sweep, *JOBS, "workers=2", "wait=true", code=1)
    records = load_records(work / "records")
    assert Counter(record["status"] for record in records) == {"done": 7, "failed": 5}
    assert all("code" in record["config"]["merge"] for record in records if record["status"] == "failed")
    assert set(finished(work).values()) == {1}
    assert "InputError: expert code" in said
    assert "failed: 5 runs, tried again by the next invocation" in said


@pytest.mark.full
def test_jobs_share_a_search_and_what_a_killed_one_held_is_taken_up_by_its_next_life(cluster, submit, work):
    """12 trials in 2 jobs, each told once; then the winner on the development split and on test with two mask seeds."""
    search = (
        *("sweep=search_della", "sweep.merges=[[lm,math]]", "sweep.search.trials=12", "sweep.search.prune=none"),
        *("sweep.dev_limit=4", "sweep.test_limit=4", "sweep.seeds=[1,2]", "tracking=none", f"paths.work={work}"),
    )
    job = number_of(submit(*search, *JOBS, "workers=2"))
    seen: list[int] = []

    def at_work() -> bool:
        """Two trials are recorded and a third one is being evaluated."""
        seen.extend(h.pid for h in holders(work / "search" / "claims").values() if h.job)
        return there(work) >= 2 and bool(seen)

    cluster.wait(at_work, 240)
    os.kill(seen[-1], signal.SIGKILL)
    wait_for_jobs(cluster)
    looked = command(cluster, "status", *PICO, *search)
    assert looked.returncode == 0, logs(work)
    assert "12 trials done, 0 running or left behind, 0 failed" in looked.stdout
    assert "runs of the winners so far: 3 done, 0 failed, 0 without a record" in looked.stdout
    assert f"the worker of job {job}_" in logs(work)
    assert {record["status"] for record in load_records(work / "records")} == {"done"}


@pytest.mark.full
@pytest.mark.timeout(3000)
def test_a_sweep_longer_than_its_jobs_time_limit_goes_on_in_requeued_jobs(cluster, call, submit, pico, work, tmp_path):
    """1,216 runs in one job of two minutes: Slurm warns it in the last one, for it looks twice a minute."""
    sweep = (*TABLE, f"sweep.seeds={list(range(1, 301))}".replace(" ", ""), "tracking=none")
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "experts").symlink_to(pico.folder.parent)
    assert call("run", *PICO, *sweep, f"paths.work={tmp_path / 'alone'}").code == 0
    limits = ("hydra.launcher.timeout_min=2", "hydra.launcher.signal_delay_s=30")
    job = number_of(submit(*sweep, *JOBS, *limits, "workers=1", f"paths.work={work}"))
    cluster.wait(lambda: not cluster.jobs(), 2000)
    assert outcomes(work) == outcomes(tmp_path / "alone"), logs(work)
    assert max(finished(work).values()) == 1
    assert "left: " in logs(work), f"job {job} was not short of time"
