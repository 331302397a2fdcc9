"""Generating, vLLM beside transformers: throughput at several batch sizes, a swap of weights against a restart.

    python -m scripts.bench_engines
    python -m scripts.bench_engines models=[tiny] batches=[32] rounds=1      # minutes

Every measurement is a process of its own and is kept in paths.work/bench as soon as it is made; the same command makes
those that are missing. Nothing else should be running on the machine meanwhile.
"""

import json
from itertools import groupby
from pathlib import Path
from typing import Any

from della.files import write_atomically
from scripts.door import door
from scripts.schema import EngineBenchConfig
from scripts.timing.engine_jobs import EngineJob, all_jobs, command, make_model
from scripts.timing.engine_table import tables
from scripts.timing.jobs import ROOT
from scripts.timing.log import Log, Measurement, engine_machine
from scripts.timing.process import measure
from scripts.timing.results import Results
from scripts.timing.runs import BUSY, alone, commit, environment, said


@door("bench_engines")
def main(config: EngineBenchConfig) -> None:
    work = (Path(config.paths.work) / "bench").absolute()
    work.mkdir(parents=True, exist_ok=True)
    with alone(work):
        run(config, work)


def run(config: EngineBenchConfig, work: Path) -> None:
    """Makes the measurements that are missing, then the tables and the figure of all."""
    options = {name: getattr(config, name) for name in ("recipe", "prompts", "new_tokens", "swaps")}
    log = Log(work / "engines.jsonl", engine_machine(options), EngineJob)
    log.forget(config.again)
    jobs = all_jobs(config)
    missing = [job for job in jobs if job not in log.measurements]
    for name, group in groupby(missing, key=lambda job: job.model):
        model = make_model(name, config.recipe, work)
        for job in group:
            cost = measure(command(job, model, config), ROOT, environment(work))
            inner = read_inner(cost.out)
            log.append(Measurement(job, cost.seconds, cost.peak, cost.cpu, cost.others, inner, commit()))
            done = sum(one in log.measurements for one in jobs)
            busy = f", others kept {cost.others:.1f} cores busy" if cost.others > BUSY else ""
            said(f"[{done}/{len(jobs)}] {job}: {cost.seconds:.1f} s{busy}")
    folders = [work]
    if config.publish:
        folders.append(Path(config.paths.results) / "bench")
        folders[-1].mkdir(parents=True, exist_ok=True)
        write_atomically(folders[-1] / "engines.jsonl", log.text().encode())
    for folder in folders:
        text = report(log, folder)
    print(f"\n{text}\nwritten to {', '.join(map(str, folders))}")


def read_inner(out: str) -> dict[str, Any]:
    """What a measurement printed last."""
    return json.loads(out.strip().splitlines()[-1])


def report(log: Log, folder: Path) -> str:
    """Writes the tables and the figure of all measurements; the tables as text."""
    from della.figures import write_figure
    from scripts.timing.engine_figure import throughput_figure

    results = Results(log.measurements.values())
    text = tables(results, log.machine)
    write_atomically(folder / "engines.md", text.encode())
    figure = throughput_figure(results)
    if figure is not None:
        write_figure(figure, folder, "engines", "python -m scripts.bench_engines")
    return text


if __name__ == "__main__":
    main()
