"""The mirror process: turns each run record into one W&B run. Started by `della.tracking`; by hand it runs once:

    python -m della.wandb_mirror --records=.work/records --wandb=.work/wandb --project=della-merging --mode=online

One W&B run per run: id = identity, group = the sweep, config = the record's. Summary: `score/<benchmark>` (mean of
the main metric, 0 to 1) and their `score/average`, every metric's mean, how many prompts count, the realised drop
rates. History: the running mean of each benchmark over its prompts (a score that still drifts at the end needs more
prompts), then one row of the scores beside the method's numbers, so that a W&B line plot with x = method/drop_rate
(or epsilon, lambda_), grouped by method.name, is the paper's curve over a sweep.

One process and one W&B service for all runs: the first costs 1.5 to 3 CPU-seconds of imports, each further one 0.02.
Where several jobs follow one folder, one mirrors and the others wait to take its place; a run is written under a claim.
"""

import argparse
import math
import os
import select
import shutil
import signal
import sys
import threading
import time
import traceback
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from della.claim import Claim, claim
from della.record import find_record
from della.tracking import is_mirrored, mark_mirrored, pending, target_folder
from della.wandb_file import is_whole

_POLL_SECONDS = 1.0
_RETRY_SECONDS = 60.0
_TURN_SECONDS = 20.0  # how often one that waits for its turn asks
_WRITE_SECONDS = 5.0
_OTHERS_SECONDS = 60.0  # at the end, for runs that another mirror is writing
_CURVE_POINTS = 20
# Nothing that W&B would find out about this machine by itself, and no files but the run's own.
_SETTINGS: dict[str, Any] = {
    **{"console": "off", "silent": True, "symlink": False, "save_code": False, "x_save_requirements": False},
    **{f"disable_{what}": True for what in ("git", "code", "job_creation")},
    **{f"x_disable_{what}": True for what in ("meta", "stats", "machine_info")},
    **{"finish_timeout": 60.0, "finish_timeout_raises": True},
}
_GIVE_UP_AFTER = 3  # failures in a row: the network or the disk, not the record


def run_name(record: dict) -> str:
    """What a person reads in the list of runs, for example "della lm+math drop_rate=0.5 lambda_=1.1 seed=1 dev"."""
    config = record["config"]
    options = {**_numbers(config["method"]), "seed": config.get("seed")}
    parts = [config["method"]["name"], "+".join(config["merge"]) or "base"]
    parts += [f"{name}={value:g}" for name, value in options.items() if value is not None]
    return " ".join([*parts, str(config.get("split", ""))]).strip()


def run_config(record: dict) -> dict[str, Any]:
    """The record's config, with its inputs' hashes, its versions and the commit that made it."""
    facts = {"inputs": record["inputs"], "versions": record["versions"]}
    return {**record["config"], **facts, "commit": record["provenance"].get("commit")}


def run_summary(record: dict) -> dict[str, Any]:
    """The numbers of a run: one value per name, scores from 0 to 1."""
    summary: dict[str, Any] = {"status": record["status"], "error": record["error"]}
    summary["seconds"] = record["provenance"].get("seconds")
    summary |= _scores(record)
    for benchmark, block in record["scores"].items():
        summary[f"n/{benchmark}"] = block["n"]
        for metric, scores in block["metrics"].items():
            known = [score for score in scores if score is not None]
            summary[f"metric/{benchmark}/{metric}"] = math.fsum(known) / len(known) if known else None
    for expert, rate in ((record["merge"] or {}).get("drop_rate") or {}).items():
        summary[f"realised_drop_rate/{expert}"] = rate
    return {name: value for name, value in summary.items() if value is not None}


def run_history(record: dict) -> list[dict[str, float]]:
    """Rows to log: running means at every 20th part of the prompts, then the point of the sweep's curves."""
    rows: list[dict[str, float]] = []
    for point in range(1, _CURVE_POINTS + 1):
        part = point / _CURVE_POINTS
        row = {"part_of_prompts": part}
        for benchmark, block in record["scores"].items():
            scores = block["metrics"][block["metric"]]
            known = [score for score in scores[: math.ceil(part * len(scores))] if score is not None]
            if known:
                row[f"running_mean/{benchmark}"] = math.fsum(known) / len(known)
        rows.append(row)
    options = {f"method/{name}": value for name, value in _numbers(record["config"]["method"]).items()}
    return [*rows, {**options, **_scores(record)}] if record["scores"] else []


def _scores(record: dict) -> dict[str, float]:
    means = {benchmark: block["mean"] for benchmark, block in record["scores"].items() if block["mean"] is not None}
    scores = {f"score/{benchmark}": mean for benchmark, mean in means.items()}
    if means and len(means) == len(record["scores"]):
        scores["score/average"] = math.fsum(means.values()) / len(means)
    return scores


def _numbers(options: dict) -> dict[str, float]:
    return {k: v for k, v in sorted(options.items()) if isinstance(v, (int, float)) and not isinstance(v, bool)}


