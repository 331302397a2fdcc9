"""Hands a sweep's workers to Slurm as one array of jobs, by submitit, and says how to look at them.

What may be set, and how jobs are requeued: configs/hydra/launcher/slurm.yaml. What a job runs: scripts/slurm/worker.py.
The folder of a submission, `paths.work`/slurm/TIME-SWEEP, holds the jobs' script, their logs and `submission.json`,
by which scripts.status finds the jobs.
"""

import os
import shlex
import shutil
import time
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from della.errors import InputError
from della.slurm import cluster, jobs_of
from scripts.data import check_choosing
from scripts.door import INVOCATION, RunsFailed
from scripts.progress import look_up
from scripts.schema import RunConfig
from scripts.slurm.submissions import Submission
from scripts.slurm.worker import run_worker, variables_of
from scripts.status import show

WAIT_SECONDS = 10.0
# After the worker, in the job's script: outside of a container, and whatever ended the worker. A job that was cancelled
# runs no more; only one that does may be put back.
AFTER = """code=$?
job=${{SLURM_ARRAY_JOB_ID:+${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID}}
job=${{job:-$SLURM_JOB_ID}}
again=$([ $code -eq 75 ] && echo yes || true)
if [ $code -gt 128 ]; then
  echo "the worker of job $job died (exit code $code)" | tee -a {folder}/$job.deaths
  [ $(wc -l < {folder}/$job.deaths) -le {deaths} ] && again=yes
fi
if [ "$again" = yes ] && [ "$(squeue -h -j $job -o %T)" = RUNNING ]; then
  scontrol requeue $job && sleep 300  # until Slurm ends this life
fi
exit $code"""


def submit(options: dict[str, Any], overrides: list[list[str]], config: DictConfig) -> None:
    """Submits one job for each list of overrides, and waits for them if `wait` is set.

    Args:
        options: of the launcher, as in configs/hydra/launcher/slurm.yaml.
        overrides: of each worker, as Hydra's sweeper makes them.
        config: what Hydra composed.

    Raises:
        InputError: the number of workers is not said, the experts are not there, or Slurm refuses the jobs.
        RunsFailed: after waiting, runs have failed.
    """
    run = run_config(config)
    if not any(override.startswith("workers=") for override in overrides[0]):
        raise InputError("hydra/launcher=slurm: write how many jobs, as workers=8 (make: WORKERS=8)")
    session = look_up(run)
    check_choosing(run)
    if run.sweep.arms:
        from scripts.searching.run import tasks  # imports optuna

        tasks(run, session)
    wait, folder = options.pop("wait"), Path(options["submitit_folder"]).absolute()
    job = _hand_over(options, [[o.removeprefix("++") for o in given] for given in overrides], folder)
    submission = Submission(
        job=job,
        cluster=cluster(),
        sweep=run.sweep.name,
        experts=run.experts.family,
        select=run.select,
        workers=len(overrides),
        submitted=time.time(),
        arguments=overrides[0],
        folder=str(folder),
    )
    submission.write()
    print(_text(submission, run, options))
    if wait:
        _wait_for(submission)
        if run.sweep.arms:
            from scripts.searching.progress import show_search  # imports optuna

            failed, left = show_search(run)
            if failed:
                raise RunsFailed(f"{failed} trials or runs of winners, tried again by the next invocation")
            if left:
                raise RunsFailed(f"{left} searches or runs of winners are left and no job: see the jobs' logs")
        else:
            show(run)


def run_config(config: DictConfig) -> RunConfig:
    """The configuration of scripts.run in what Hydra composed for a multirun."""
    ours = config.copy()
    with open_dict(ours):
        ours.pop("hydra")
    return OmegaConf.to_object(ours)  # type: ignore[return-value]


def _hand_over(options: dict[str, Any], arguments: list[list[str]], folder: Path) -> str:
    """The number of the submitted job or array of jobs."""
    import submitit

    options = {name: value for name, value in options.items() if name not in ("submitit_folder", "max_num_timeout")}
    python, deaths, setup = options.pop("python"), options.pop("deaths"), options.pop("setup") or []
    after = AFTER.format(folder=shlex.quote(str(folder)), deaths=deaths)
    # Since Slurm 22.05 srun does not take this over from the job by itself. A job's next life adds to the same log.
    own = ["export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}", "export SLURM_OPEN_MODE=append"]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        executor = submitit.AutoExecutor(folder, cluster="slurm", slurm_python=python)
        general = executor._valid_parameters()
        named = {name if name in general else f"slurm_{name}": value for name, value in options.items()}
        executor.update_parameters(**named, slurm_setup=[*own, *setup], slurm_teardown=after.splitlines())
        variables = variables_of(os.environ[INVOCATION], options["signal_delay_s"])
        jobs = executor.map_array(run_worker, arguments, [variables] * len(arguments))
    except RuntimeError as error:  # submitit's own errors are all of this kind
        shutil.rmtree(folder)
        if 'detect "srun"' in str(error):
            raise InputError(
                "hydra/launcher=slurm: there is no Slurm here (no srun); submit from a login node"
            ) from error
        raise InputError(f"hydra/launcher=slurm: the jobs were refused: {' '.join(str(error).split())}") from error
    return jobs[0].job_id.split("_")[0]


def _text(submission: Submission, run: RunConfig, options: dict[str, Any]) -> str:
    watch = "" if run.sweep.arms else "   (watch=true: kept up to date)"
    own = ("worker", "workers", "wait")  # a worker's, no part of what the runs are
    named = shlex.join(o for o in submission.arguments if o.lstrip("+").partition("=")[0] not in own)
    where = f"partition {options['partition']}" if options["partition"] else "the default partition"
    lines = [
        f"submitted: job {submission.job}, {submission.workers} workers, {options['timeout_min']} min each, {where}",
        f"  how far it is  python -m scripts.status {named}{watch}",
        f"  its logs       {submission.folder}",
        f"  to stop it     scancel {submission.job}",
    ]
    return "\n".join(lines)


def _wait_for(submission: Submission) -> None:
    """Returns when none of the jobs is left; Slurm that does not answer is asked again."""
    while (left := jobs_of([submission.job])) is None or left:
        time.sleep(WAIT_SECONDS)
