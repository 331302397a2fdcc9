"""A file of entries that no kill can spoil, shared by processes."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

from eval.append_file import AppendFile
from eval.errors import InputError

ENTRIES = [{"key": "é\n", "verdict": 1.0}, {"key": "b", "verdict": None}, {"key": "c" * 50}]


def test_a_file_cut_at_any_byte_keeps_its_whole_entries_and_takes_new_ones(tmp_path):
    """Written whole: three entries, each on a line of its own with an empty one before it."""
    path = tmp_path / "whole"
    whole = AppendFile(path)
    for entry in ENTRIES:
        whole.add(entry)
    content = path.read_bytes()
    ends = [content.index(json.dumps(entry).encode()) + len(json.dumps(entry)) for entry in ENTRIES]
    for cut in range(len(content)):
        (tmp_path / "cut").write_bytes(content[:cut])
        file = AppendFile(tmp_path / "cut")
        before = file.refresh()
        file.add({"new": cut})
        entries = before + file.refresh()
        # The newline that a new entry starts with completes an entry that was cut right at its end.
        assert entries == [entry for entry, end in zip(ENTRIES, ends, strict=True) if end <= cut] + [{"new": cut}]
        file.close()


def test_what_other_processes_add_is_handed_out_once(tmp_path):
    one, other = AppendFile(tmp_path / "f"), AppendFile(tmp_path / "f")
    one.add({"a": 1})
    other.add({"b": 2})
    assert one.refresh() == other.refresh() == [{"a": 1}, {"b": 2}]
    assert one.refresh() == []


def test_lines_of_something_else_are_skipped(tmp_path):
    (tmp_path / "f").write_bytes(b'[1]\n3\n{"a": 1}\n\xff\xfe\nnull\n{"b": \n')
    assert AppendFile(tmp_path / "f").refresh() == [{"a": 1}]


def write_many(path, name: str, count: int) -> None:
    file = AppendFile(path)
    for number in range(count):
        file.add({"from": name, "number": number, "text": "x" * (number % 900)})


def test_entries_of_four_processes_never_mix(tmp_path):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=write_many, args=(tmp_path / "f", name, 100)) for name in "abcd"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    entries = AppendFile(tmp_path / "f").refresh()
    assert sorted((e["from"], e["number"]) for e in entries) == [(name, n) for name in "abcd" for n in range(100)]


HOLDER = """
import sys, time
from pathlib import Path
from eval.append_file import AppendFile
with AppendFile(Path(sys.argv[1])).claim("a") as mine:
    print(mine, flush=True)
    time.sleep(60)
"""


def test_a_claim_is_one_processs_alone_and_ends_with_it(tmp_path):
    """Held by a process, it is not ours; another name is; after a SIGKILL it is ours at once."""
    path = tmp_path / "f"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, path], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "True\n"
    file = AppendFile(path)
    with file.claim("a") as mine, file.claim("b") as other:
        assert (mine, other) == (False, True)
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    deadline = time.monotonic() + 5
    taken = False
    while not taken and time.monotonic() < deadline:
        with file.claim("a") as taken:
            pass
    assert taken


def test_a_file_that_cannot_be_made_is_a_mistake_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="name a folder that you may write to"):
        AppendFile(tmp_path / "file" / "f")


def test_a_full_disk_is_said_and_the_entry_counts_for_nobody(tmp_path, monkeypatch):
    file = AppendFile(tmp_path / "f")
    write = os.write
    monkeypatch.setattr(os, "write", lambda target, data: write(target, data[:10]))
    with pytest.raises(InputError, match="the disk is full; make room and run the same command again"):
        file.add({"key": "a", "verdict": 1.0})
    monkeypatch.undo()
    file.add({"key": "b"})
    assert file.refresh() == [{"key": "b"}]


def test_a_file_that_was_removed_or_replaced_is_no_longer_the_one_that_is_open(tmp_path):
    file = AppendFile(tmp_path / "f")
    assert file.is_current()
    (tmp_path / "f").unlink()
    assert not file.is_current()
    (tmp_path / "f").write_text("")
    assert not file.is_current()


@pytest.mark.parametrize(("sync", "calls"), [(True, 1), (False, 0)])
def test_what_must_not_be_lost_is_on_the_disk_before_add_returns(sync, calls, tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    file = AppendFile(tmp_path / "f")
    file.add({"a": 1}, sync=sync)
    assert (len(synced), file.refresh()) == (calls, [{"a": 1}])
