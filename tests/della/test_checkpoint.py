"""Reading model folders: headers, shards, hashes, and files that are not what they should be."""

import json
import os
import shutil
import struct

import pytest
import safetensors.torch
import torch

from della.checkpoint import INDEX, SINGLE, Checkpoint, Header
from della.errors import InputError


def save(folder, tensors, config=None):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config or {"model_type": "llama"}))
    safetensors.torch.save_file(tensors, folder / SINGLE, metadata={"format": "pt"})
    return folder


@pytest.fixture
def folder(tmp_path):
    return save(tmp_path / "m", {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(4, dtype=torch.bfloat16)})


def shard(folder, files):
    """Split model.safetensors into the files given: file -> tensor names."""
    whole = safetensors.torch.load_file(folder / SINGLE)
    (folder / SINGLE).unlink()
    for file, names in files.items():
        safetensors.torch.save_file({name: whole[name] for name in names}, folder / file)
    weight_map = {name: file for file, names in files.items() for name in names}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def test_headers_tell_shape_and_dtype(folder):
    model = Checkpoint(folder)
    assert model.headers == {"a": Header((2, 3), "float32"), "b": Header((4,), "bfloat16")}
    assert model.config == {"model_type": "llama"}


def test_tensors_are_read_as_stored_and_can_be_held_in_memory(folder):
    model = Checkpoint(folder)
    for reader in (model, model.in_memory()):
        assert torch.equal(reader.tensor("a"), torch.arange(6.0).view(2, 3))
        assert reader.tensor("b").dtype == torch.bfloat16
        assert reader.headers == model.headers


def test_shards_read_as_one_file(folder):
    one = Checkpoint(folder).headers
    shard(folder, {"model-00001-of-00002.safetensors": ["b"], "model-00002-of-00002.safetensors": ["a"]})
    sharded = Checkpoint(folder)
    assert sharded.headers == one
    assert torch.equal(sharded.tensor("a"), torch.arange(6.0).view(2, 3))


def test_the_hash_is_of_contents_not_of_the_place(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert Checkpoint(folder).sha256() == Checkpoint(copy).sha256()
    (copy / "notes.txt").write_text("not part of the model")
    assert Checkpoint(folder).sha256() == Checkpoint(copy).sha256()
    (copy / "tokenizer.json").write_text("{}")
    assert Checkpoint(folder).sha256() != Checkpoint(copy).sha256()


def test_the_hash_follows_a_changed_file(folder):
    before = Checkpoint(folder).sha256()
    save(folder, {"a": torch.zeros(2, 3), "b": torch.ones(4, dtype=torch.bfloat16)})
    os.utime(folder / SINGLE, ns=(1, 1))
    assert Checkpoint(folder).sha256() != before


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere: no such folder; write the path"):
        Checkpoint(tmp_path / "nowhere")


def test_a_folder_without_a_config_is_named(folder):
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match=r"config.json: no such file"):
        Checkpoint(folder)


def test_a_folder_without_safetensors_says_how_to_make_them(folder):
    (folder / SINGLE).rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="save it again with transformers' save_pretrained"):
        Checkpoint(folder)


@pytest.mark.parametrize("bytes_left", [0, 4, 50, -1])
def test_a_truncated_file_is_found_before_a_tensor_is_read(folder, bytes_left):
    content = (folder / SINGLE).read_bytes()
    (folder / SINGLE).write_bytes(content[:bytes_left])
    with pytest.raises(InputError, match=r"model.safetensors: .*cut short.*; download it again"):
        Checkpoint(folder)


@pytest.mark.parametrize("header", [b"not json at all", b"[1, 2]", b'{"a": 1}', b'{"a": {"dtype": "F32"}}'])
def test_a_file_that_is_not_safetensors_is_named(folder, header):
    (folder / SINGLE).write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(InputError, match="its header is not that of a safetensors file"):
        Checkpoint(folder)


def test_a_header_that_lies_about_a_shape_is_an_input_error(folder):
    header = json.dumps({"a": {"dtype": "F32", "shape": [5], "data_offsets": [0, 8]}}).encode()
    (folder / SINGLE).write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    with pytest.raises(InputError, match=r"a is \[5\] in float32, 20 bytes, where the header gives it bytes 0 to 8"):
        Checkpoint(folder)


def test_quantised_weights_are_refused(folder):
    header = json.dumps({"a": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}).encode()
    (folder / SINGLE).write_bytes(struct.pack("<Q", len(header)) + header + bytes(2))
    with pytest.raises(InputError, match="a is F8_E4M3, which cannot be merged; save the model in bfloat16"):
        Checkpoint(folder)


def test_a_missing_shard_and_a_wrong_index_are_named(folder):
    shard(folder, {"x.safetensors": ["a"], "y.safetensors": ["b"]})
    index = json.loads((folder / INDEX).read_text())
    (folder / "y.safetensors").rename(folder / "z.safetensors")
    with pytest.raises(InputError, match=r"y.safetensors: no such file"):
        Checkpoint(folder)
    (folder / "z.safetensors").rename(folder / "y.safetensors")
    index["weight_map"]["c"] = "y.safetensors"
    (folder / INDEX).write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"c is not in y.safetensors"):
        Checkpoint(folder)
    index["weight_map"] = {"a": "../m/x.safetensors"}
    (folder / INDEX).write_text(json.dumps(index))
    with pytest.raises(InputError, match="has no weight_map of file names"):
        Checkpoint(folder)
