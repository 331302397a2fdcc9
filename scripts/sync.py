"""Sends what sweeps mirrored offline to W&B: from a login node, for compute nodes seldom reach the network.

    python -m scripts.sync                # after `wandb login`, or with WANDB_API_KEY set
    python -m scripts.sync dry=true

Mirrors records that no job came to mirror, then gives every run that is whole and was not sent before to `wandb sync`,
which marks what it has sent. One W&B group for each sweep. May be run while jobs run, and again. Exit code 1 if
something could not be sent.
"""

import os
import subprocess
import sys
from pathlib import Path

from della.tracking import mirror_pending, target_folder
from della.wandb_file import is_whole
from scripts.door import RunsFailed, door
from scripts.schema import SyncConfig

AT_ONCE = 200  # runs for one command


def unsent(target: Path) -> list[Path]:
    """The folders of runs that were not sent, sorted; one still being written is none."""
    files = sorted((target / "wandb").glob("offline-run-*/run-*.wandb"))
    return [file.parent for file in files if not file.with_suffix(".wandb.synced").exists() and is_whole(file)]


def send(runs: list[Path]) -> None:
    """Gives the runs to `wandb sync`, whose own messages show."""
    environment = {name: value for name, value in os.environ.items() if name != "WANDB_MODE"}
    for start in range(0, len(runs), AT_ONCE):
        some = map(str, runs[start : start + AT_ONCE])
        command = [sys.executable, "-m", "wandb", "sync", "--skip-confirmation", *some]
        subprocess.run(command, env=environment, check=False)


@door("sync")
def main(config: SyncConfig) -> None:
    work, tracking = Path(config.paths.work), config.tracking
    target = target_folder(work / "wandb", "offline", tracking.entity, tracking.project)
    if not config.dry:
        mirror_pending(work / "records", work / "wandb", tracking.project, tracking.entity, group="single runs")
    runs = unsent(target)
    print(f"{len(runs)} runs to send, in {target / 'wandb'}", flush=True)
    if config.dry or not runs:
        return
    send(runs)
    if left := len(unsent(target)):
        raise RunsFailed(f"{left} of {len(runs)} runs were not sent; the same command goes on from here")


if __name__ == "__main__":
    main()
