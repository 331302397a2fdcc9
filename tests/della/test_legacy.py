"""Weights in pytorch_model.bin: mapped, in shards, tied, old, and those that would run code."""

import json
import os
import pickle
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch

from della.checkpoint import INDEX, LEGACY, LEGACY_INDEX, SINGLE, Checkpoint, Header
from della.errors import InputError
from della.legacy import LegacyFile
from tests.della.models import save_llama

TENSORS = {
    "a": torch.arange(6.0).view(2, 3),
    "b": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "ids": torch.tensor(3),
    "none": torch.ones(0, 4, dtype=torch.float16),
}


def save(folder, content, file=LEGACY, **options):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text("{}")
    torch.save(content, folder / file, **options)
    return folder


def same(model, tensors):
    assert set(model.headers) == set(tensors)
    for name, tensor in tensors.items():
        assert torch.equal(model.tensor(name), tensor)
        assert model.tensor(name).dtype == tensor.dtype


@pytest.mark.parametrize("zipped", [True, False])
def test_new_and_old_files_give_headers_bits_and_tensors(tmp_path, zipped):
    """1.5 in bfloat16 is 0x3fc0 and -2 is 0xc000: the first 16 bits of the float32 numbers."""
    model = Checkpoint(save(tmp_path / "m", TENSORS, _use_new_zipfile_serialization=zipped))
    assert model.headers["a"] == Header((2, 3), "float32")
    assert model.headers["b"] == Header((2,), "bfloat16")
    assert model.headers["ids"] == Header((), "int64")
    assert model.array("b").tolist() == [0x3FC0, 0xC000]
    assert model.array("none").shape == (0, 4)
    same(model, TENSORS)


def test_a_tensor_may_be_changed_and_an_array_may_not(tmp_path):
    model = Checkpoint(save(tmp_path / "m", TENSORS))
    model.tensor("a").zero_()
    assert model.array("a").tolist() == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(ValueError, match="read-only"):
        model.array("a")[0, 0] = 1


