"""One run, or a sweep of runs.

    python -m scripts.run experts.merge=[lm,math] method=della method.drop_rate=0.5 seed=1
    python -m scripts.run -m sweep=main_table          # one process per core
    python -m scripts.run sweep=main_table             # the same in this process alone

A sweep's workers share a folder of records and claim points one by one; a point with a record is not run again, and a
failed one is tried again by the next invocation.
"""

from pathlib import Path

from della.errors import InputError
from della.record import find_done, write_record
from scripts.door import door
from scripts.gpus import gpus_per_engine, take_gpus
from scripts.points import Point
from scripts.schema import RunConfig
from scripts.session import Session
from scripts.show import scores_text
from scripts.sweep import DRAIN_SECONDS, open_tracker, run_sweep


def single_point(config: RunConfig, names: list[str]) -> Point:
    """The point that a command without a sweep names; `names` are the family's experts."""
    merge = sorted(names if config.experts.merge is None else config.experts.merge)
    method = config.method.name
    if method == "unmerged" and len(merge) > 1:
        raise InputError(
            f"method=unmerged with experts {', '.join(merge)}: write experts.merge=[ONE], or [] for the base"
        )
    if method != "unmerged" and not merge:
        raise InputError(
            f"method={method} with no expert to merge: name some in experts.merge, or write method=unmerged"
        )
    seed = config.seed if config.method.is_random else None
    return Point(config.experts.seed, tuple(merge), method, config.method, seed, config.split, config.limit, "merge")


@door("run")
def main(config: RunConfig) -> None:
    if config.sweep.name:
        engine = config.engine
        take_gpus(config.worker, gpus_per_engine(engine.name, engine.tensor_parallel_size, engine.device_map))
    if config.sweep.arms:
        from scripts.searching.run import run_search  # imports optuna: not before something is searched

        run_search(config)
        return
    if config.sweep.name:
        run_sweep(config)
        return
    session = Session(config)
    point = single_point(config, list(session.family(config.experts.seed).models))
    folder = Path(config.paths.work) / "records"
    record = find_done(folder, session.identity(point))
    if record is None:
        session.judge.ready()
        tracker = open_tracker(config, folder)
        try:
            record, outputs = session.run(point, {})
        except Exception as error:
            write_record(folder, session.failure(point, error, {}))
            raise
        finally:
            session.close()
        write_record(folder, record, outputs)
        tracker.finish(timeout_s=DRAIN_SECONDS)
    else:
        print("this run was done before; its record:")
    print(f"{folder / record['identity']}.json\n{point.label}")
    print(scores_text({name: block["metrics"] for name, block in record["scores"].items()}))


if __name__ == "__main__":
    main()
