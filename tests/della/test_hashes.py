"""Hashes of files: what they are, and when a remembered one may stand for them."""

import hashlib
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from della import hashes
from della.errors import InputError
from della.hashes import file_sha256, files_sha256

# The two hashes published with the algorithm: of nothing, and of the three letters abc.
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of the test's own, and a process that has hashed nothing."""
    monkeypatch.setenv("DELLA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hashes, "_known", {})
    return tmp_path / "cache" / "sha256"


@pytest.fixture
def later(monkeypatch):
    """Three seconds on: files written by the test are old enough to be remembered."""
    now = time.time_ns
    monkeypatch.setattr(hashes.time, "time_ns", lambda: now() + 3_000_000_000)


@pytest.fixture
def reads(monkeypatch):
    """Names of the files that were read to be hashed."""
    names = []
    read = hashes._read

    def counted(file, progress):
        names.append(file.name)
        return read(file, progress)

    monkeypatch.setattr(hashes, "_read", counted)
    return names


def write(path, content=b"abc"):
    path.write_bytes(content)
    return path


def another_process(monkeypatch):
    monkeypatch.setattr(hashes, "_known", {})


def test_the_hash_is_sha256_of_the_content(tmp_path):
    assert file_sha256(write(tmp_path / "a")) == ABC
    assert file_sha256(write(tmp_path / "b", b"")) == EMPTY


def test_files_hash_in_the_order_given_and_repeats_once(tmp_path, reads):
    large = bytes(3_000_000)
    files = [write(tmp_path / "a"), write(tmp_path / "b", large), tmp_path / "a", write(tmp_path / "c", b"")]
    assert files_sha256(files, threads=3) == [ABC, hashlib.sha256(large).hexdigest(), ABC, EMPTY]
    assert sorted(reads) == ["a", "b", "c"]


def test_progress_adds_up_to_the_bytes_of_all_files_whether_read_or_remembered(tmp_path, later):
    files = [write(tmp_path / "a"), write(tmp_path / "b", bytes(2_500_000))]
    for _ in range(2):
        done = []
        files_sha256(files, done.append)
        assert sum(done) == 2_500_003


def test_a_remembered_file_is_not_read_again_in_this_process_nor_in_another(tmp_path, reads, later, monkeypatch):
    file = write(tmp_path / "a")
    assert [file_sha256(file) for _ in range(3)] == [ABC] * 3
    another_process(monkeypatch)
    assert file_sha256(file) == ABC
    assert reads == ["a"]


def test_a_file_touched_less_than_two_seconds_ago_is_not_remembered(tmp_path, reads, cache):
    """It could be rewritten within the same tick of the clock, with the same size: nothing would show it."""
    file = write(tmp_path / "a")
    assert [file_sha256(file), file_sha256(file)] == [ABC, ABC]
    assert reads == ["a", "a"]
    assert not cache.exists()


def test_an_old_modification_time_does_not_make_a_new_file_old(tmp_path, reads):
    """cp -p and touch set the modification time, but nothing sets the change time."""
    file = write(tmp_path / "a")
    for content in (b"abc", b"xyz"):
        write(file, content)
        os.utime(file, ns=(1, 1))
        assert file_sha256(file) == hashlib.sha256(content).hexdigest()
    assert reads == ["a", "a"]


def test_a_changed_file_is_read_again(tmp_path, reads, later):
    file = write(tmp_path / "a")
    file_sha256(file)
    time.sleep(0.02)
    assert file_sha256(write(file, b"")) == EMPTY
    replacement = write(tmp_path / "new", b"")
    replacement.replace(file)
    assert file_sha256(file) == EMPTY
    assert reads == ["a", "a", "a"]


def test_a_file_that_changes_while_it_is_hashed_is_not_remembered(tmp_path, later, cache, monkeypatch):
    file = write(tmp_path / "a")
    read = hashes._read

    def meddled(path, progress):
        digest = read(path, progress)
        write(path, b"longer")
        return digest

    monkeypatch.setattr(hashes, "_read", meddled)
    file_sha256(file)
    assert not cache.exists()


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"path": 1}', b"\xff"])
def test_a_spoilt_entry_counts_for_nothing(tmp_path, later, cache, reads, monkeypatch, content):
    file = write(tmp_path / "a")
    file_sha256(file)
    (entry,) = cache.iterdir()
    entry.write_bytes(content)
    another_process(monkeypatch)
    assert file_sha256(file) == ABC
    assert reads == ["a", "a"]


def test_an_entry_with_a_hash_that_is_none_counts_for_nothing(tmp_path, later, cache, monkeypatch):
    file = write(tmp_path / "a")
    file_sha256(file)
    (entry,) = cache.iterdir()
    entry.write_text(json.dumps(json.loads(entry.read_text()) | {"sha256": "0" * 63}))
    another_process(monkeypatch)
    assert file_sha256(file) == ABC


def test_a_cache_that_cannot_be_written_is_not_used(tmp_path, later, monkeypatch):
    monkeypatch.setenv("DELLA_CACHE", str(write(tmp_path / "file") / "below"))
    assert file_sha256(write(tmp_path / "a")) == ABC
    monkeypatch.setenv("DELLA_CACHE", str(tmp_path / "c"))
    (tmp_path / "c").mkdir()
    write(tmp_path / "c" / "sha256")
    assert file_sha256(write(tmp_path / "b")) == ABC


def test_the_cache_lies_in_the_users_cache_folder_by_default(tmp_path, later, monkeypatch):
    monkeypatch.delenv("DELLA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    file_sha256(write(tmp_path / "a"))
    assert len(list((tmp_path / "xdg" / "della" / "sha256").iterdir())) == 1


def test_many_threads_may_hash_one_file_at_once(tmp_path, later, cache):
    file = write(tmp_path / "a")
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: file_sha256(file), range(64))) == {ABC}
    assert len(list(cache.iterdir())) == 1


def hub_file(tmp_path, blob, content=b"abc"):
    """As huggingface_hub lays a file out: models--ORG--NAME/snapshots/REVISION/FILE -> ../../blobs/BLOB."""
    for folder in ("blobs", "snapshots/main"):
        (tmp_path / "models--org--name" / folder).mkdir(parents=True, exist_ok=True)
    write(tmp_path / "models--org--name" / "blobs" / blob, content)
    link = tmp_path / "models--org--name" / "snapshots" / "main" / "model.safetensors"
    link.symlink_to(f"../../blobs/{blob}")
    return link


def test_a_large_file_of_the_hub_cache_is_named_by_its_hash_and_not_read(tmp_path, reads):
    assert file_sha256(hub_file(tmp_path, ABC)) == ABC
    assert reads == []


def test_a_small_file_of_the_hub_cache_is_named_by_its_git_hash_and_is_read(tmp_path, reads):
    blob = "f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f"  # git's SHA-1 of a file that holds abc
    assert file_sha256(hub_file(tmp_path, blob)) == ABC
    assert reads == [blob]


def test_a_link_to_a_file_named_like_a_hash_elsewhere_is_read(tmp_path):
    (tmp_path / "blobs").mkdir()
    write(tmp_path / "blobs" / EMPTY)
    (tmp_path / "link").symlink_to(tmp_path / "blobs" / EMPTY)
    assert file_sha256(tmp_path / "link") == ABC


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone: cannot be read \(No such file or directory\); check its path"):
        files_sha256([write(tmp_path / "a"), tmp_path / "gone"])
