"""The tables and figures of a bench, from measurements that are small enough to be followed by hand."""

from dataclasses import replace

import pytest

from della.errors import InputError
from scripts.timing.figure import experts_figure, size_figure
from scripts.timing.jobs import COPY, POINTS, START, Job
from scripts.timing.log import Log, Measurement, this_machine
from scripts.timing.results import Results, peak
from scripts.timing.table import against_copying, by_experts, first_merge, memory, points, start_up, tables, times


def example() -> list[Measurement]:
    """Three rounds at 0.1 and 1.0, one number of experts more, all numbers small enough to be followed."""
    made = []

    def add(job: Job, seconds: list[float], megabytes: float = 0, inner: list[dict] | None = None) -> None:
        for index, one in enumerate(seconds):
            told = inner[index] if inner else {}
            numbered = replace(job, round=job.round + index)
            made.append(Measurement(numbered, one, round(megabytes * 1e6), 1.0, 0.1 * len(seconds), told, "abc"))

    for case in ("task_arithmetic", "della"):
        add(Job(START, 3, case, "ours", 1), [1.0, 0.8, 0.9], 80)
    add(Job(1.0, 3, "task_arithmetic", "ours", 0), [9.0])
    add(Job(1.0, 3, "task_arithmetic", "ours", 1), [3.0, 2.9, 3.9], 100)
    add(Job(1.0, 3, COPY, "floor", 1), [1.6, 1.1, 2.1], 5, [{"copy": 1.5}, {"copy": 1.0}, {"copy": 2.0}])
    for size, factor in ((0.1, 1), (1.0, 10)):
        add(Job(size, 3, "della", "ours", 1), [1.0 * factor, 2.0 * factor, 4.0 * factor], 100 * (1 + 0.1 * (size == 1)))
        add(Job(size, 3, "della", "mergekit", 1), [20.0 * factor, 60.0 * factor], 3000)
    add(Job(1.0, 3, "della rescale=l1", "ours", 1), [20.0], 110 + 655.36)
    ten = [{"one": one, "distinct": 2 * one, "grid": 3.0} for one in (1.0, 2.0, 3.0)]
    add(Job(1.0, 3, POINTS, "ours", 1), [1, 1, 1], 0, ten)
    add(Job(0.1, 1, "della", "ours", 1), [0.5], 90)
    return made


def test_what_is_asked_for_again_is_measured_again(tmp_path):
    log = Log(tmp_path / "log.jsonl", {"log": 1})
    for measurement in example():
        log.append(measurement)
    log.forget(["ours"])
    assert {job.tool for job in Log(log.file, {"log": 1}).measurements} == {"mergekit", "floor"}


def test_measurements_of_another_machine_are_not_mixed(tmp_path):
    machine = this_machine(tmp_path / "bin" / "mergekit-yaml")
    Log(tmp_path / "log.jsonl", machine).append(example()[0])
    with pytest.raises(InputError, match="measured with another cores, numba; remove the file"):
        Log(tmp_path / "log.jsonl", machine | {"cores": -1, "numba": "0"})
    assert len(Log(tmp_path / "log.jsonl", machine).measurements) == 1


def test_the_tables_are_medians_and_ratios_of_the_same_rounds():
    """della at 0.1: ours 1, 2, 4 (median 2); mergekit 20, 60 (40); rounds 1 and 2 have both: 20 and 30, so 25. Without
    start-up of 0.9, task_arithmetic took 2.1, 2.0 and 3.0 where copying took 1.5, 1.0 and 2.0: 1.4, 2 and 1.5.
    """
    results = Results(example())
    assert times(results)[1:] == [
        ["0.106 B", "della", "2.00", "40.0", "25.00 (20.00 to 30.00)", "3"],
        ["1.1 B", "task_arithmetic", "3.00", "not run", "not run", "3"],
        ["1.1 B", "della", "20.0", "400.0", "25.00 (20.00 to 30.00)", "3"],
        ["1.1 B", "della rescale=l1", "20.0", "400.0", "10.00 (10.00 to 10.00)", "1"],
    ]
    assert start_up(results)[1:] == [["task_arithmetic", "0.90", "not run"], ["della", "0.90", "not run"]]
    assert against_copying(results)[1:] == [["1.1 B", "2.10", "1.50", "1.50 (1.40 to 2.00)", "not run", "not run"]]
    assert points(results)[1:] == [["1.1 B", "2.00", "4.00", "2.00 (2.00 to 2.00)", "3.00", "1.50 (1.00 to 3.00)"]]
    assert first_merge(results)[1:] == [["1.1 B", "task_arithmetic", "9.00", "3.00"]]


def test_the_tables_of_memory_compare_sizes_and_whole_tensors():
    """110 MB are 110 % of 100 MB; 655.36 MB more for a largest tensor of 32,000 x 2,048 are 10 bytes a parameter."""
    results = Results(example())
    assert memory(results)[1:] == [
        ["0.106 B", "della", "100", "-", "-", "3,000"],
        ["1.1 B", "task_arithmetic", "100", "-", "-", "not run"],
        ["1.1 B", "della", "110", "110 %", "-", "3,000"],
        ["1.1 B", "della rescale=l1", "765", "-", "10.0", "-"],
    ]
    assert by_experts(results)[1:] == [
        ["0.106 B", "della", "1", "0.50", "not run", "not run", "90", "not run"],
        ["0.106 B", "della", "3", "2.00", "40.0", "25.00 (20.00 to 30.00)", "100", "3,000"],
    ]
    assert results.median(Job(START, 3, "della", "ours", 1), peak) == 80e6


def test_a_log_read_again_gives_the_same_tables_and_figures(tmp_path):
    machine = {"log": 1, "cores": 2}
    log = Log(tmp_path / "log.jsonl", machine)
    for measurement in example():
        log.append(measurement)
    again = Log(log.file)
    text = tables(Results(again.measurements.values()), again.machine)
    assert text == tables(Results(example()), machine)
    assert "everything else kept at most 0.30 cores busy" in text
    figures = [draw(Results(example())) for draw in (size_figure, experts_figure)]
    # by size: ours twice, mergekit's della, and copying, which has no panel of memory; by experts: della of both
    assert [[len(axes.lines) for axes in figure.axes] for figure in figures] == [[4, 3], [2, 2]]
    assert size_figure(Results([])) is None
    assert experts_figure(Results([])) is None
