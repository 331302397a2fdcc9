"""Merging, ours beside mergekit: time and peak memory of whole processes on the same files, and the floor under both.

    python -m scripts.bench                                       # hours: up to a billion parameters
    python -m scripts.bench sizes=[0.01] counts=[] rounds=1      # minutes
    python -m scripts.bench profile=true                          # instead: where the time of our merges goes

Every measurement is kept in paths.work/bench as soon as it is made; the same command makes those that are missing.
mergekit runs from its own environment (`make peers`). Nothing else should be running on the machine meanwhile.
"""

import shutil
from itertools import groupby
from pathlib import Path

from della.errors import InputError
from della.files import write_atomically
from scripts.door import door
from scripts.schema import BenchConfig
from scripts.timing.jobs import START, Job, all_jobs, mergekit_program
from scripts.timing.log import Log, this_machine
from scripts.timing.models import family_folder
from scripts.timing.results import Results
from scripts.timing.runs import Bench, alone, environment
from scripts.timing.table import tables


@door("bench")
def main(config: BenchConfig) -> None:
    work = (Path(config.paths.work) / "bench").absolute()
    work.mkdir(parents=True, exist_ok=True)
    with alone(work):
        if config.profile:
            from scripts.timing.profile import profile

            profile(config, work, environment(work))
            sizes = {START, *config.sizes}
        else:
            jobs = all_jobs(config)
            measure(config, jobs, work)
            sizes = {job.size for job in jobs}
        for size in sizes if not config.keep else ():
            shutil.rmtree(family_folder(work, size), ignore_errors=True)


def measure(config: BenchConfig, jobs: list[Job], work: Path) -> None:
    """Makes the measurements that are missing, then the tables and figures of all."""
    mergekit = mergekit_program()
    if not mergekit.is_file():
        raise InputError(f"{mergekit}: no mergekit there; run `make peers`, or point DELLA_MERGEKIT at mergekit-yaml")
    log = Log(work / "measurements.jsonl", this_machine(mergekit))
    log.forget(config.again)
    bench = Bench(work, log, jobs)
    for (size, _), family in groupby(jobs, key=lambda job: (job.size, job.experts)):
        bench.family(size, list(family))
    folders = [work]
    if config.publish:
        folders.append(Path(config.paths.results) / "bench")
        folders[-1].mkdir(parents=True, exist_ok=True)
        write_atomically(folders[-1] / "measurements.jsonl", log.text().encode())
    for folder in folders:
        text = report(log, folder)
    print(f"\n{text}\nwritten to {', '.join(map(str, folders))}")


def report(log: Log, folder: Path) -> str:
    """Writes the tables and figures of all measurements; the tables as text."""
    from della.figures import write_figure
    from scripts.timing.figure import experts_figure, size_figure

    results = Results(log.measurements.values())
    text = tables(results, log.machine)
    write_atomically(folder / "bench.md", text.encode())
    for name, figure in (("size", size_figure(results)), ("experts", experts_figure(results))):
        if figure is not None:
            write_figure(figure, folder, name, "python -m scripts.bench")
    return text


if __name__ == "__main__":
    main()
