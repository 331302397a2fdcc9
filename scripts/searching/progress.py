"""How far a sweep that searches is: `python -m scripts.status sweep=search_della`. It asks no model anything."""

from pathlib import Path

from optuna.trial import TrialState

from scripts.progress import look_up
from scripts.schema import RunConfig
from scripts.searching.run import recorded_finals, say, tasks


def show_search(config: RunConfig) -> int:
    """Prints each search's trials and best, and how many runs of winners have a record; returns the failed trials.

    Raises InputError for a family that is not there.
    """
    every = tasks(config, look_up(config))
    found = [task for task in every if task.journal.exists()]
    studies = [task.open() for task in found]
    states = [trial.state for study in studies for trial in study.trials]
    retried = sum("retries" in trial.user_attrs for study in studies for trial in study.trials)
    failed, running = max(0, states.count(TrialState.FAIL) - retried), states.count(TrialState.RUNNING)
    print(
        f"sweep {config.sweep.name}, experts {config.experts.family}: {len(found)} of {len(every)} searches begun; "
        f"{states.count(TrialState.COMPLETE)} trials done, {running} running or left behind, {failed} failed"
    )
    if not found:
        return 0
    say(found, studies)
    records, missing = recorded_finals(found, studies, Path(config.paths.work) / "records")
    print(f"runs of the winners so far: {len(records)} done, {missing} without a record", flush=True)
    return failed
