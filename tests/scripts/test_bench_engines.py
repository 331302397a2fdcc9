"""`python -m scripts.bench_engines`: what it measures, and the tables that follow from measurements, by hand."""

import importlib.util

import pytest

from scripts.timing.engine_figure import throughput_figure
from scripts.timing.engine_jobs import AGREEMENT, RESTART, SWAP, THROUGHPUT, EngineJob, all_jobs
from scripts.timing.engine_settings import EngineBenchConfig
from scripts.timing.engine_table import agreement, swaps, tables, throughput
from scripts.timing.log import Log, Measurement, engine_machine
from scripts.timing.results import Results


def measured(job: EngineJob, seconds: float = 1.0, **inner) -> Measurement:
    return Measurement(job, seconds, 10, 1.0, 0.25, inner, "abc")


def example() -> list[Measurement]:
    made = []
    for number, (vllm, hf) in enumerate([(40.0, 10.0), (60.0, 20.0), (80.0, 10.0)], 1):
        for engine, value in (("vllm", vllm), ("hf", hf)):
            job = EngineJob("tiny", THROUGHPUT, 8, engine, number)
            made.append(measured(job, prompts_per_s=value, tokens_per_s=20 * value))
    for number, (swap, restart) in enumerate([(20.0, 10.0), (30.0, 12.0)], 1):
        values = {"full": swap, "sample": 2.5, "none": 15.0, "folder": 25.0, "reopen": 3.0}
        made.append(measured(EngineJob("tiny", SWAP, 0, "vllm", number), **values))
        made.append(measured(EngineJob("tiny", RESTART, 0, "vllm", number), restart, open=5.0, answer=0.1))
    gaps = [{"gap": 1e-7, "error": 2e-6, "is_tie": True}, {"gap": 0.5, "error": 2e-6, "is_tie": False}]
    made.append(measured(EngineJob("tiny", AGREEMENT, 0, "both", 1), prompts=400, same=398, gaps=gaps))
    return made


def test_by_default_both_engines_take_turns_in_three_rounds():
    """Two models x (4 batch sizes + restart + swap) x 3 rounds x 2 engines, and one comparison of outputs."""
    jobs = all_jobs(EngineBenchConfig())
    assert len(jobs) == len(set(jobs)) == 2 * 6 * 3 * 2 + 1
    eights = [job for job in jobs if (job.model, job.case, job.batch) == ("0.1", THROUGHPUT, 8)]
    assert [(job.engine, job.round) for job in eights] == [(e, n) for n in (1, 2, 3) for e in ("vllm", "hf")]


def test_the_tables_are_medians_and_ratios_of_the_same_rounds():
    """40, 60, 80 against 10, 20, 10: 4, 3, 8 times. 10 s and 12 s against 20 ms and 30 ms: 500 and 400 times."""
    results = Results(example())
    assert throughput(results)[1:] == [
        ["tiny, 0.7 M", "8", "60.0", "1,200", "10.0", "200", "4.00 (3.00 to 8.00)", "3"],
    ]
    row, other = swaps(results)[1:]
    assert row == ["tiny, 0.7 M", "vllm", "25.0", "2.50", "15.0", "25.0", "3.00", "11.0", "450.00 (400.00 to 500.00)"]
    assert other[1:] == ["hf", *["not run"] * 7]
    told = "1.0e-07 (2.0e-06); 5.0e-01 (2.0e-06, NO TIE)"
    assert agreement(results)[1:] == [["tiny, 0.7 M", "400", "398", "99.5 %", told]]
    text = tables(results, {"cores": 2})
    assert "everything else kept at most 0.25 cores busy" in text
    assert throughput_figure(results) is not None
    assert throughput_figure(Results([])) is None


def test_measurements_are_read_back_and_those_of_an_engine_are_made_again_when_asked(tmp_path):
    machine = engine_machine({"prompts": 16})
    log = Log(tmp_path / "engines.jsonl", machine, EngineJob)
    for one in example():
        log.append(one)
    again = Log(log.file, machine, EngineJob)
    assert again.measurements == log.measurements
    again.forget(["hf"])
    assert {job.engine for job in Log(log.file, machine, EngineJob).measurements} == {"vllm", "both"}


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("models=[big]", "models=big: write tiny, or billions of parameters"),
        ("models=[1000]", "models=1000: write tiny, or billions of parameters"),
        ("engines=[openai]", "engines=openai: write one of vllm, hf"),
        ("batches=[0]", "batches=0: write a whole number from 1"),
        ("recipe=big", "recipe=big: write one of full, minute, pico"),
    ],
)
def test_a_wrong_option_is_answered_before_anything_is_made(option, says, call, tmp_path):
    ended = call("bench_engines", option, f"paths.work={tmp_path / 'work'}")
    assert (ended.code, says in ended.err) == (2, True), ended.err
    assert not (tmp_path / "work").exists()


@pytest.mark.full
def test_a_bench_measures_every_case_and_goes_on_where_it_was_stopped(call, tmp_path):
    """A pico family and a random model of a million parameters, one round: 2 x 3 x 2 measurements, one comparison."""
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed")
    options = ["models=[tiny,0.001]", "recipe=pico", "batches=[2]", "prompts=4", "new_tokens=8", "swaps=2", "rounds=1"]
    options += [f"paths.work={tmp_path / 'work'}", f"paths.results={tmp_path / 'results'}"]
    ended = call("bench_engines", *options)
    assert ended.code == 0, ended.err
    log = tmp_path / "work" / "bench" / "engines.jsonl"
    lines = log.read_text().splitlines()
    assert len(lines) == 1 + 13
    log.write_text("\n".join(lines[:-1]) + "\n")
    again = call("bench_engines", *options, "publish=true")
    assert again.code == 0, again.err
    assert [line.partition("]")[0] for line in again.out.splitlines() if line.startswith("[")] == ["[13/13"]
    table = (tmp_path / "results" / "bench" / "engines.md").read_text()
    assert "not run" not in table
    assert str(tmp_path) not in table + log.read_text()
    assert (tmp_path / "results" / "bench" / "engines.png").stat().st_size > 5000
