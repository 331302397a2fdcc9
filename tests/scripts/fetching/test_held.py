"""What was fetched, or put there by hand, is what every command takes; without a hub it is said what to put where."""

import os

import pytest

from della.errors import InputError
from scripts.arguments import rewrite
from scripts.family import open_family
from scripts.fetching.fetch import check_room
from scripts.fetching.hub import Listing, Remote, wanted
from scripts.fetching.recorded import read_lock
from scripts.fetching.sources import Place, Source
from tests.scripts.fetching.repositories import FAMILY, NEEDED, home, model_files
from tests.scripts.fetching.scripted_hub import FIRST, SECOND, Repository, ScriptedHub
from tests.scripts.test_configs import composed


@pytest.mark.parametrize("offline", [True, False])
def test_without_a_hub_it_says_what_to_put_where_and_takes_what_was_put_there(offline, on, fetch, small, tmp_path):
    with ScriptedHub({}) as hub:
        pass  # nobody listens there any more
    on(hub.url, offline)
    ended = fetch()
    reason = "HF_HUB_OFFLINE is set" if offline else "the hub cannot be reached, ConnectError"
    assert ended.code == 2
    lines = ended.out.splitlines()
    for name, line in zip(("base", "lm"), lines, strict=True):
        assert line.startswith(f"put o/{name} at revision {FIRST} into {home(tmp_path) / name}: config.json, ")
        assert "model*.safetensors" in line
    assert ended.err.startswith(f"error: {reason}: put the models where the lines above say")
    for name in ("base", "lm"):
        (home(tmp_path) / name).mkdir(parents=True)
        for file in NEEDED:
            (home(tmp_path) / name / file).write_bytes(small[f"o/{name}"].files[file])
    by_hand = fetch()
    assert by_hand.code == 0
    assert f"lm: {home(tmp_path) / 'lm'} is there; not compared with o/lm@{FIRST}, since {reason}" in by_hand.out
    assert not home(tmp_path).with_name("ours.lock.json").exists()


def test_a_folder_put_there_by_hand_is_compared_when_the_hub_is_there(on, fetch, small, tmp_path):
    """What is missing is fetched; what differs is refused by name and left alone."""
    folder = home(tmp_path) / "lm"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(small["o/lm"].files["model.safetensors"])
    with ScriptedHub(small) as hub:
        on(hub.url)
        assert fetch().code == 0
        assert hub.ranges("model.safetensors").count(None) == 2  # the base's: its redirect, its content
        (folder / "config.json").write_bytes(b"{}")
        home(tmp_path).with_name("ours.lock.json").unlink()
        ended = fetch()
    assert ended.code == 2
    assert f"{folder / 'config.json'}: is not config.json of o/lm@{FIRST}; remove it" in ended.err
    assert (folder / "config.json").read_bytes() == b"{}"


def test_a_file_that_changed_after_it_was_fetched_is_named_by_every_command(on, fetch, small, tmp_path):
    """Of another size when the family is opened, of another content where a run's inputs are hashed."""
    with ScriptedHub(small) as hub:
        on(hub.url)
        assert fetch().code == 0
        config = composed("experts", *rewrite(FAMILY.split()), f"paths.work={tmp_path / 'work'}").experts
        family = open_family(config, 0, tmp_path / "work")
        family.inputs(("lm",))
        path = home(tmp_path) / "lm" / "model.safetensors"
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"lm/model\.safetensors: is not what was fetched \("):
            family.inputs(("lm",))
        family.inputs(())
        assert "is not what was fetched" in fetch().err
        path.write_bytes(content[:-1])
        with pytest.raises(InputError, match=r"bytes where .* were fetched; remove model\.safetensors there and run"):
            open_family(config, 0, tmp_path / "work")
        path.unlink()
        assert fetch().code == 0  # that file alone comes again
        assert path.read_bytes() == small["o/lm"].files["model.safetensors"]


