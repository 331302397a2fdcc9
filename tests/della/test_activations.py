"""Input activations: their file, what is checked of them, and merges that rank by them."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from della.activations import (
    ACTIVATIONS_VERSION,
    Activations,
    check_activations,
    key_of,
    read_activations,
    write_activations,
)
from della.checkpoint import Checkpoint, MemoryCheckpoint
from della.errors import InputError
from della.headers import Header
from della.merge import merge_tensors
from della.methods import make_method
from della.output import merge_to_folder
from tests.della.bitwise import make_activations
from tests.della.models import content_hash, philox_family, save_llama

FACTS = {
    "version": str(ACTIVATIONS_VERSION),
    "model": "a" * 64,
    "data": "b" * 64,
    "samples": "128",
    "max_tokens": "2048",
    "dtype": "stored",
}
WANDA = make_method("della", rank_by="wanda")


def held(**norms: list[float]) -> Activations:
    return Activations({name: np.array(values, np.float32) for name, values in norms.items()}, FACTS)


# The file


def test_a_file_gives_back_norms_facts_and_hashes(tmp_path):
    written = held(a=[1.0, 0.0, 2.5], b=[3.0])
    write_activations(tmp_path / "new" / "x.safetensors", written)
    read = read_activations(tmp_path / "new" / "x.safetensors")
    assert {name: values.tolist() for name, values in read.norms.items()} == {"a": [1.0, 0.0, 2.5], "b": [3.0]}
    assert read.facts == FACTS
    assert (read.sha256, read.key) == (written.sha256, key_of(FACTS))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x.safetensors"]


def test_the_hash_is_of_the_norms_and_the_key_of_what_decides_them():
    """Two names with the same bytes, cut elsewhere, differ; so does every fact."""
    assert held(a=[1.0, 2.0]).sha256 != held(a=[1.0], b=[2.0]).sha256
    assert held(a=[1.0], b=[2.0]).sha256 == held(b=[2.0], a=[1.0]).sha256
    keys = {key_of(FACTS | {name: "other"}) for name in FACTS}
    assert len(keys | {key_of(FACTS)}) == len(FACTS) + 1
    assert key_of(FACTS | {"tokens": "9"}) == key_of(FACTS)


@pytest.mark.parametrize(
    ("norms", "facts", "message"),
    [
        ({"a": np.ones(2, np.float32)}, {}, "holds no input activations, for it does not say version, model"),
        ({"a": np.ones(2, np.float32)}, FACTS | {"version": "0"}, "written as version 0"),
        ({"a": np.ones(2)}, FACTS, "a is float64 (2,) and no row of float32 norms"),
        ({"a": np.ones((1, 2), np.float32)}, FACTS, "a is float32 (1, 2) and no row"),
        ({"a": np.array([np.nan], np.float32)}, FACTS, "a holds NaN, Inf or a negative norm"),
        ({"a": np.array([-1.0], np.float32)}, FACTS, "a holds NaN, Inf or a negative norm"),
    ],
)
def test_a_file_that_is_something_else_is_one_line(tmp_path, norms, facts, message):
    save_file(norms, tmp_path / "x.safetensors", facts)
    with pytest.raises(InputError) as caught:
        read_activations(tmp_path / "x.safetensors")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_and_a_damaged_file_are_one_line(tmp_path):
    with pytest.raises(InputError, match="no such file of input activations"):
        read_activations(tmp_path / "nix")
    (tmp_path / "x").write_bytes(b"not safetensors")
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        read_activations(tmp_path / "x")


HEADERS = {"a": Header((4, 2), "float32"), "norm": Header((2,), "float32")}


@pytest.mark.parametrize(
    ("activations", "message"),
    [
        ({}, r"rank_by=wanda needs the input activations of expert lm: .* activations\.files\.lm=FILE"),
        ({"lm": held(x=[1.0])}, "of expert lm name no tensor of the base"),
        ({"lm": held(a=[1.0, 2.0, 3.0])}, r"have 3 features for a, which is \[4, 2\]"),
        ({"lm": held(norm=[1.0, 2.0])}, r"have 2 features for norm, which is \[2\]"),
    ],
)
def test_norms_that_do_not_fit_the_base_are_refused(activations, message):
    with pytest.raises(InputError, match=message):
        check_activations(activations, HEADERS, ["lm"])


def test_norms_of_tensors_that_the_base_lacks_are_no_matter():
    """A tied output layer is one."""
    check_activations({"lm": held(a=[1.0, 2.0], head=[1.0])}, HEADERS, ["lm"])


SHARDED = {"whole": {}, "parts": {"max_shard_size": "20KB"}}


# Merges


def test_a_merge_without_the_activations_that_it_needs_is_refused_before_anything_is_read():
    base, experts = philox_family()
    with pytest.raises(InputError, match="needs the input activations of expert code"):
        merge_tensors(base, experts, WANDA, 1)
    for options in ({"rank_by": "magnitude"}, {"rank_by": "wanda", "drop_rate": 0.0, "epsilon": 0.0}):
        assert list(merge_tensors(base, experts, make_method("della", **options), 1))


def test_norms_of_one_rank_as_magnitudes_do():
    base, experts = philox_family()
    shapes = {name: header.shape for name, header in base.headers.items() if len(header.shape) > 1}
    ones = Activations({name: np.ones(shape[-1], np.float32) for name, shape in shapes.items()})
    for name, options in (
        ("della", {}),
        ("della", {"rank_over": "tensor"}),
        ("ties", {}),
        ("ties", {"trim_over": "row"}),
    ):
        by_score, by_magnitude = (
            content_hash(
                merge_tensors(
                    base,
                    experts,
                    make_method(name, rank_by=by, **options),
                    1,
                    activations=dict.fromkeys(experts, ones),
                )
            )
            for by in ("wanda", "magnitude")
        )
        assert by_score == by_magnitude


def test_a_tensor_without_input_activations_is_ranked_by_magnitude():
    """Of the base's tensors norms, biases and embeddings have none."""
    base, experts = philox_family(["lm"])
    norms = Activations({"a.weight": np.arange(40, dtype=np.float32)})
    for name in ("della", "ties"):
        ours = {
            part.name: part.tensor
            for part in merge_tensors(base, experts, make_method(name, rank_by="wanda"), 1, activations={"lm": norms})
        }
        plain = {part.name: part.tensor for part in merge_tensors(base, experts, make_method(name), 1)}
        assert {key for key in ours if not torch.equal(ours[key], plain[key])} == {"a.weight"}


