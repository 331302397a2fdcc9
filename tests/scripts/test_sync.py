"""What was mirrored offline is handed to `wandb sync`: whole runs that were not sent before."""

import os
from pathlib import Path

import pytest

# Plays W&B's command line: marks what it is given as sent, but for the runs named in FAILS.
COMMAND = """
import os, sys
from pathlib import Path
assert sys.argv[1:3] == ["sync", "--skip-confirmation"], sys.argv
assert "WANDB_MODE" not in os.environ
for folder in map(Path, sys.argv[3:]):
    (file,) = folder.glob("run-*.wandb")
    if file.stem.removeprefix("run-") not in os.environ["FAILS"].split():
        file.with_suffix(".wandb.synced").touch()
"""


@pytest.fixture
def sender(tmp_path, monkeypatch):
    """Puts that command in wandb's place; from then on nothing can be mirrored."""

    def replace(fails: str = "") -> None:
        (tmp_path / "fake" / "wandb").mkdir(parents=True, exist_ok=True)
        (tmp_path / "fake" / "wandb" / "__init__.py").touch()
        (tmp_path / "fake" / "wandb" / "__main__.py").write_text(COMMAND)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fake"))
        monkeypatch.setenv("FAILS", fails)

    return replace


def sent(work: Path) -> set[str]:
    return {path.name.split(".")[0].removeprefix("run-") for path in work.rglob("*.wandb.synced")}


def test_whole_runs_are_sent_once_and_what_was_not_sent_is_tried_again(call, work, sender):
    sweep = ("sweep=seeds", "sweep.family_seeds=[]", "sweep.merges=[]", "sweep.test_limit=2", f"paths.work={work}")
    assert call("run", "experts=tiny_pico", "engine=hf", "experts.max_new_tokens=4", *sweep, "tracking=none").code == 0
    records = sorted(path.stem for path in (work / "records").glob("*.json"))
    mirrored = call("sync", f"paths.work={work}", "dry=true")
    assert mirrored.out.startswith("0 runs to send")
    os.environ.pop("WANDB_MODE", None)
    from della.tracking import mirror_pending

    assert mirror_pending(work / "records", work / "wandb", "della-merging") == 0
    assert call("sync", f"paths.work={work}", "dry=true").out.startswith(f"{len(records)} runs to send")
    (cut,) = work.rglob(f"run-{records[0]}.wandb")
    whole = cut.read_bytes()
    cut.write_bytes(whole[:-60])
    sender(fails=records[1])
    ended = call("sync", f"paths.work={work}")
    assert ended.code == 1
    assert f"1 of {len(records) - 1} runs were not sent; the same command goes on from here" in ended.err
    assert sent(work) == set(records[2:])
    cut.write_bytes(whole)
    sender()
    ended = call("sync", f"paths.work={work}")
    assert (ended.code, ended.out.splitlines()[0]) == (0, f"2 runs to send, in {cut.parents[1]}")
    assert sent(work) == set(records)
