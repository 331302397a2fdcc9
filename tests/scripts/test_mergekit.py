"""A mergekit file as scripts.merge opens it."""

import json

import pytest

from della.errors import InputError
from della.lora import Adapter
from della.output import merge_to_folder
from scripts.mergekit import open_mergekit, refuse_beside
from tests.della.mergekit_env import models, save_adapter, save_family
from tests.della.mergekit_files import write_yaml


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = save_family(tmp_path_factory.mktemp("mergekit"), layers=2)
    save_adapter(root / "adapter", root / "base")
    return root


def recipe(root, **others):
    entries = [*models(root), {"model": f"{root / 'base'}+{root / 'adapter'}"}]
    parameters = {"weight": [0.2, 0.4], "density": 0.5}
    base = {"base_model": str(root / "base"), "models": entries}
    return {"merge_method": "dare_ties", "dtype": "bfloat16", "parameters": parameters} | base | others


def test_a_file_becomes_a_folder_that_holds_it(root, capsys):
    content = recipe(root)
    opened = open_mergekit(write_yaml(root / "config.yml", content), seed=1)
    assert isinstance(opened.experts["adapter"], Adapter)
    merge_to_folder(opened.base, opened.experts, opened.policy, 1, root / "merged", **opened.settings)
    facts = json.loads((root / "merged/merge.json").read_text())
    assert facts["config"]["mergekit"] == content
    assert facts["config"]["experts"]["models"]["adapter"] == str(root / "adapter")
    assert facts["config"]["seed"] == 1
    assert json.loads((root / "merged/config.json").read_text())["dtype"] == "bfloat16"
    notes = capsys.readouterr().err.splitlines()
    assert [note.split(": ")[:3] for note in notes] == [
        ["note", str(root / "config.yml"), "rescale"],
        ["note", str(root / "config.yml"), "dtype"],
    ]


def test_rescale_l1_is_noted_in_the_folder_and_needs_no_other_note(root, capsys):
    opened = open_mergekit(write_yaml(root / "l1.yml", recipe(root, dtype="float32")), seed=1, rescale="l1")
    assert opened.policy.method.rescale == opened.settings["config"]["rescale"] == "l1"
    assert capsys.readouterr().err == ""


def test_what_the_file_says_is_refused_beside_it():
    refuse_beside(
        ["mergekit=config.yml", "out=merged", "seed=2", "rescale=l1", "threads=1", "max_shard_gb=1", "--help"]
    )
    with pytest.raises(InputError) as caught:
        refuse_beside(["mergekit=config.yml", "out=merged", "method=ties", "experts.models.lm=lm", "dtype=float32"])
    assert str(caught.value).startswith(
        "method, experts.models.lm, dtype: the mergekit file says it; beside --mergekit"
    )


def test_the_command_merges_by_a_file_and_says_all_that_is_wrong_with_another(root, call):
    ended = call("merge", "--mergekit", write_yaml(root / "command.yml", recipe(root)), f"out={root / 'command'}")
    assert (ended.code, ended.out.startswith("merged adapter, code, lm, math with dare_ties")) == (0, True)
    by_hand = open_mergekit(root / "command.yml", seed=1)
    merge_to_folder(by_hand.base, by_hand.experts, by_hand.policy, 1, root / "by hand", **by_hand.settings)
    weights = [(root / folder / "model.safetensors").read_bytes() for folder in ("command", "by hand")]
    assert weights[0] == weights[1]

    wrong = write_yaml(root / "wrong.yml", recipe(root, merge_method="slerp", chat_template="chatml"))
    ended = call("merge", "--mergekit", wrong, f"out={root / 'wrong'}")
    assert ended.code == 2
    assert [line[:7] for line in ended.err.splitlines()] == ["error: "]
    assert "chat_template: cannot be honoured" in ended.err
    assert "merge_method: slerp is not supported" in ended.err
    assert not (root / "wrong").exists()
