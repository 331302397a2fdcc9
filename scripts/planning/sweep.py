"""The plan of a sweep: what its parts say, brought together as facts, which scripts/planning/page.py shows."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from della.errors import InputError
from della.record import load_records, read_samples
from scripts.planning import counts, problems
from scripts.planning.assumptions import Assumptions
from scripts.planning.clock import schedule
from scripts.planning.disk import disk, free, record_bytes
from scripts.planning.gpus import find_gpu
from scripts.planning.judging import judge_of, judged, judging
from scripts.planning.measured import Record, size_of, usable
from scripts.planning.model import Measured, Model
from scripts.planning.shape import Shape, find_shape
from scripts.planning.stated import Stated
from scripts.planning.texts import Text, Texts, find_tokenizer
from scripts.schema import SweepPlanConfig

WORKERS = (1, 2, 4, 8, 16, 32)
READ_SAMPLES = 30  # records whose outputs are counted in tokens


def plan_sweep(config: SweepPlanConfig) -> dict[str, Any]:
    """Everything that is known of a sweep before it runs, as JSON can hold it.

    Raises InputError for a command that names no sweep, and for a sweep that makes no sense.
    """
    if not (config.sweep.grids or config.sweep.arms):
        named = f"sweep={config.sweep.name}" if config.sweep.name else "no sweep is named"
        raise InputError(f"{named}: nothing to count; write sweep=NAME, a file of configs/sweep")
    book, folder = Assumptions(), Path(config.paths.work) / "records"
    records = matching(load_records(folder), config)
    texts = Texts(config, book, answers_of(records, folder, config))
    splits = counts.splits(config)
    read = {name: texts.read(name, [s for n, s in splits if n == name]) for name in sorted({n for n, _ in splits})}
    sizes = {(name, split): n for name, text in read.items() for split, n in text.documents.items()}
    stages = counts.planned(config, sizes)
    runs = [*stages[0], *stages[1]]
    shape, (judge, note) = find_shape(config), judge_of(config)
    asked = judging(config, judge, runs, read, book)
    model = model_of(config, records, shape, read, judged(judge), book, runs)
    prompts = sum(sum(size_of(record).values()) for record in records)
    taken = record_bytes(folder, [record["identity"] for record in records], prompts)
    per_token = book.rows["bytes_per_token"].value if "bytes_per_token" in book.rows else 4.0
    answer_bytes = {name: text.answer * per_token for name, text in read.items()}
    needed = disk(config, shape, runs, answer_bytes, taken, book)
    found = [*dict.fromkeys(texts.problems), *problems.too_long(config, shape, read)]
    if isinstance(model, Stated) and shape is not None:
        found += problems.too_small(config, shape, model)
    time = time_of(config, model, counts.rounds(config, stages)) if model else None
    said = problems.warnings(config, shape, texts, free(config), sum(needed.values()))
    return {
        "sweep": config.sweep.name,
        "family": config.experts.family,
        "engine": config.engine.identity(),
        "gpu": config.gpu,
        "gpus_per_worker": config.engine.tensor_parallel_size,
        "select": config.select,
        "searches": bool(config.sweep.arms),
        "model": vars(shape) if shape else None,
        "stages": {name: counted([run for run in runs if run.stage == name], read) for name in ("choosing", "final")},
        "all": counted(runs, read),
        "benchmarks": {name: vars(text) for name, text in read.items()},
        "time": time,
        "disk": needed,
        "memory": None if shape is None else {"one merge": shape.stored, "models, mapped": shape.disk},
        "judges": [vars(one) for one in asked],
        "assumptions": book.facts(),
        "warnings": said + ([note] if note else []) + problems.waiting(config, time),
        "problems": found,
    }


def matching(records: Iterable[Record], config: SweepPlanConfig) -> list[Record]:
    """Records whose times tell those of this sweep's runs: of this family, engine and length of answers, with parts.

    With gpu=NAME, of that card; else of any machine. Those of as many workers as are planned, where there are any.
    """
    wanted = {
        "family": config.experts.family,
        "engine": config.engine.identity(),
        "max_new_tokens": config.experts.max_new_tokens,
    }
    card = find_gpu(config.gpu) if config.gpu is not None else None
    out = []
    for record in records:
        reported = str(record["provenance"].get("gpu") or "")
        right = config.gpu is None or (card is not None and all(word in reported for word in card.reported))
        if usable(record) and right and all(record["config"].get(name) == value for name, value in wanted.items()):
            out.append(record)
    same = [record for record in out if record["provenance"].get("workers") == config.workers]
    return same or out


def answers_of(records: Sequence[Record], folder: Path, config: SweepPlanConfig) -> dict[str, tuple[float, str]]:
    """Mean tokens of the answers that records hold, by benchmark; nothing without the model's tokenizer."""
    tokenizer = find_tokenizer(config)
    if tokenizer is None or not records:
        return {}
    step = max(1, len(records) // READ_SAMPLES)
    outputs: dict[str, list[str]] = {}
    for record in records[::step]:
        for sample in read_samples(folder, record["identity"]):
            outputs.setdefault(sample["benchmark"], []).append(sample["output"])
    out = {}
    for name, texts in outputs.items():
        total = sum(len(found.ids) for found in tokenizer.encode_batch(texts, add_special_tokens=False))
        out[name] = (total + len(texts)) / len(texts), f"{len(texts):,} recorded answers, and their end"
    return out


def model_of(
    config: SweepPlanConfig,
    records: Sequence[Record],
    shape: Shape | None,
    texts: Mapping[str, Text],
    paid: Mapping[str, bool],
    book: Assumptions,
    runs: Sequence[counts.Run],
) -> Model | None:
    """The time model: measured where records tell every benchmark of the sweep, else stated for a GPU, else None."""
    if records:
        model = Measured(config, records, texts, book)
        if not model.pace.missing(runs):
            return model
    if config.gpu is None:
        return None
    if shape is None:
        raise InputError(
            f"gpu={config.gpu}: nothing says how large the {config.experts.family} family's models are; fetch them, or "
            "write assume.model_config=FILE, a config.json of transformers"
        )
    return Stated(config, shape, texts, paid, book)


def counted(runs: Sequence[counts.Run], texts: Mapping[str, Text]) -> dict[str, float]:
    """Runs, merges, evaluations, prompts, and tokens of prompts and answers."""
    each = [(texts[name], n) for run in runs for name, n in run.prompts.items()]
    return {
        **counts.totals(runs),
        "prompt_tokens": sum(text.prompt * n for text, n in each),
        "answer_tokens": sum(text.answer * n for text, n in each),
        "answer_tokens_at_most": sum(text.limit * n for text, n in each),
    }


def time_of(config: SweepPlanConfig, model: Model, stages: Sequence[Sequence[counts.Run]]) -> dict[str, Any]:
    """Seconds: of each part, of all runs, and on the clock for several numbers of workers."""
    runs = [run for stage in stages for run in stage]
    parts: dict[str, float] = {}
    seconds = []
    for run in runs:
        of = model.parts(run.point.method, len(run.point.merge) if run.merges else 0, run.prompts)
        seconds.append(sum(of.values()))
        for name, value in of.items():
            parts[name] = parts.get(name, 0.0) + value
    timed = iter(seconds)
    timeline = [[(run.point.family_seed, next(timed)) for run in stage] for stage in stages]
    longest = model.longest(runs)
    half = model.half_width(len(runs))
    clocks = {}
    for workers in sorted({*WORKERS, config.workers}):
        clock = schedule(timeline, workers, model.start, model.switch)
        gpu_hours = clock.busy * config.engine.tensor_parallel_size / 3600
        clocks[workers] = {"wall": clock.wall, "worker_hours": clock.busy / 3600, "gpu_hours": gpu_hours}
        clocks[workers]["starts"] = clock.starts
    total = sum(seconds)
    return {
        "source": model.source,
        "parts": parts,
        "seconds": total,
        "interval": None if half is None else [max(0.0, total - half), total + half],
        "at_most": longest,
        "workers": clocks,
    }
