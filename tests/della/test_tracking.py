"""The W&B mirror, with the real library: what it writes is read back, and nothing that goes wrong reaches a run."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from della import tracking
from della.errors import InputError
from della.record import make_record, score_block, write_record
from della.tracking import Tracker, mirror_pending, resolve_mode
from della.wandb_file import contents, is_whole
from della.wandb_mirror import run_history, run_name, run_summary

_ROOT = Path(__file__).parents[2]
_KEY = "5ec2e7" * 7  # of an API key's shape, and nobody's


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch):
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)


def _record(seed: int, error: str | None = None, **config) -> dict:
    """Two benchmarks of four prompts: gsm8k 3/4 (strict 1/4), mbpp 1/2 over the two prompts with a verdict."""
    ids, groups = ["0", "1", "2", "3"], ["seen", "seen", "held_out", "held_out"]
    gsm8k = {"flexible": [1.0, 1.0, 0.0, 1.0], "strict": [1.0, 0.0, 0.0, 0.0]}
    scores = {
        "gsm8k": score_block("flexible", ids, groups, gsm8k),
        "mbpp": score_block("pass_at_1", ids, groups, {"pass_at_1": [None, None, 0.0, 1.0]}),
    }
    method = {"name": "della", "drop_rate": 0.5, "epsilon": 0.14, "lambda_": 1.1, "elect": True}
    config = {"family": "tiny", "merge": ["lm", "math"], "method": method, "seed": seed, "split": "dev", **config}
    merge = {"drop_rate": {"lm": 0.501, "math": 0.498}}
    facts = {"commit": "abc", "seconds": 7.5, "sweep": "seeds"}
    scores = scores if error is None else None
    return make_record(config, {"base": "aa"}, {"merge": 1}, merge=merge, scores=scores, error=error, provenance=facts)


def _runs(wandb: Path) -> dict[str, Path]:
    """Identity -> its one offline file."""
    files = list(wandb.glob("*/wandb/offline-run-*/run-*.wandb"))
    runs = {path.stem.removeprefix("run-"): path for path in files}
    assert len(runs) == len(files)
    return runs


def _wait_for(what, seconds: float = 200.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory) -> dict[str, dict]:
    """One sweep: a record before the mirror starts, one while it follows, a failed run that succeeds just in time."""
    folder = tmp_path_factory.mktemp("sweep")
    before, during = _record(1), _record(2, note="x" * 100_000)
    failed, mended = _record(3, error="OutOfMemoryError: 3 GB more than there is"), _record(3)
    write_record(folder / "records", before)
    tracker = Tracker(folder / "records", folder / "wandb", "test-project", group="by hand")
    tracker.start()
    write_record(folder / "records", during)
    write_record(folder / "records", failed)
    _wait_for(lambda: tracker.left() == 0)
    runs = {"failed": contents(_runs(folder / "wandb")[failed["identity"]])}
    write_record(folder / "records", mended)
    assert tracker.finish(300) == 0
    files = _runs(folder / "wandb")
    assert len(files) == 3
    for name, record in {"before": before, "during": during, "mended": mended}.items():
        runs[name] = contents(files[record["identity"]])
    return {"folder": folder, **runs}


def test_the_offline_file_holds_the_runs_identity_sweep_and_config(mirrored):
    run, config = mirrored["before"]["run"], mirrored["before"]["config"]
    assert run.run_id == _record(1)["identity"]
    assert run.run_group == "seeds"
    assert run.project == "test-project"
    assert run.display_name == "della lm+math drop_rate=0.5 epsilon=0.14 lambda_=1.1 seed=1 dev"
    assert {name: config[name] for name in _record(1)["config"]} == _record(1)["config"]
    assert config["inputs"] == {"base": "aa"}
    assert config["commit"] == "abc"


def test_the_offline_file_holds_the_scores(mirrored):
    """gsm8k 3/4, mbpp 1/2, so their average is 0.625."""
    summary = mirrored["before"]["summary"]
    assert summary["score/gsm8k"] == 0.75
    assert summary["score/mbpp"] == 0.5
    assert summary["score/average"] == 0.625
    assert summary["metric/gsm8k/strict"] == 0.25
    assert (summary["n/gsm8k"], summary["n/mbpp"]) == (4, 2)
    assert summary["realised_drop_rate/lm"] == 0.501
    assert mirrored["before"]["exit_code"] == 0


def test_the_offline_file_holds_the_curves(mirrored):
    """After half of the prompts gsm8k has 1, 1 (mean 1) and mbpp no verdict yet; the last row is the sweep's point."""
    history = mirrored["before"]["history"]
    half = next(row for row in history if row.get("part_of_prompts") == 0.5)
    assert half["running_mean/gsm8k"] == 1.0
    assert "running_mean/mbpp" not in half
    last = history[-1]
    assert (last["method/drop_rate"], last["method/epsilon"], last["method/lambda_"]) == (0.5, 0.14, 1.1)
    assert (last["score/gsm8k"], last["score/average"]) == (0.75, 0.625)


