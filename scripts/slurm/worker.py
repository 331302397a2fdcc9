"""What a job of a submitted sweep runs: one worker, as `python -m scripts.run ARGUMENTS` would."""

import os
import sys

from scripts.shift import SIGNAL_DELAY, Leave


def run_worker(arguments: list[str], variables: dict[str, str]) -> None:
    """Runs a worker in this process, which ends with its exit code.

    Args:
        arguments: of scripts.run.
        variables: of the environment, which the cluster may not have passed on.
    """
    os.environ.update(variables)
    sys.argv = ["scripts.run", *arguments]
    from scripts.run import main

    try:
        main()
    except Leave as leaving:
        print(f"left: {leaving}", flush=True)
        sys.stderr.flush()
        os._exit(leaving.code)  # Slurm gives no time to end engines in order


def variables_of(submission: str, signal_delay_s: int) -> dict[str, str]:
    """The variables that tell a worker that it is a job: who submitted it, and when Slurm warns it."""
    from scripts.door import SUBMISSION

    return {SUBMISSION: submission, SIGNAL_DELAY: str(signal_delay_s)}
