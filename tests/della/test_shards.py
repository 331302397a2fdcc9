"""Planned files are those that safetensors itself writes, and tensors can be put into them at their places."""

import os

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch

from della.checkpoint import INDEX, Checkpoint, MemoryCheckpoint
from della.folder import write_weights
from della.headers import Header
from della.shards import build_index, plan_shards

DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")


@pytest.fixture
def model():
    """Every dtype twice, names out of order and with what JSON escapes, a scalar, an empty tensor and odd lengths."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for number, dtype in enumerate(DTYPES):
        for name in (f"z.{number}", f"a.{number}"):
            shape = (number + 1, 3) if name[0] == "z" else (2 * number + 1,)
            tensors[name] = torch.randint(0, 2, shape, generator=generator).to(getattr(torch, dtype))
    tensors |= {"scalar": torch.tensor(1.5), "empty": torch.zeros(0, 4), 'ä"\\\n\x01\x7f/': torch.ones(3)}
    return MemoryCheckpoint(tensors)


def official(model, path):
    safetensors.torch.save_file({name: model.tensor(name) for name in model.headers}, path, metadata={"format": "pt"})
    return path.read_bytes()


def test_a_file_written_at_its_planned_places_is_the_one_that_safetensors_writes(model, tmp_path):
    """Tensors are put in backwards, so that each place has to be right by itself."""
    (shard,) = plan_shards(model.headers, 10**9)
    path = tmp_path / shard.file
    with open(path, "wb") as stream:
        for name in reversed(shard.headers):
            os.pwrite(stream.fileno(), model.array(name).tobytes(), shard.start[name])
        os.pwrite(stream.fileno(), shard.prefix, 0)
    assert path.name == "model.safetensors"
    assert path.stat().st_size == shard.size
    assert path.read_bytes() == official(model, tmp_path / "official")
    with safetensors.safe_open(path, framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert all(torch.equal(file.get_tensor(name), model.tensor(name)) for name in model.headers)


def test_every_tensor_lies_on_a_multiple_of_its_element_size(model):
    (shard,) = plan_shards(model.headers, 10**9)
    assert len(shard.prefix) % 8 == 0
    for name in shard.headers:
        assert shard.start[name] % model.array(name).itemsize == 0, name


def test_a_model_without_tensors_is_a_file_too(tmp_path):
    (shard,) = plan_shards({}, 100)
    assert (shard.file, shard.size) == ("model.safetensors", len(shard.prefix))
    assert shard.prefix == official(MemoryCheckpoint({}), tmp_path / "official")


def test_a_file_is_full_when_the_next_tensor_would_exceed_the_limit():
    """Of 40, 60, 1, 200 and 5 bytes with a limit of 100: 40 + 60 = 100 still fit, 1 no more; 1 + 200 do not, 200 alone
    exceeds the limit and stands alone. Within a file, larger elements come first: float32 c before int8 d."""
    sizes = {"a": 40, "b": 60, "x": 1, "huge": 200, "d": 5}
    headers = {name: Header((size,), "int8") for name, size in sizes.items()} | {"c": Header((2,), "float32")}
    shards = plan_shards(headers, 100)
    assert [list(shard.headers) for shard in shards] == [["a", "b"], ["x"], ["huge"], ["c", "d"]]
    assert [shard.file for shard in shards] == [f"model-0000{i}-of-00004.safetensors" for i in (1, 2, 3, 4)]
    assert [shard.size - len(shard.prefix) for shard in shards] == [100, 1, 200, 13]
    index = build_index(shards)
    assert index["metadata"] == {"total_size": 314}
    assert index["weight_map"]["huge"] == "model-00003-of-00004.safetensors"
    assert index["weight_map"].keys() == headers.keys()


def test_weights_written_in_shards_are_read_back(model, tmp_path):
    write_weights(tmp_path, model, max_shard_bytes=100)
    (tmp_path / "config.json").write_text("{}")
    assert (tmp_path / INDEX).is_file()
    read = Checkpoint(tmp_path)
    assert read.headers == model.headers
    assert all(np.array_equal(read.array(name), model.array(name)) for name in model.headers)


def test_weights_in_one_file_are_what_safetensors_writes(model, tmp_path):
    write_weights(tmp_path, model)
    assert (tmp_path / "model.safetensors").read_bytes() == official(model, tmp_path / "official")