def test_a_run_larger_than_the_files_blocks_is_read_back(mirrored):
    assert mirrored["during"]["config"]["note"] == "x" * 100_000
    assert mirrored["during"]["summary"]["score/average"] == 0.625


def test_a_failed_run_is_shown_as_failed_with_its_error(mirrored):
    assert mirrored["failed"]["exit_code"] == 1
    assert mirrored["failed"]["summary"]["status"] == "failed"
    assert mirrored["failed"]["summary"]["error"].startswith("OutOfMemoryError")


def test_a_failed_run_that_succeeds_later_replaces_its_mirror(mirrored):
    assert mirrored["mended"]["exit_code"] == 0
    assert mirrored["mended"]["summary"]["status"] == "done"
    assert "error" not in mirrored["mended"]["summary"]


def test_what_is_mirrored_is_not_mirrored_again_and_starts_no_process(mirrored, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *arguments, **settings: pytest.fail("a process was started"))
    folder = mirrored["folder"]
    assert mirror_pending(folder / "records", folder / "wandb", "test-project") == 0


def test_another_project_or_mode_is_another_mirror(mirrored):
    folder = mirrored["folder"]
    assert Tracker(folder / "records", folder / "wandb", "other").left() == 3
    assert Tracker(folder / "records", folder / "wandb", "test-project", mode="online").left() == 3
    assert Tracker(folder / "records", folder / "wandb", "test-project", mode="disabled").left() == 0


def test_a_file_that_was_cut_off_is_not_whole(mirrored, tmp_path):
    path = _runs(mirrored["folder"] / "wandb")[_record(1)["identity"]]
    assert is_whole(path)
    (tmp_path / "cut.wandb").write_bytes(path.read_bytes()[:-100])
    assert not is_whole(tmp_path / "cut.wandb")
    assert contents(tmp_path / "cut.wandb")["config"]["seed"] == 1


_SWEEP = """
import sys, time
from pathlib import Path
from della.tracking import Tracker
folder = Path(sys.argv[1])
tracker = Tracker(folder / "records", folder / "wandb", "p")
tracker.start()
print(tracker._process.pid, flush=True)
time.sleep(60)
"""