def test_a_branch_is_pinned_by_what_was_fetched_from_it(on, fetch, small, tmp_path):
    """After pin=true the branch may move: the commit that was taken is asked for, also for a file that was lost."""
    branch = "experts.hub.lm=o/lm"
    with ScriptedHub(small) as hub:
        on(hub.url)
        assert fetch(branch, "pin=true").code == 0
        held = read_lock(home(tmp_path).with_name("ours.lock.json"))
        assert (held["lm"].repo, held["lm"].revision) == ("o/lm", FIRST)
        first = small["o/lm"].files
        small["o/lm"] = Repository(model_files(300, 5.0), SECOND, {FIRST: first})
        hub.repositories["o/lm"] = small["o/lm"]
        assert fetch(branch).code == 0
        (home(tmp_path) / "lm" / "model.safetensors").unlink()
        assert fetch(branch).code == 0
        assert (home(tmp_path) / "lm" / "model.safetensors").read_bytes() == first["model.safetensors"]
        moved = fetch(f"experts.hub.lm=o/lm@{SECOND}")
    assert moved.code == 2
    assert f"holds o/lm@{FIRST}, the family names o/lm@{SECOND}; remove the folder and fetch again" in moved.err


def test_a_pickle_that_would_run_code_is_fetched_and_never_run(on, fetch, small, tmp_path):
    class Trap:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    import torch

    torch.save({"model.embed_tokens.weight": Trap()}, tmp_path / "trap.bin")
    files = small["o/lm"].files
    del files["model.safetensors"]
    files["pytorch_model.bin"] = (tmp_path / "trap.bin").read_bytes()
    with ScriptedHub(small) as hub:
        on(hub.url)
        ended = fetch()
    assert ended.code == 2
    assert "so that reading it could run code" in ended.err
    assert not (tmp_path / "ran").exists()


def test_a_run_of_a_family_that_was_not_fetched_says_how_to_fetch_it(call, tmp_path):
    ended = call("run", "experts=wizard_13b", "method=average", "engine=hf", f"paths.work={tmp_path}", "tracking=none")
    assert ended.code == 2
    told = f"error: {tmp_path}/experts/wizard_13b/base: the wizard_13b family's base is not there; `python -m scripts."
    assert ended.err.startswith(told)


def test_room_is_looked_for_before_anything_is_fetched(tmp_path, monkeypatch):
    """26 GB wanted, 20 there; of a file that is half there only the other half counts."""
    source = Source("o/base", FIRST)
    listing = Listing(source, (Remote("model.safetensors", 26_000_000_000, "a" * 64, ""),))
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 20_000_000_000}))
    place = Place("base", tmp_path / "base", source)
    with pytest.raises(InputError, match=r"26\.0 GB to fetch and 20\.0 GB free; free some, or write experts\.path=DIR"):
        check_room(tmp_path, [place], {"base": listing})
    staging = tmp_path / ".base.fetching"
    staging.mkdir()
    with (staging / f".model.safetensors.{'a' * 16}.incomplete").open("wb") as stream:
        stream.truncate(13_000_000_000)
    check_room(tmp_path, [place], {"base": listing})


SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"]
PICKLES = ["pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json"]


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        (["config.json", *SHARDS, *PICKLES, "optimizer.bin"], ["config.json", *SHARDS]),
        (
            ["config.json", *PICKLES, "training_args.bin", "tokenizer.model"],
            ["config.json", *PICKLES, "tokenizer.model"],
        ),
        (["config.json", "model.safetensors", "consolidated.safetensors"], ["config.json", "model.safetensors"]),
        (["adapter_config.json", "adapter_model.bin"], ["adapter_config.json", "adapter_model.bin"]),
        (["adapter_config.json", "adapter_model.safetensors"], ["adapter_config.json", "adapter_model.safetensors"]),
    ],
)
def test_of_what_a_repository_holds_the_model_is_taken(there, taken):
    assert wanted(there, Source("o/m", FIRST)) == sorted(taken)


def test_a_repository_without_weights_is_refused():
    with pytest.raises(InputError, match=r"holds neither model\.safetensors nor pytorch_model\.bin"):
        wanted(["config.json", "model.gguf"], Source("o/m", FIRST))
