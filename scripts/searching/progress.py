"""How far a sweep that searches is: `python -m scripts.status sweep=search_della`. It asks no model anything."""

from pathlib import Path

from optuna.trial import TrialState

from della.record import find_record
from scripts.progress import look_up
from scripts.schema import RunConfig
from scripts.searching.run import final_points, say, tasks


def show_search(config: RunConfig) -> tuple[int, int]:
    """Prints each search's trials and best, and how many runs of winners have a record.

    Returns how many trials and winners' runs failed, and how many searches are not over and winners' runs not made.
    Raises InputError for a family that is not there.
    """
    every = tasks(config, look_up(config))
    found = [task for task in every if task.journal.exists()]
    studies = [task.open() for task in found]
    states = [trial.state for study in studies for trial in study.trials]
    failed = sum(len(study.failed) for study in studies)
    print(
        f"sweep {config.sweep.name}, experts {config.experts.family}: {len(found)} of {len(every)} searches begun; "
        f"{states.count(TrialState.COMPLETE)} trials done, {states.count(TrialState.RUNNING)} running or left behind, "
        f"{failed} failed"
    )
    if not found:
        return 0, len(every)
    say(found, studies)
    folder = Path(config.paths.work) / "records"
    records = [find_record(folder, found[0].session.identity(point)) for point in final_points(found, studies)]
    done, broken = (sum(r is not None and r["status"] == status for r in records) for status in ("done", "failed"))
    missing = len(records) - done - broken
    print(f"runs of the winners so far: {done} done, {broken} failed, {missing} without a record", flush=True)
    return failed + broken, missing + len(every) - sum(study.over for study in studies)
