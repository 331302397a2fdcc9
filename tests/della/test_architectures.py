"""Folders of real architectures merge into folders that transformers opens, and every parameter is where it belongs."""

import pytest
import torch
from safetensors.torch import load_file

from della.checkpoint import Checkpoint
from della.methods import make_method
from della.output import merge_to_folder
from tests.della.architectures import ARCHITECTURES, OLD, open_model, save

TIED = {"llama_tied_with_biases", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "gpt2", "gemma3_with_images"}


@pytest.fixture(scope="module", params=[*ARCHITECTURES, *OLD])
def folders(request, tmp_path_factory):
    """A base and two experts of one architecture, weights unrelated: only sums matter here."""
    root = tmp_path_factory.mktemp(request.param)
    return request.param, {
        name: save(request.param, root / name, seed) for seed, name in enumerate(("base", "lm", "math"))
    }


def merged(folders, out, method, seed=None):
    base, lm, math = (Checkpoint(folders[name]) for name in ("base", "lm", "math"))
    merge_to_folder(base, {"lm": lm, "math": math}, method, seed, out)
    return load_file(out / "model.safetensors")


def test_an_average_opens_and_every_parameter_is_the_average(folders, tmp_path):
    """theta + (delta_lm + delta_math) / 2 in float32, to the bit as torch computes it; buffers are the base's."""
    name, paths = folders
    tensors = merged(paths, tmp_path / "out", make_method("average"))
    base, lm, math = (load_file(paths[model] / "model.safetensors") for model in ("base", "lm", "math"))
    copies = {"lm_head.weight"} if name == "gemma_with_the_copy" else set()
    assert set(tensors) == set(base) - copies
    buffers = set(OLD[name][1](base)) if name in OLD else set()
    for key, tensor in tensors.items():
        mean = base[key] + ((lm[key] - base[key]) + (math[key] - base[key])) / 2 if key not in buffers else base[key]
        assert tensor.dtype == base[key].dtype
        assert torch.equal(tensor, mean), key
    model, said = open_model(tmp_path / "out")
    assert not any(said.values()), said
    opened_base, _ = open_model(paths["base"])
    for (key, ours), (_, theirs) in zip(model.named_buffers(), opened_base.named_buffers(), strict=True):
        assert torch.equal(ours, theirs), key


def test_a_della_merge_opens_and_tied_weights_are_written_once(folders, tmp_path):
    name, paths = folders
    tensors = merged(paths, tmp_path / "out", make_method("della", drop_rate=0.5, epsilon=0.2), seed=1)
    model, said = open_model(tmp_path / "out")
    assert not any(said.values()), said
    embeddings, output = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    tied = name in TIED or OLD.get(name, ("",))[0] in TIED
    assert (embeddings.data_ptr() == output.data_ptr()) is tied
    assert any(key.endswith(("lm_head.weight", "embed_out.weight")) for key in tensors) is not tied
    stored = load_file(paths["base"] / "model.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values() if tensor.is_floating_point())
    changed = [key for key in tensors if not torch.equal(tensors[key], stored[key])]
    assert len(changed) >= len(tensors) - 3  # masks
