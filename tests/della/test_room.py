"""What is free on the disk and in memory, and how a plan writes numbers."""

import shutil
from collections import namedtuple

import pytest

from della.plan_text import duration, size
from della.room import available_memory, free_disk, uncached

Usage = namedtuple("Usage", "total used free")


def test_what_an_interrupted_merge_left_beside_its_target_counts_as_free(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10_000, 8_000, 2_000))
    for folder, count in ((".out.merging/files", 500), (".out.merging", 30), (".other.merging", 7)):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "model.safetensors").write_bytes(bytes(count))
    assert free_disk(tmp_path / "out") == 2_530
    assert free_disk(tmp_path / "not" / "yet" / "there") == 2_000


def test_a_memory_limit_of_a_control_group_or_of_one_above_it_counts(tmp_path):
    """Version 2: 1000 allowed, 700 taken of which 100 are cached file pages, so 400; the group above: 350 - 0."""
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal: 8 kB\nMemAvailable:       2 kB\n")
    assert available_memory(proc, groups) == 2048
    (proc / "self" / "cgroup").write_text("0::/job/step\n")
    step = groups / "job" / "step"
    step.mkdir(parents=True)
    (step / "memory.max").write_text("1000\n")
    (step / "memory.current").write_text("700\n")
    (step / "memory.stat").write_text("anon 600\ninactive_file 60\nactive_file 40\n")
    (groups / "job" / "memory.max").write_text("max\n")
    (groups / "job" / "memory.current").write_text("800\n")
    assert available_memory(proc, groups) == 400
    (groups / "job" / "memory.max").write_text("1150\n")
    assert available_memory(proc, groups) == 350


def test_a_memory_limit_of_version_1_counts_and_no_limit_does_not(tmp_path):
    proc, group = tmp_path / "proc", tmp_path / "groups" / "memory" / "job"
    (proc / "self").mkdir(parents=True)
    group.mkdir(parents=True)
    (proc / "meminfo").write_text("MemAvailable: 2 kB\n")
    (proc / "self" / "cgroup").write_text("9:name=systemd:/\n4:cpu,memory:/job\n")
    (group / "memory.usage_in_bytes").write_text("700\n")
    (group / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert available_memory(proc, tmp_path / "groups") == 2048
    (group / "memory.limit_in_bytes").write_text("1000\n")
    assert available_memory(proc, tmp_path / "groups") == 300


def test_memory_is_unknown_where_nothing_tells_it(tmp_path):
    assert available_memory(tmp_path, tmp_path) is None


def test_a_file_that_was_just_written_is_in_memory(tmp_path):
    (tmp_path / "file").write_bytes(bytes(1_000_000))
    (tmp_path / "empty").touch()
    assert uncached([tmp_path / "file", tmp_path / "empty"]) == 0


@pytest.mark.parametrize(
    ("count", "text"),
    [
        *(
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1000, "1.0 kB"),
            (9_949, "9.9 kB"),
            (9_950, "10 kB"),
            (999_499, "999 kB"),
        ),
        *((999_500, "1.0 MB"), (26_031_000_000, "26 GB"), (1.2e12, "1.2 TB"), (5e15, "5000.0 TB")),
    ],
)
def test_sizes_are_written_with_two_figures_or_more(count, text):
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.1, "1 s"), (99, "99 s"), (100, "2 minutes"), (3599, "60 minutes"), (7200, "2.0 hours")]
)
def test_durations_are_written_for_readers(seconds, text):
    assert duration(seconds) == text
