"""`python -m scripts.experts` with a family on a hub: whole or not there, resumed, compared with the hub's hashes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.fetching.recorded import read_lock
from tests.scripts.fetching.repositories import FAMILY, NEEDED, PIECE, files_in, home
from tests.scripts.fetching.scripted_hub import FIRST, SECOND, ScriptedHub

ROOT = Path(__file__).resolve().parents[3]


def test_a_family_is_fetched_whole_recorded_with_hashes_and_not_asked_for_again(on, fetch, small, tmp_path):
    """Of two formats of the weights the safer one; nothing else that the repository holds."""
    with ScriptedHub(small) as hub:
        on(hub.url)
        ended = fetch()
        assert (ended.code, ended.err) == (0, "")
        assert files_in(home(tmp_path)) == [f"{name}/{file}" for name in ("base", "lm") for file in NEEDED]
        for name in ("base", "lm"):
            folder = home(tmp_path) / name
            assert {file: (folder / file).read_bytes() for file in NEEDED} == {
                file: small[f"o/{name}"].files[file] for file in NEEDED
            }
        held = read_lock(home(tmp_path).with_name("ours.lock.json"))
        assert {name: (model.repo, model.revision) for name, model in held.items()} == {
            "base": ("o/base", FIRST),
            "lm": ("o/lm", FIRST),
        }
        assert held["lm"].files["config.json"].bytes == len(small["o/lm"].files["config.json"])
        asked = len(hub.asked)
        again = fetch()
        assert again.code == 0
        assert "as it was fetched" in again.out
        assert len(hub.asked) == asked


def test_a_connection_that_is_cut_goes_on_at_the_byte_it_reached(on, fetch, repositories, large, tmp_path):
    """15 MB come: one piece of 10 MiB is kept, the rest is asked for from there on; the second time likewise."""
    with ScriptedHub(repositories) as hub:
        on(hub.url)
        hub.fail["model.safetensors"] = [f"cut {15_000_000}"]
        assert fetch().code == 0
        ranges = hub.ranges("model.safetensors")
    assert f"bytes={PIECE}-" in ranges
    for name in ("base", "lm"):
        assert (home(tmp_path) / name / "model.safetensors").read_bytes() == large[name]["model.safetensors"]


def test_a_killed_fetch_leaves_no_folder_that_looks_whole_and_goes_on_where_it_was(repositories, large, tmp_path):
    environment = {**os.environ, "DELLA_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, "-m", "scripts.experts", *FAMILY.split(), f"paths.work={tmp_path / 'work'}"]
    with ScriptedHub(repositories) as hub:
        environment["HF_ENDPOINT"] = hub.url
        hub.fail["model.safetensors"] = [f"hang {15_000_000}"]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE)
        staging = home(tmp_path) / ".base.fetching"

        def a_piece_is_there() -> bool:
            return any(path.stat().st_size >= PIECE for path in staging.glob(".model.safetensors.*"))

        hub.wait_for(a_piece_is_there)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not (home(tmp_path) / "base").exists()
        before = len(hub.ranges("model.safetensors"))
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stderr) == (0, "")
        assert f"bytes={PIECE}-" in hub.ranges("model.safetensors")[before:]
    assert (home(tmp_path) / "base" / "model.safetensors").read_bytes() == large["base"]["model.safetensors"]
    assert not staging.exists()


def test_a_server_that_ignores_the_range_sends_the_file_from_its_beginning(on, fetch, repositories, large, tmp_path):
    with ScriptedHub(repositories) as hub:
        on(hub.url)
        hub.fail["model.safetensors"] = ["cut 15000000", "whole"]
        assert fetch().code == 0
    assert (home(tmp_path) / "base" / "model.safetensors").read_bytes() == large["base"]["model.safetensors"]


@pytest.mark.parametrize("failures", [[500, 503], [429, 429], ["cut 3", 500, "cut 3"]])
def test_what_passes_is_asked_again(failures, on, fetch, small, tmp_path):
    with ScriptedHub(small) as hub:
        on(hub.url)
        hub.fail["model.safetensors"] = list(failures)
        ended = fetch()
        assert ended.code == 0
        assert len(hub.ranges("model.safetensors")) >= 2 + len(failures)


def test_content_with_another_hash_is_removed_and_said(on, fetch, small, tmp_path):
    """The first answer is the same bytes backwards; the next command fetches that file alone."""
    with ScriptedHub(small) as hub:
        on(hub.url)
        hub.fail["model.safetensors"] = ["spoilt"]
        ended = fetch()
        assert ended.code == 2
        assert ended.err == (
            f"error: model.safetensors of o/base@{FIRST}: what came has another hash than the hub says; it was "
            "removed, fetch it again\n"
        )
        assert not (home(tmp_path) / "base").exists()
        assert fetch().code == 0


def test_a_small_file_is_compared_by_gits_own_hash(on, fetch, small):
    with ScriptedHub(small) as hub:
        on(hub.url)
        hub.fail["config.json"] = ["spoilt"]
        ended = fetch()
    assert ended.code == 2
    assert "config.json of o/base" in ended.err


def test_a_gated_repository_is_one_sentence_and_a_token_goes_to_the_hub_alone(on, fetch, small, tmp_path, monkeypatch):
    """Nothing is begun without access. With it, the token is in no output, no file, not sent to the object store."""
    small["o/lm"].token = "hf_secretofmine"
    with ScriptedHub(small) as hub:
        on(hub.url)
        ended = fetch()
        assert ended.code == 2
        assert ended.err == (
            f"error: o/lm is gated: accept its licence at {hub.url}/o/lm with your account, and set HF_TOKEN to a "
            "token of that account that may read gated repositories (or run `hf auth login`)\n"
        )
        assert not home(tmp_path).exists()
        monkeypatch.setenv("HF_TOKEN", "hf_secretofmine")
        ended = fetch()
        assert ended.code == 0
        sent = {asked.host.split(":")[0] for asked in hub.asked if asked.authorization}
    assert sent == {"127.0.0.1"}
    assert "secret" not in ended.out + ended.err
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert kept
    assert all(b"hf_secret" not in path.read_bytes() for path in kept)


def test_a_refused_token_is_one_sentence(on, fetch, small, monkeypatch):
    small["o/base"].token = "hf_right"
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with ScriptedHub(small) as hub:
        on(hub.url)
        ended = fetch()
    assert ended.code == 2
    assert "o/base is gated" in ended.err
    assert "hf_wrong" not in ended.out + ended.err


MISTAKES = {
    "no such repository": ("experts.hub.lm=o/lx@" + FIRST, "o/lx: the hub knows no such repository"),
    "no such commit": ("experts.hub.lm=o/lm@" + SECOND, f"o/lm has no revision {SECOND}"),
    "a branch without pin": ("experts.hub.lm=o/lm", "lm: o/lm@main is a branch, which moves: write pin=true"),
    "no repository at all": ("experts.hub.lm=lm", "experts.hub.lm=lm: write OWNER/REPOSITORY@COMMIT"),
    "an unknown dtype": ("experts.merge_dtype=int8", "experts.merge_dtype=int8: write one of"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing_behind(mistake, on, fetch, small, tmp_path):
    typed, told = MISTAKES[mistake]
    with ScriptedHub(small) as hub:
        on(hub.url)
        ended = fetch(typed)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert told in ended.err
    assert not home(tmp_path).exists()
