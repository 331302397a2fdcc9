"""Folders that appear whole: killed and resumed, interrupted, failed, fought over, on full disks."""

import errno
import json
import os
import random
import time
from contextlib import suppress
from pathlib import Path

import pytest
import safetensors

from della import staging as module
from della.errors import InputError
from della.folder import staged, staged_folder
from della.headers import Header
from della.shards import plan_shards
from tests.della.writer import start_writer

# Four shards of two tensors: 60 + 40 bytes, limit 100.
HEADERS = {f"{number}.{part}": Header((size,), "uint8") for number in range(4) for part, size in (("a", 60), ("b", 40))}
SHARDS = plan_shards(HEADERS, 100)


def fill(staging, shards=SHARDS):
    for shard in shards:
        if shard.file not in staging.finished:
            descriptor = staging.begin(shard)
            for name, header in shard.headers.items():
                os.pwrite(descriptor, name[0].encode() * header.nbytes, shard.start[name])
            staging.finish(shard, {"names": list(shard.headers)})


def attempt(out, body, key="key", shards=SHARDS):
    with staged(out, key, shards) as staging:
        body(staging)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def interrupt(out, after, key="key", shards=SHARDS):
    """Ctrl-C when so many shards are finished."""
    with suppress(KeyboardInterrupt), staged(out, key, shards) as staging:
        fill(staging, shards[:after])
        if after < len(shards):
            staging.begin(shards[after])
        raise KeyboardInterrupt


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What the writer makes when nothing disturbs it."""
    out = tmp_path_factory.mktemp("whole") / "out"
    said, complained = start_writer(out).communicate(timeout=60)
    assert (said, complained) == ("0\n", "")
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    return contents(out)


def test_files_are_as_planned_and_the_index_is_written(tmp_path):
    with staged(tmp_path / "out", "key", SHARDS) as staging:
        assert (staging.resumed, staging.finished) == (0, {})
        fill(staging)
        assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    for shard in SHARDS:
        with safetensors.safe_open(tmp_path / "out" / shard.file, framework="np") as file:
            assert all(set(file.get_tensor(name)) == {ord(name[0])} for name in shard.headers)
    weight_map = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())["weight_map"]
    assert weight_map == {name: shard.file for shard in SHARDS for name in shard.headers}


def test_killed_at_random_moments_and_resumed_it_ends_with_the_same_bytes(whole, tmp_path):
    """Before each restart: no `out`, and what stands under a final name is whole already."""
    out, chance, most, kills = tmp_path / "out", random.Random(1), 0, 0
    while not out.exists():
        assert kills < 100
        process = start_writer(out)
        with process:
            resumed = process.stdout.readline()
            time.sleep(chance.uniform(0, 0.1 + 0.02 * kills))  # longer and longer: a busy machine comes to an end too
            process.kill()
        most = max(most, int(resumed or 0))
        kills += 1
        for path in tmp_path.glob(".out.merging/files/*.safetensors"):
            assert path.read_bytes() == whole[path.name]
    assert contents(out) == whole
    assert kills > 2
    assert most > 0
    if (tmp_path / ".out.merging").exists():  # killed right after it gave the folder its name
        assert not list(tmp_path.glob(".out.merging/files"))


def test_an_interrupted_folder_is_continued_and_facts_are_kept(tmp_path):
    out = tmp_path / "out"
    interrupt(out, after=2)
    assert not out.exists()
    assert sorted(path.name for path in (tmp_path / ".out.merging").iterdir()) == ["done", "files"]
    with staged(out, "key", SHARDS) as staging:
        assert staging.finished == {shard.file: {"names": list(shard.headers)} for shard in SHARDS[:2]}
        assert staging.resumed == 2
        fill(staging)
    with staged(tmp_path / "other", "key", SHARDS) as staging:
        fill(staging)
    assert contents(out) == contents(tmp_path / "other")


def test_an_interruption_before_the_first_whole_shard_leaves_nothing(tmp_path):
    interrupt(tmp_path / "out", after=0)
    with suppress(KeyboardInterrupt), staged_folder(tmp_path / "out") as folder:
        (folder / "file").write_text("x")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", ["another", ""])
def test_what_another_merge_left_is_removed(key, tmp_path):
    interrupt(tmp_path / "out", after=3)
    with staged(tmp_path / "out", key, SHARDS) as staging:
        assert staging.resumed == 0
        assert [path.name for path in staging.folder.iterdir()] == ["model.safetensors.index.json"]
        fill(staging)


def test_another_split_into_shards_of_the_same_merge_is_started_afresh(tmp_path):
    """Both have four files of the same names and sizes: only the order of the tensors differs."""
    interrupt(tmp_path / "out", after=3)
    with staged(tmp_path / "out", "key", plan_shards(dict(sorted(HEADERS.items(), reverse=True)), 100)) as staging:
        assert staging.resumed == 0
        fill(staging, plan_shards(dict(sorted(HEADERS.items(), reverse=True)), 100))


@pytest.mark.parametrize("damage", ["cut shard", "no shard", "cut entry", "no entry", "entry of another shard"])
def test_a_shard_counts_only_when_it_and_its_journal_entry_are_whole(damage, tmp_path):
    out, work, file = tmp_path / "out", tmp_path / ".out.merging", SHARDS[1].file
    interrupt(out, after=3)
    shard, entry = work / "files" / file, work / "done" / f"{file}.json"
    if damage == "cut shard":
        os.truncate(shard, SHARDS[1].size - 1)
    elif damage == "no shard":
        shard.unlink()
    elif damage == "cut entry":
        os.truncate(entry, 10)
    elif damage == "no entry":
        entry.unlink()
    else:
        entry.write_bytes((work / "done" / f"{SHARDS[0].file}.json").read_bytes())
    with staged(out, "key", SHARDS) as staging:
        assert staging.finished.keys() == {SHARDS[0].file, SHARDS[2].file}
        fill(staging)
    assert all(path.stat().st_size == shard.size for shard in SHARDS for path in [out / shard.file])


@pytest.mark.parametrize("error", [InputError("bad"), RuntimeError("bug"), OSError(errno.EIO, "broken")])
def test_an_exception_removes_everything_whole_shards_too(error, tmp_path):
    def fail(staging):
        fill(staging, SHARDS[:3])
        raise error

    interrupt(tmp_path / "out", after=2)
    with pytest.raises(type(error), match=r"bad|bug|broken"):
        attempt(tmp_path / "out", fail)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_an_unfinished_shard_is_never_published(tmp_path):
    def stop_early(staging):
        fill(staging, SHARDS[:3])
        staging.begin(SHARDS[3])

    with pytest.raises(RuntimeError, match="not finished: model-00004"):
        attempt(tmp_path / "out", stop_early)
    assert list(tmp_path.iterdir()) == []


def test_a_shard_that_the_disk_refuses_fails_the_folder(tmp_path, monkeypatch):
    def refuse(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(module.os, "fsync", refuse)
    with pytest.raises(OSError, match="Input/output error"):
        attempt(tmp_path / "out", fill)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_too_small_is_found_before_anything_is_written(tmp_path):
    """2**60 bytes are more than any disk here has."""
    shards = plan_shards({"huge": Header((2**60,), "uint8")}, 2**62)
    with pytest.raises(InputError, match=rf"out: needs {shards[0].size} bytes and \d+ are free; free some"):
        attempt(tmp_path / "out", pytest.fail, shards=shards)
    assert list(tmp_path.iterdir()) == []


def test_only_what_is_still_to_be_written_has_to_fit(tmp_path, monkeypatch):
    interrupt(tmp_path / "out", after=3)
    usage = module.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage._replace(free=SHARDS[3].size - 1))
    with pytest.raises(InputError, match="needs"):
        attempt(tmp_path / "out", pytest.fail)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage._replace(free=SHARDS[3].size))
    with staged(tmp_path / "out", "key", SHARDS) as staging:
        assert staging.resumed == 3
        fill(staging)


def test_a_disk_that_fills_up_meanwhile_shows_when_a_shard_is_begun(tmp_path, monkeypatch):
    def full(descriptor, start, size):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.os, "posix_fallocate", full)
    pattern = rf"model-00001-of-00004.safetensors.part: needs {SHARDS[0].size} bytes and \d+ are free"
    with pytest.raises(InputError, match=pattern):
        attempt(tmp_path / "out", lambda staging: staging.begin(SHARDS[0]))
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_while_a_file_is_written_is_an_input_error(tmp_path):
    def fill_up(staging):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(InputError, match="out: No space left on device while writing it; write out="):
        attempt(tmp_path / "out", fill_up)
    assert list(tmp_path.iterdir()) == []


def test_file_systems_that_cannot_allocate_do_without(tmp_path, monkeypatch):
    def unsupported(descriptor, start, size):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(module.os, "posix_fallocate", unsupported)
    with staged(tmp_path / "out", "key", SHARDS) as staging:
        fill(staging)
    assert all((tmp_path / "out" / shard.file).stat().st_size == shard.size for shard in SHARDS)


def test_a_shard_is_begun_once(tmp_path):
    with pytest.raises(RuntimeError, match="begun before"):
        attempt(tmp_path / "out", lambda staging: [staging.begin(SHARDS[0]) for _ in range(2)])


def test_who_comes_while_another_process_merges_into_the_same_folder_is_told_so(whole, tmp_path):
    out = tmp_path / "out"
    with start_writer(out) as process:
        assert process.stdout.readline() == "0\n"
        pattern = rf"out: process {process.pid} on .* is merging into it; wait for that one, or write another out="
        with pytest.raises(InputError, match=pattern):
            attempt(out, pytest.fail, key="another")
        assert process.wait(60) == 0
    assert contents(out) == whole


def test_of_many_that_start_at_once_one_makes_the_folder_and_the_others_leave(whole, tmp_path):
    processes = [start_writer(tmp_path / "out") for _ in range(4)]
    complaints = [process.communicate(timeout=60)[1] for process in processes]
    assert sorted(process.returncode for process in processes) == [0, 1, 1, 1]
    assert all("is merging into it" in said or "is there already" in said for said in complaints if said)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert contents(tmp_path / "out") == whole


def test_a_folder_that_is_occupied_meanwhile_is_left_alone_and_the_shards_are_kept(tmp_path):
    out = tmp_path / "out"

    def occupy(staging):
        fill(staging)
        out.mkdir()
        (out / "precious").write_text("x")

    with pytest.raises(InputError, match="out: was occupied while it was merged; remove it and run the command again"):
        attempt(out, occupy)
    assert contents(out) == {"precious": b"x"}
    (out / "precious").unlink()
    with staged(out, "key", SHARDS) as staging:
        assert staging.resumed == 4


def test_a_link_to_an_empty_folder_is_filled_where_it_points(tmp_path):
    (tmp_path / "disk" / "merged").mkdir(parents=True)
    (tmp_path / "out").symlink_to(tmp_path / "disk" / "merged")
    with staged_folder(tmp_path / "out") as folder:
        (folder / "file").write_text("x")
    assert (tmp_path / "disk" / "merged" / "file").read_text() == "x"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "out"]


def test_a_mount_point_is_refused_at_once(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path).name == "out")
    with pytest.raises(InputError, match=r"out: is a mount point, which no folder can replace; write out=.*/NAME"):
        attempt(tmp_path / "out", pytest.fail)