class Mirror:
    """Writes records to W&B and enters them in the ledger; every failure is a warning, said once per kind."""

    def __init__(self, arguments: argparse.Namespace):
        self._arguments = arguments
        self._target = target_folder(arguments.wandb, arguments.mode, arguments.entity, arguments.project)
        self._warned: set[str] = set()
        self._others = 0  # runs that another mirror was writing at the last look

    def catch_up(self) -> bool:
        """Mirror every record that is not in the ledger; False when too many failed to go on now."""
        failures = self._others = 0
        for path in self._pending():
            try:
                with claim(self._target / "mirrored", path.stem) as mine:
                    self._others += not mine
                    if mine and not is_mirrored(path, self._target):
                        self._send(path)
                failures = 0
            except Exception as error:  # whatever W&B raises: tracking never stops a run
                self.warn(error)
                failures += 1
                if failures == _GIVE_UP_AFTER:
                    return False
        return True

    def turn(self) -> AbstractContextManager[Claim]:
        """A claim to be the one that follows the folder, false while another one is."""
        return claim(self._target / "mirrored", "mirror")

    def finish(self) -> bool:
        """Mirror what is left, now; False if something could not be. What other mirrors are writing is waited for."""
        deadline = time.monotonic() + _OTHERS_SECONDS
        while (well := self.catch_up()) and self._others and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        return well

    def _pending(self) -> list[Path]:
        try:
            return pending(self._arguments.records, self._target)
        except OSError as error:
            self.warn(error)
            return []

    def _send(self, path: Path) -> None:
        import wandb

        mtime_ns = path.stat().st_mtime_ns
        record = find_record(path.parent, path.stem)
        if record is None:
            return  # removed while we looked
        # What a killed mirror left of this run, or what it looked like when it had failed.
        for earlier in (self._target / "wandb").glob(f"offline-run-*-{path.stem}"):
            shutil.rmtree(earlier)
        run = wandb.init(
            project=self._arguments.project,
            entity=self._arguments.entity,
            mode=self._arguments.mode,
            id=path.stem,
            name=run_name(record),
            group=record["provenance"].get("sweep") or self._arguments.group or None,
            job_type=record["config"].get("split"),
            config=run_config(record),
            settings=wandb.Settings(root_dir=str(self._target), **_SETTINGS),
            reinit="create_new",
        )
        run.define_metric("part_of_prompts", summary="none")
        run.define_metric("running_mean/*", step_metric="part_of_prompts", summary="none")
        if "drop_rate" in record["config"]["method"]:
            run.define_metric("score/*", step_metric="method/drop_rate")
        for row in run_history(record):
            run.log(row)
        run.summary.update(run_summary(record))
        file = Path(run.settings.sync_file)
        run.finish(exit_code=0 if record["status"] == "done" else 1)
        if self._arguments.mode == "offline":
            _wait_until_whole(file)
        mark_mirrored(path, self._target, record["status"], mtime_ns)

    def warn(self, error: Exception) -> None:
        kind, text = type(error).__name__, " ".join(str(error).split())[:300]
        traceback.print_exception(error)  # to the log
        if kind not in self._warned:
            self._warned.add(kind)
            print(f"W&B: runs are not mirrored ({kind}: {text}); the sweep goes on", flush=True)


def _wait_until_whole(file: Path) -> None:
    """W&B's service writes an offline run's end a little after `finish` returns, and never when the disk is full."""
    deadline = time.monotonic() + _WRITE_SECONDS
    while not is_whole(file):
        if time.monotonic() > deadline:
            raise OSError(f"{file} was not written to its end")
        time.sleep(0.01)


def _die_with(parent: int) -> None:
    """End this process when its parent is gone; W&B's own service then ends by itself within a second."""
    while os.getppid() == parent:
        time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGKILL)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m della.wandb_mirror", description="Mirror run records to W&B.")
    parser.add_argument("--records", type=Path, required=True, help="folder of run records")
    parser.add_argument("--wandb", type=Path, required=True, help="folder for W&B's files and the ledger")
    parser.add_argument("--project", required=True, help="W&B project")
    parser.add_argument("--entity", help="W&B team or user")
    parser.add_argument("--mode", choices=("offline", "online"), default="offline")
    parser.add_argument("--group", default="", help="W&B group of runs whose record names no sweep")
    parser.add_argument("--follow", type=int, help="follow the folder until this parent process says so or ends")
    return parser.parse_args()


def main() -> int:
    """Mirror once, or follow; 0 if nothing failed at the end."""
    arguments = _parse()
    os.nice(19)
    if arguments.follow:
        threading.Thread(target=_die_with, args=(arguments.follow,), daemon=True).start()
    mirror = Mirror(arguments)
    if arguments.follow:
        _follow(mirror)
    return 0 if mirror.finish() else 1


def _follow(mirror: Mirror) -> None:
    """Mirrors what appears, while no other process does, until the parent says so."""
    asked_to_finish = False
    while not asked_to_finish:
        try:
            with mirror.turn() as mine:
                asked_to_finish = _attend(mirror, mine)
        except OSError as error:  # the claim could not be written
            mirror.warn(error)
            asked_to_finish = _asked_within(_RETRY_SECONDS)


def _attend(mirror: Mirror, mine: Claim) -> bool:
    """Whether the parent asked to finish; False when it is not, or no longer, this process's turn."""
    if not mine:
        return _asked_within(_TURN_SECONDS)
    wait = _POLL_SECONDS
    while not _asked_within(wait):
        if not mine.held():
            return False
        wait = _POLL_SECONDS if mirror.catch_up() else _RETRY_SECONDS
    return True


def _asked_within(seconds: float) -> bool:
    return bool(select.select([sys.stdin], [], [], seconds)[0])


if __name__ == "__main__":
    sys.exit(main())