def test_a_cut_over_all_tensors_is_over_those_with_activations_and_the_others_have_their_own():
    """p = 0.5. Measured: 1, 2 with norms 10, 1 and 3, 4 with norms 1, 1: scores 10, 2, 3, 4 keep 10 and 4 of both.

    The vector 100, 200, 300, 400 would take all four places by its magnitudes; alone it keeps 300 and 400.
    """
    tensors = {
        "a": torch.tensor([[1.0, 2.0]]),
        "b": torch.tensor([[3.0, 4.0]]),
        "c": torch.tensor([100.0, 200.0, 300.0, 400.0]),
    }
    base = MemoryCheckpoint({name: torch.zeros_like(tensor) for name, tensor in tensors.items()})
    method = make_method("ties", rank_by="wanda", trim_over="global", drop_rate=0.5)
    activations = {"lm": held(a=[10.0, 1.0], b=[1.0, 1.0])}
    merged = merge_tensors(base, {"lm": MemoryCheckpoint(tensors)}, method, None, activations=activations)
    assert {part.name: part.tensor.tolist() for part in merged} == {
        "a": [[1.0, 0.0]],
        "b": [[0.0, 4.0]],
        "c": [0.0, 0.0, 300.0, 400.0],
    }


def test_a_merged_folder_says_what_it_ranked_by(tmp_path):
    base = Checkpoint(save_llama(tmp_path / "base"))
    experts = {"lm": Checkpoint(save_llama(tmp_path / "lm", 1))}
    norms = make_activations(base, experts)["lm"].norms
    activations = {"lm": Activations(norms, FACTS), "unused": held(a=[1.0])}
    merge_to_folder(base, experts, WANDA, 1, tmp_path / "out", activations=activations)
    facts = json.loads((tmp_path / "out" / "merge.json").read_text())
    assert facts["inputs"]["activations"] == {"lm": {"sha256": activations["lm"].sha256, **FACTS}}
    merge_to_folder(base, experts, make_method("della"), 1, tmp_path / "plain", activations=activations)
    assert "activations" not in json.loads((tmp_path / "plain" / "merge.json").read_text())["inputs"]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("della", {"rank_by": "wanda", "lambda_by": "adaptive"}),
        ("della", {"rank_by": "proportional", "rank_over": "tensor"}),
        ("ties", {"rank_by": "wanda", "trim_over": "global"}),
        ("ties", {"trim_over": "row"}),
    ],
)
def test_shards_of_inputs_and_outputs_change_nothing(tmp_path, name, options):
    base = Checkpoint(save_llama(tmp_path / "base"))
    whole, parts = ({"lm": Checkpoint(save_llama(tmp_path / f, 1, **how))} for f, how in SHARDED.items())
    activations = make_activations(base, whole)
    method = make_method(name, **options)
    for folder, experts, size in (("one", whole, 10**9), ("many", parts, 10_000)):
        out = tmp_path / folder
        merge_to_folder(base, experts, method, 1, out, activations=activations, max_shard_bytes=size)
    one, many = Checkpoint(tmp_path / "one"), Checkpoint(tmp_path / "many")
    assert len(one.files()) < len(many.files())
    assert all(torch.equal(one.tensor(tensor), many.tensor(tensor)) for tensor in one.headers)


def test_a_stopped_merge_is_not_taken_up_with_other_activations(tmp_path):
    """The name of an unfinished merge has the hash of the norms in it."""
    from della.merge import make_job
    from della.policy import Policy
    from della.resume import merge_key

    base, experts = philox_family(["lm"])
    keys = set()
    for norms in (np.ones(40, np.float32), np.arange(40, dtype=np.float32)):
        activations = {"lm": Activations({"a.weight": norms})}
        job = make_job(base, experts, [Policy(WANDA)], 1, None, "error", activations)
        keys.add(merge_key(job, Policy(WANDA), {}, []))
    assert len(keys) == 2