def _alive(mirror: int) -> list[str]:
    """Command lines of the mirror process and of the W&B service that it started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if folder.name == str(mirror) and "della.wandb_mirror" in command:
            found.append(" ".join(command))
        if "wandb-core" in command[0] and str(mirror) in command:
            found.append(" ".join(command))
    return found


def test_a_killed_sweep_leaves_no_process_behind_and_the_next_invocation_mirrors_the_rest(tmp_path):
    for seed in range(80):
        write_record(tmp_path / "records", _record(seed))
    command = [sys.executable, "-c", _SWEEP, tmp_path]
    sweep = subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True)
    mirror = int(sweep.stdout.readline())
    tracker = Tracker(tmp_path / "records", tmp_path / "wandb", "p")
    _wait_for(lambda: tracker.left() < 80)
    assert len(_alive(mirror)) == 2
    assert os.getpriority(os.PRIO_PROCESS, mirror) == 19
    sweep.kill()
    sweep.wait()
    sweep.stdout.close()
    _wait_for(lambda: _alive(mirror) == [], seconds=5)
    assert 0 < tracker.left() < 80
    assert mirror_pending(tmp_path / "records", tmp_path / "wandb", "p") == 0
    runs = _runs(tmp_path / "wandb")
    assert len(runs) == 80
    assert all(is_whole(path) for path in runs.values())


def _fake_wandb(tmp_path: Path, monkeypatch, source: str) -> None:
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "wandb.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fake"))


def test_without_the_package_a_sweep_gets_one_warning(tmp_path, monkeypatch, capfd):
    _fake_wandb(tmp_path, monkeypatch, "raise ImportError('W&B is not installed')")
    for seed in range(5):
        write_record(tmp_path / "records", _record(seed))
    tracker = Tracker(tmp_path / "records", tmp_path / "wandb", "p")
    tracker.start()
    assert tracker.finish(300) == 5
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == "W&B: runs are not mirrored (ImportError: W&B is not installed); the sweep goes on"
    assert lines[1].startswith("W&B: 5 runs are not mirrored (see ")
    assert len(lines) == 2


def test_a_mirror_that_hangs_does_not_keep_a_sweep_from_ending(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(tracking, "_PROGRESS_SECONDS", 0.4)
    _fake_wandb(tmp_path, monkeypatch, "import time\ntime.sleep(60)")
    write_record(tmp_path / "records", _record(1))
    tracker = Tracker(tmp_path / "records", tmp_path / "wandb", "p")
    tracker.start()
    mirror = tracker._process.pid
    started = time.monotonic()
    assert tracker.finish(1) == 1
    assert time.monotonic() - started < 5
    assert _alive(mirror) == []
    errors = capfd.readouterr().err
    assert "W&B: 1 runs left to mirror" in errors
    assert "1 runs are not mirrored (1 s are over)" in errors


def test_a_dead_network_is_a_warning_and_the_key_is_written_nowhere(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", _KEY)
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "1")
    write_record(tmp_path / "records", _record(1))
    assert mirror_pending(tmp_path / "records", tmp_path / "wandb", "p", mode="online", timeout_s=30) == 1
    shown = capfd.readouterr()
    assert "W&B: runs are not mirrored (CommError" in shown.err
    assert _KEY not in shown.out + shown.err
    for path in (tmp_path / "wandb").rglob("*"):
        assert path.is_dir() or _KEY.encode() not in path.read_bytes()


def test_a_folder_that_cannot_be_made_is_a_warning(tmp_path, capfd):
    write_record(tmp_path / "records", _record(1))
    (tmp_path / "wandb").write_text("a file where the folder should be")
    tracker = Tracker(tmp_path / "records", tmp_path / "wandb", "p")
    tracker.start()
    tracker.finish(5)
    assert "W&B: not mirroring: " in capfd.readouterr().err


def test_disabled_writes_nothing(tmp_path):
    write_record(tmp_path / "records", _record(1))
    tracker = Tracker(tmp_path / "records", tmp_path / "wandb", "p", mode="disabled")
    tracker.start()
    assert tracker.finish(5) == 0
    assert not (tmp_path / "wandb").exists()


def test_the_environment_goes_before_the_config_and_a_misspelt_mode_is_refused(monkeypatch):
    assert resolve_mode("online") == "online"
    with pytest.raises(InputError, match=r"tracking.mode=of: write one of offline, online, disabled"):
        resolve_mode("of")
    monkeypatch.setenv("WANDB_MODE", "dryrun")
    assert resolve_mode("online") == "offline"
    monkeypatch.setenv("WANDB_MODE", "on")
    with pytest.raises(InputError, match=r"WANDB_MODE=on: write one of offline, online, disabled"):
        resolve_mode("online")


def test_the_base_alone_has_a_name_and_a_run_without_scores_has_no_curves():
    record = _record(1, error="it broke", merge=[], method={"name": "average"})
    assert run_name(record) == "average base seed=1 dev"
    assert run_history(record) == []
    assert "score/average" not in run_summary(record)


def test_the_average_is_left_out_when_a_benchmark_has_no_score():
    record = _record(1)
    record["scores"]["mbpp"]["mean"] = None
    assert run_summary(record)["score/gsm8k"] == 0.75
    assert "score/average" not in run_summary(record)
