"""Reading model folders: headers, shards, hashes, and files that are not what they should be."""

import json
import os
import shutil
import struct
import subprocess
import sys

import numpy as np
import pytest
import safetensors.torch
import torch

from della.checkpoint import INDEX, SINGLE, Checkpoint, Header, MemoryCheckpoint
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


def test_arrays_are_the_stored_bits_seen_through_a_map(folder):
    """1 in bfloat16 is 0x3f80: the first 16 bits of the float32 1."""
    model = Checkpoint(folder)
    assert model.array("a").dtype == np.float32
    assert model.array("a").tolist() == [[0, 1, 2], [3, 4, 5]]
    assert model.array("b").dtype == np.uint16
    assert model.array("b").tolist() == [0x3F80] * 4
    with pytest.raises(ValueError, match="read-only"):
        model.array("a")[0, 0] = 1
    assert np.shares_memory(model.array("a"), model.array("a"))
    model.tensor("a").zero_()
    assert model.array("a")[1, 2] == 5


@pytest.mark.parametrize(
    "dtype", ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]
)
def test_every_dtype_reads_the_same_as_an_array_and_as_a_tensor_from_disk_and_from_memory(tmp_path, dtype):
    tensors = {
        "w": torch.tensor([[0, 1], [0, 3]]).to(getattr(torch, dtype)),
        "scalar": torch.tensor(1).to(getattr(torch, dtype)),
        "empty": torch.empty(0, 3, dtype=getattr(torch, dtype)),
    }
    model = Checkpoint(save(tmp_path / "m", tensors))
    memory = MemoryCheckpoint(tensors)
    from_arrays = MemoryCheckpoint({name: model.array(name) for name in tensors})
    assert model.headers == memory.headers == from_arrays.headers
    for name, tensor in tensors.items():
        header = model.headers[name]
        assert (header.shape, header.dtype) == (tuple(tensor.shape), dtype)
        assert (header.numel, header.nbytes) == (tensor.numel(), tensor.nbytes)
        for reader in (model, memory, from_arrays):
            assert torch.equal(reader.tensor(name), tensor)
            assert reader.tensor(name).dtype == tensor.dtype
            assert np.array_equal(reader.array(name), model.array(name))
            assert reader.array(name).dtype == model.array(name).dtype


def test_memory_gives_contiguous_arrays_and_tensors_of_ones_own():
    held = torch.arange(6.0).view(2, 3).T.requires_grad_()
    model = MemoryCheckpoint({"w": held})
    assert model.array("w").flags.c_contiguous
    assert model.array("w").tolist() == held.tolist()
    assert not model.tensor("w").requires_grad
    model.tensor("w").zero_()
    assert model.array("w")[2, 1] == 5


@pytest.mark.parametrize("shift", range(8))
def test_data_that_does_not_lie_on_a_multiple_of_its_size_reads_the_same(tmp_path, shift):
    """A header padded by 0 to 7 spaces moves all data; older tools did not pad to a multiple of 8."""
    folder = save(tmp_path / "m", {"a": torch.zeros(1)})
    header = json.dumps({"a": {"dtype": "F64", "shape": [3], "data_offsets": [0, 24]}}).encode() + b" " * shift
    data = np.array([1.5, -2, 1e300])
    (folder / SINGLE).write_bytes(struct.pack("<Q", len(header)) + header + data.tobytes())
    assert Checkpoint(folder).array("a").tolist() == data.tolist()
    assert Checkpoint(folder).array("a").flags.aligned
    assert Checkpoint(folder).tensor("a").tolist() == data.tolist()


def test_reading_bits_does_not_import_torch(folder):
    code = f"import sys; from della.checkpoint import *; Checkpoint({str(folder)!r}).array('b'); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "della.checkpoint" in modules
    assert not {"torch", "transformers", "safetensors"} & set(modules)


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


def test_a_folder_without_weights_says_what_it_looked_for(folder):
    (folder / SINGLE).rename(folder / "model.gguf")
    with pytest.raises(InputError, match=r"neither model.safetensors nor .* nor pytorch_model.bin is there; check the"):
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


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "F4", "F6_E2M3", "U32", "C64", "I4"])
def test_quantised_weights_are_refused(folder, dtype):
    header = json.dumps({"a": {"dtype": dtype, "shape": [2], "data_offsets": [0, 2]}}).encode()
    (folder / SINGLE).write_bytes(struct.pack("<Q", len(header)) + header + bytes(2))
    with pytest.raises(InputError, match=f"a is {dtype}, which cannot be merged; save the model in bfloat16"):
        Checkpoint(folder)


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ([0, 8], [4, 12], "a and b overlap"),
        ([0, 8], [0, 8], "a and b overlap"),
        ([0, 8], [8, 12], r"b is \[2\] in float32, 8 bytes, where the header gives it bytes 8 to 12"),
        ([8, 0], [8, 16], r"a is \[2\] in float32, 8 bytes, where the header gives it bytes 8 to 0"),
        ([0, 8], [8, 17], "cut short"),
        ([-8, 0], [8, 16], "not that of a safetensors file"),
        ([0, 8, 9], [8, 16], "not that of a safetensors file"),
        ([0, 8.0], [8, 16], "not that of a safetensors file"),
        ([0, True], [8, 16], "not that of a safetensors file"),
    ],
)
def test_byte_ranges_that_cannot_be_are_refused(folder, first, second, words):
    """Two tensors of two float32 each, 16 bytes of data: [0, 8] and [8, 16] would be right."""
    entries = {"a": {"dtype": "F32", "shape": [2], "data_offsets": first}}
    entries["b"] = {"dtype": "F32", "shape": [2], "data_offsets": second}
    header = json.dumps(entries).encode()
    end = 17 if second[1] == 17 else max(first[1], second[1])
    (folder / SINGLE).write_bytes(struct.pack("<Q", len(header)) + header + bytes(int(end) - (end == 17)))
    with pytest.raises(InputError, match=f"model.safetensors: .*{words}"):
        Checkpoint(folder)


def test_a_shape_too_large_for_any_file_is_refused(folder):
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 8]}}).encode()
    (folder / SINGLE).write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    with pytest.raises(InputError, match="where the header gives it bytes 0 to 8"):
        Checkpoint(folder)


def test_a_git_lfs_pointer_is_told_from_weights(folder):
    (folder / SINGLE).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(InputError, match=r"a pointer of Git LFS, not the weights; run git lfs pull in its folder"):
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
