"""Building a family: what it holds, that it is the same however it is built, and what a killed build leaves."""

import hashlib
import json
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from della.errors import InputError
from della.tiny import family as building
from della.tiny.family import STAGES, build_family, family_folder, is_whole
from della.tiny.recipe import EXPERTS, RECIPES, Recipe
from della.tiny.references import MAX_NEW_TOKENS, answer_all

PICO = RECIPES["pico"]


def digests(folder):
    """SHA-256 of each file of a family, by its path in it."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def pico(tmp_path_factory):
    return build_family(tmp_path_factory.mktemp("families"), seed=0, recipe=PICO, progress=False)


def test_a_family_is_named_by_its_recipe_and_seed_and_holds_every_stage(pico, tmp_path):
    assert pico.folder.name == f"tiny-{PICO.hash()[:12]}-seed0"
    assert is_whole(pico.folder)
    assert {path.name for path in pico.folder.iterdir()} == {*STAGES, ".lock"}
    assert not is_whole(family_folder(tmp_path, 0, PICO))


def test_transformers_opens_every_model_and_the_embeddings_are_the_bases(pico):
    base = AutoModelForCausalLM.from_pretrained(pico.base)
    assert base.config.tie_word_embeddings
    assert base.config.head_dim == 32
    assert base.generation_config.eos_token_id == AutoTokenizer.from_pretrained(pico.base).eos_token_id
    for name in EXPERTS:
        expert = AutoModelForCausalLM.from_pretrained(pico.models[name])
        assert expert.dtype == torch.float32
        assert torch.equal(expert.get_input_embeddings().weight, base.get_input_embeddings().weight)
        assert not torch.equal(expert.model.layers[0].mlp.up_proj.weight, base.model.layers[0].mlp.up_proj.weight)


def test_the_data_have_the_benchmarks_schemas(pico):
    for benchmark, keys in {
        "gsm8k": {"question", "answer", "group"},
        "mbpp": {"task_id", "text", "code", "test_list", "test_setup_code", "challenge_test_list", "group"},
    }.items():
        for split, count in (("train", 320), ("dev", 24), ("test", 24)):
            documents = [json.loads(line) for line in (pico.data / benchmark / f"{split}.jsonl").open()]
            assert len(documents) == count
            assert all(set(document) == keys for document in documents)
    documents = json.loads((pico.data / "alpaca_eval" / "test.json").read_text())
    assert len(documents) == 24
    assert set(documents[0]) == {"instruction", "output", "generator", "dataset", "rule", "group"}


def test_the_reference_outputs_are_the_bases_own_answers(pico):
    documents = json.loads((pico.data / "alpaca_eval" / "test.json").read_text())
    model, tokenizer = AutoModelForCausalLM.from_pretrained(pico.base), AutoTokenizer.from_pretrained(pico.base)
    answers = answer_all(model, tokenizer, [document["instruction"] for document in documents], None)
    assert answers == [document["output"] for document in documents]
    assert MAX_NEW_TOKENS == 24


def test_a_build_that_stops_at_any_stage_goes_on_to_the_same_bytes(pico, tmp_path):
    """The stages after `kept` are deleted, and a half-written folder is left as a kill would leave it."""
    folder = family_folder(tmp_path, 0, PICO)
    for kept in (0, 2, 4):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(pico.folder, folder)
        for stage in STAGES[kept:]:
            shutil.rmtree(folder / stage)
        (folder / f".partial-{STAGES[kept]}").mkdir()
        (folder / f".partial-{STAGES[kept]}" / "model.safetensors").write_bytes(b"half")
        assert build_family(tmp_path, 0, PICO, progress=False).folder == folder
        assert digests(folder) == digests(pico.folder)


def test_a_stage_that_fails_leaves_nothing_that_looks_whole(tmp_path, monkeypatch):
    def fail(*_arguments):
        raise RuntimeError("stopped")

    monkeypatch.setattr(building, "train_base", fail)
    with pytest.raises(RuntimeError, match="stopped"):
        build_family(tmp_path, 0, PICO, progress=False)
    folder = family_folder(tmp_path, 0, PICO)
    assert (folder / "tokenizer").is_dir()
    assert not (folder / "base").exists()
    assert not is_whole(folder)


def test_a_whole_family_is_not_built_again(pico, monkeypatch):
    monkeypatch.setattr(building, "train_tokenizer", None)
    before = digests(pico.folder)
    assert build_family(pico.folder.parent, 0, PICO, progress=False) == pico
    assert digests(pico.folder) == before


def test_another_seed_gives_other_weights_and_the_same_tokenizer(pico, tmp_path):
    other = build_family(tmp_path, seed=1, recipe=PICO, progress=False)
    mine, theirs = digests(pico.folder), digests(other.folder)
    assert mine["tokenizer/tokenizer.json"] == theirs["tokenizer/tokenizer.json"]
    assert mine["base/model.safetensors"] != theirs["base/model.safetensors"]
    assert mine["data/gsm8k/test.jsonl"] != theirs["data/gsm8k/test.jsonl"]


def test_the_hash_of_a_recipe_changes_with_every_entry():
    assert Recipe().hash() == RECIPES["full"].hash()
    hashes = {Recipe().hash(), Recipe(dev=601).hash(), Recipe(lm_rate=2e-3).hash(), Recipe(width=96).hash()}
    assert len(hashes) == 4


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"width": 100}, "multiple of 32"),
        ({"layers": 0}, "layers is 0; write a whole number above 0"),
        ({"dev": 1.5}, "dev is 1.5; write a whole number above 0"),
        ({"math_rate": -1e-3}, "math_rate is -0.001; write a rate above 0"),
    ],
)
def test_an_impossible_recipe_is_refused_in_one_line(entries, says):
    with pytest.raises(InputError, match=says):
        Recipe(**entries)
