"""Merged folders: they open in transformers, say where they come from, and are whole or absent."""

import json
import socket

import pytest
import safetensors.torch
import torch

from della.checkpoint import INDEX, SINGLE, Checkpoint
from della.errors import InputError
from della.merge import merge_tensors
from della.methods import make_method
from della.output import merge_to_folder
from tests.della.models import save_llama


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    """A tied float32 base with two experts near it; lm is stored in shards."""
    root = tmp_path_factory.mktemp("family")
    base = save_llama(root / "base")
    for seed, name in enumerate(("lm", "math"), start=1):
        save_llama(root / name, seed, **({"max_shard_size": "20KB"} if name == "lm" else {}))
    return Checkpoint(base), {name: Checkpoint(root / name) for name in ("lm", "math")}


def merge(family, out, **settings):
    base, experts = family
    return merge_to_folder(base, experts, make_method("della"), 1, out, **settings)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_merged_folder_opens_in_transformers(family, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    merge(family, tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model.dtype == torch.float32
    state = model.state_dict()
    for part in merge_tensors(*family, make_method("della"), 1):
        assert torch.equal(state[part.name], part.tensor)
    assert torch.equal(state["lm_head.weight"], state["model.embed_tokens.weight"])
    assert AutoTokenizer.from_pretrained(tmp_path / "out")("w3 w4")["input_ids"] == [3, 4]


def test_the_output_dtype_is_that_of_the_config(family, tmp_path):
    from transformers import AutoModelForCausalLM

    merge(family, tmp_path / "out", dtype="bfloat16")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert {config[key] for key in ("dtype", "torch_dtype") if key in config} == {"bfloat16"}
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").dtype == torch.bfloat16


def test_tied_weights_are_written_once_and_the_metadata_says_pt(family, tmp_path):
    merge(family, tmp_path / "out")
    with safetensors.safe_open(tmp_path / "out" / SINGLE, framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118 (not a dict)


def test_config_and_tokenizer_are_the_bases(family, tmp_path):
    base, _ = family
    merge(family, tmp_path / "out")
    written = contents(tmp_path / "out")
    for file in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        assert written[file] == (base.folder / file).read_bytes()


def test_weights_can_be_read_by_whoever_can_read_the_config(family, tmp_path):
    merge(family, tmp_path / "out")
    assert (tmp_path / "out" / SINGLE).stat().st_mode == (tmp_path / "out" / "config.json").stat().st_mode


def test_small_shards_hold_the_same_tensors_and_open_in_transformers(family, tmp_path):
    from transformers import AutoModelForCausalLM

    merge(family, tmp_path / "one")
    merge(family, tmp_path / "many", max_shard_bytes=10_000)
    index = json.loads((tmp_path / "many" / INDEX).read_text())
    files = sorted(set(index["weight_map"].values()))
    assert files == [f"model-{i + 1:05}-of-{len(files):05}.safetensors" for i in range(len(files))]
    assert len(files) > 2
    one, many = Checkpoint(tmp_path / "one"), Checkpoint(tmp_path / "many")
    assert one.headers == many.headers
    assert all(torch.equal(one.tensor(name), many.tensor(name)) for name in one.headers)
    assert index["metadata"]["total_size"] == sum(one.tensor(name).nbytes for name in one.headers)
    AutoModelForCausalLM.from_pretrained(tmp_path / "many")


def test_sharded_inputs_give_the_same_bytes(family, tmp_path):
    base, experts = family
    assert (experts["lm"].folder / INDEX).is_file()
    held = {name: expert.in_memory() for name, expert in experts.items()}
    method = make_method("della")
    for one, other in zip(
        merge_tensors(base, experts, method, 1), merge_tensors(base.in_memory(), held, method, 1), strict=True
    ):
        assert torch.equal(one.tensor, other.tensor)


def test_the_same_merge_twice_gives_the_same_bytes_in_every_file(family, tmp_path):
    merge(family, tmp_path / "one", config={"out": "merged"})
    merge((family[0], dict(reversed(family[1].items()))), tmp_path / "two", config={"out": "merged"})
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_merge_json_tells_config_inputs_seed_drop_rates_and_versions(family, tmp_path):
    facts = merge(family, tmp_path / "out", config={"experts": {"base": "x"}})
    assert json.loads((tmp_path / "out" / "merge.json").read_text()) == facts
    assert facts["config"] == {"experts": {"base": "x"}}
    assert facts["method"]["name"] == "della"
    assert facts["seed"] == 1
    assert facts["inputs"]["base"]["sha256"] == family[0].sha256()
    assert facts["inputs"]["experts"]["lm"]["path"] == str(family[1]["lm"].folder)
    assert facts["versions"]["merge"] == 1
    weights = {name: torch.Size(header.shape).numel() for name, header in family[0].headers.items()}
    per_tensor = facts["drop_rate_per_tensor"]
    assert set(per_tensor) == set(weights)
    mean = sum(per_tensor[name]["lm"] * weights[name] for name in weights) / sum(weights.values())
    assert abs(mean - facts["drop_rate"]["lm"]) < 1e-12
    assert 0.45 < mean < 0.55


def test_a_method_without_chance_records_no_seed(family, tmp_path):
    base, experts = family
    assert merge_to_folder(base, experts, make_method("ties"), 7, tmp_path / "out")["seed"] is None


def test_the_card_names_method_and_experts_and_no_fact_of_the_machine(family, tmp_path):
    merge(family, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Merge of lm, math with della" in card
    assert "drop_rate 0.5, epsilon 0.14" in card
    assert family[0].sha256() in card
    assert socket.gethostname() not in card
    assert ".merging" not in card


def test_an_occupied_target_is_refused_and_left_alone(family, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("x")
    with pytest.raises(InputError, match="out: is there already and not an empty folder; write another out="):
        merge(family, tmp_path / "out")
    assert contents(tmp_path / "out") == {"precious": b"x"}
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="file: is there already"):
        merge(family, tmp_path / "file")


def test_an_empty_target_and_missing_parents_are_fine(family, tmp_path):
    (tmp_path / "empty").mkdir()
    merge(family, tmp_path / "empty")
    merge(family, tmp_path / "deep" / "er" / "out")
    assert (tmp_path / "empty" / SINGLE).is_file()
    assert (tmp_path / "deep" / "er" / "out" / SINGLE).is_file()


def test_a_target_that_cannot_be_made_is_an_input_error(family, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot be created"):
        merge(family, tmp_path / "file" / "out")


def test_nan_in_an_expert_leaves_nothing_behind(family, tmp_path):
    base, _ = family
    tensors = {name: base.tensor(name).clone() for name in base.headers}
    tensors["model.norm.weight"][3] = float("nan")
    bad = tmp_path / "bad"
    bad.mkdir()
    safetensors.torch.save_file(tensors, bad / SINGLE)
    (bad / "config.json").write_bytes((base.folder / "config.json").read_bytes())
    (tmp_path / "outs").mkdir()
    with pytest.raises(InputError, match=r"expert lm \(.*bad\): model.norm.weight holds NaN or Inf"):
        merge((base, {"lm": Checkpoint(bad)}), tmp_path / "outs" / "out")
    assert list((tmp_path / "outs").iterdir()) == []


def test_a_misfit_is_found_before_anything_is_written(family, tmp_path):
    other = Checkpoint(save_llama(tmp_path / "other", hidden_size=16))
    with pytest.raises(InputError, match="another shape"):
        merge((family[0], {"lm": other}), tmp_path / "outs" / "out")
    assert not (tmp_path / "outs").exists()


def test_a_merge_looks_unfinished_until_it_is_finished_and_leaves_nothing_beside_it(family, tmp_path):
    seen = []
    merge(family, tmp_path / "out", progress=lambda _: seen.append(sorted(p.name for p in tmp_path.iterdir())))
    assert set(map(tuple, seen)) == {(".out.merging",)}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