def private_bytes():
    """Memory that belongs to this process alone and is no file's: what mapping must not cost."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon"))


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")
def test_a_mapped_file_takes_no_memory_of_ones_own(tmp_path):
    """64 MB in the file; a reader that copied them would need as much."""
    folder = save(tmp_path / "m", {"w": torch.ones(4000, 4000)})
    before = private_bytes()
    model = Checkpoint(folder)
    assert model.array("w").sum(dtype=np.float64) == 16e6
    assert private_bytes() - before < 16e6


def test_tied_weights_are_there_under_both_names(tmp_path):
    weight = torch.arange(6.0).view(2, 3)
    same(Checkpoint(save(tmp_path / "m", {"embed": weight, "head": weight})), {"embed": weight, "head": weight})


def test_slices_transposes_and_expanded_tensors_read_as_what_they_show(tmp_path):
    weight = torch.arange(12.0).view(3, 4)
    tensors = {"t": weight.T, "s": weight[1:, ::2], "x": torch.ones(1).expand(2, 2), "b": weight[:, 1].bfloat16()}
    model = Checkpoint(save(tmp_path / "m", tensors))
    same(model, tensors)
    assert model.array("t").flags.c_contiguous
    assert model.array("s").tolist() == [[4, 6], [8, 10]]


def test_parameters_of_a_module_are_tensors(tmp_path):
    module = torch.nn.Linear(2, 3)
    model = Checkpoint(save(tmp_path / "m", dict(module.named_parameters())))
    assert torch.equal(model.tensor("weight"), module.weight)
    assert not model.tensor("weight").requires_grad


def test_shards_with_an_index_read_as_one(tmp_path):
    files = {"pytorch_model-00001-of-00002.bin": ["a", "ids"], "pytorch_model-00002-of-00002.bin": ["b", "none"]}
    for file, names in files.items():
        folder = save(tmp_path / "m", {name: TENSORS[name] for name in names}, file)
    weight_map = {name: file for file, names in files.items() for name in names}
    (folder / LEGACY_INDEX).write_text(json.dumps({"weight_map": weight_map}))
    model = Checkpoint(folder)
    same(model, TENSORS)
    assert model.files() == sorted(["config.json", LEGACY_INDEX, *files])
    (folder / LEGACY_INDEX).write_text(
        json.dumps({"weight_map": weight_map | {"c": "pytorch_model-00001-of-00002.bin"}})
    )
    with pytest.raises(InputError, match=r"pytorch_model.bin.index.json: c is not in pytorch_model-00001-of-00002.bin"):
        Checkpoint(folder)


def test_safetensors_come_before_pickles(tmp_path):
    folder = save(tmp_path / "m", {"a": torch.zeros(1)})
    (folder / LEGACY_INDEX).write_text(json.dumps({"weight_map": {"a": LEGACY}}))
    safetensors.torch.save_file({"a": torch.ones(1)}, folder / SINGLE)
    assert Checkpoint(folder).tensor("a").tolist() == [1]
    assert Checkpoint(folder).files() == ["config.json", SINGLE]
    safetensors.torch.save_file({"a": torch.full((1,), 2.0)}, folder / "x.safetensors")
    (folder / INDEX).write_text(json.dumps({"weight_map": {"a": "x.safetensors"}}))
    assert Checkpoint(folder).tensor("a").tolist() == [2]


def test_the_hash_is_of_the_weights_too(tmp_path):
    one, other = (save(tmp_path / name, {"a": torch.full((2,), float(name))}) for name in ("1", "2"))
    assert Checkpoint(one).files() == ["config.json", LEGACY]
    assert Checkpoint(one).sha256() != Checkpoint(other).sha256()


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, zipped):
    content = {"a": torch.ones(1), "b": Trap(tmp_path / "sprung")}
    folder = save(tmp_path / "m", content, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=r"asks for (posix|nt).mkdir, so that reading it could run code; save") as told:
        Checkpoint(folder)
    assert "\n" not in str(told.value)
    assert not (tmp_path / "sprung").exists()


def test_a_bare_pickle_is_refused(tmp_path):
    folder = save(tmp_path / "m", {})
    (folder / LEGACY).write_bytes(pickle.dumps({"b": Trap(tmp_path / "sprung")}))
    with pytest.raises(InputError, match=r"pytorch_model.bin: .*; (save it again|download it)"):
        Checkpoint(folder)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([torch.ones(1)], "holds a list, not a dict of tensors by name"),
        ({1: torch.ones(1)}, "holds a dict, not a dict of tensors by name"),
        ({"state_dict": {"a": torch.ones(1)}}, "state_dict is a dict, not a tensor"),
        ({"a": torch.eye(2).to_sparse()}, "a is sparse, quantised or without data, and cannot be merged"),
        ({"a": torch.ones(2, device="meta")}, "a is sparse, quantised or without data, and cannot be merged"),
        ({"a": torch.ones(2).to(torch.float8_e4m3fn)}, "a is float8_e4m3fn, which cannot be merged"),
        ({"a": torch.ones(2, dtype=torch.complex64)}, "a is complex64, which cannot be merged"),
    ],
)
def test_what_is_no_dict_of_plain_tensors_is_named(tmp_path, content, words):
    with pytest.raises(InputError, match=words):
        Checkpoint(save(tmp_path / "m", content))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("part", [0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_found_when_the_folder_is_opened(tmp_path, zipped, part):
    folder = save(tmp_path / "m", TENSORS, _use_new_zipfile_serialization=zipped)
    whole = (folder / LEGACY).read_bytes()
    (folder / LEGACY).write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(InputError, match=r"pytorch_model.bin: .*"):
        Checkpoint(folder)


def test_a_zip_that_torch_did_not_write_is_refused(tmp_path):
    folder = save(tmp_path / "m", {})
    with zipfile.ZipFile(folder / LEGACY, "w") as archive:
        archive.writestr("a.txt", "hello")
    with pytest.raises(InputError, match=r"cannot be read as a file of torch.save; download it again"):
        Checkpoint(folder)


def test_a_git_lfs_pointer_is_told_from_weights(tmp_path):
    folder = save(tmp_path / "m", {})
    (folder / LEGACY).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(InputError, match=r"a pointer of Git LFS, not the weights; run git lfs pull in its folder"):
        Checkpoint(folder)


def test_a_missing_shard_is_named(tmp_path):
    with pytest.raises(InputError, match=r"pytorch_model.bin: no such file"):
        LegacyFile(tmp_path / LEGACY)


def test_a_transformers_model_reads_the_same_from_both_formats(tmp_path):
    """A tied Llama: its state dict names the output layer, which safetensors leave out."""
    from transformers import LlamaForCausalLM

    folder = save_llama(tmp_path / "safetensors")
    state = LlamaForCausalLM.from_pretrained(folder).state_dict()
    modern, legacy = Checkpoint(folder), Checkpoint(save(tmp_path / "legacy", state))
    assert set(legacy.headers) - set(modern.headers) == {"lm_head.weight"}
    for name in modern.headers:
        assert torch.equal(modern.tensor(name), legacy.tensor(name))
