"""LoRA adapters as experts: base + delta is what PEFT merges, and the product has one order of operations."""

import subprocess
import sys

import numpy as np
import pytest
import safetensors.torch
import torch

from della.checkpoint import ADAPTER, Checkpoint
from della.errors import InputError
from della.lora import Adapter, LowRank, open_expert, product, product_torch
from tests.della.adapters import BIN, SAFETENSORS, pair, peft_merged, save_gpt2, train, write
from tests.della.models import save_llama

QUERY = "model.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """Two layers; q_proj and o_proj are square, [32, 32]; embeddings tied."""
    return save_llama(tmp_path_factory.mktemp("base") / "llama")


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    return save_gpt2(tmp_path_factory.mktemp("base") / "gpt2")


def applied(base, adapter):
    """Base + delta, tensor by tensor, in float32."""
    for name in base.headers:
        tensor = base.tensor(name)
        if name in adapter.low_rank:
            factors = adapter.low_rank[name]
            tensor = tensor + torch.from_numpy(product(factors, 0, factors.shape[0]))
        yield name, adapter.tensor(name) if name in adapter.headers else tensor


def check_merged(folder, adapter_folder):
    base, merged = Checkpoint(folder), peft_merged(folder, adapter_folder)
    adapter = Adapter(adapter_folder, base)
    assert set(adapter.low_rank) | set(adapter.headers) <= set(base.headers)
    changed = 0
    for name, tensor in applied(base, adapter):
        torch.testing.assert_close(tensor, merged[name], rtol=1e-5, atol=1e-5)
        changed += not torch.equal(merged[name], base.tensor(name))
    assert changed == len(adapter.low_rank) + len(adapter.headers) > 0
    return adapter


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"use_rslora": True},
        {"target_modules": ["q_proj", "down_proj"], "r": 7},
        {"target_modules": "all-linear", "rank_pattern": {"q_proj": 2, "layers.1.mlp.up_proj": 6}},
        {"target_modules": "all-linear", "alpha_pattern": {"^model.layers.0.self_attn.k_proj": 32, ".*_proj": 9}},
        {"target_modules": "all-linear", "rank_pattern": {r"layers\.\d+\.mlp\..*": 4}, "use_rslora": True},
        {"target_modules": ["q_proj", "o_proj"], "layers_to_transform": [1]},
        {"target_modules": ["q_proj"], "modules_to_save": ["norm"]},
        {"target_modules": ["v_proj"], "modules_to_save": ["embed_tokens", "layers.0.mlp.gate_proj"]},
        {"target_modules": ["embed_tokens"]},
        {"target_modules": ["embed_tokens", "q_proj"], "r": 5, "use_rslora": True},
        {"target_modules": ["q_proj"], "init_lora_weights": "gaussian"},
    ],
)
def test_base_plus_delta_is_what_peft_merges(llama, tmp_path, settings):
    settings = {"target_modules": ["q_proj", "v_proj"]} | settings
    check_merged(llama, train(llama, tmp_path, **settings))


@pytest.mark.parametrize("flag", [True, False])
@pytest.mark.parametrize(
    "targets",
    [["c_attn"], ["c_attn", "c_proj", "c_fc"], ["attn.c_proj"], ["attn.c_proj", "c_fc"], ["wte", "attn.c_proj"]],
)
def test_weights_stored_as_in_by_out_are_told_by_shape_or_by_flag(gpt2, tmp_path, targets, flag):
    """PEFT writes the right flag into adapter_config.json whatever it is given, as all targets are Conv1D."""
    check_merged(gpt2, train(gpt2, tmp_path, target_modules=targets, fan_in_fan_out=flag))


@pytest.mark.parametrize("bias", ["all", "lora_only"])
def test_trained_biases_are_held_in_full(gpt2, tmp_path, bias):
    adapter = check_merged(gpt2, train(gpt2, tmp_path, target_modules=["c_attn"], fan_in_fan_out=True, bias=bias))
    assert adapter.headers["transformer.h.0.attn.c_attn.bias"].shape == (48,)


def test_an_adapter_in_a_pickle_is_read_without_running_code(llama, tmp_path):
    adapter = check_merged(llama, train(llama, tmp_path, target_modules=["q_proj"], pickled=True))
    assert adapter.files() == [ADAPTER, BIN]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_factors_in_half_precision_are_widened_exactly(llama, tmp_path, dtype):
    train(llama, tmp_path, target_modules=["q_proj"])
    held = safetensors.torch.load_file(tmp_path / SAFETENSORS)
    held = {key: tensor.to(dtype) for key, tensor in held.items()}
    safetensors.torch.save_file(held, tmp_path / SAFETENSORS)
    factors = Adapter(tmp_path, Checkpoint(llama)).low_rank[f"{QUERY}.weight"]
    assert factors.left.dtype == factors.right.dtype == np.float32
    assert np.array_equal(factors.left, held[f"base_model.model.{QUERY}.lora_B.weight"].float().numpy())
    assert np.array_equal(factors.right, held[f"base_model.model.{QUERY}.lora_A.weight"].float().numpy())


def test_the_product_adds_rank_by_rank_and_rounds_each_step():
    """In float32, (1e8 + 1) - 1e8 is 0 where the exact sum is 1: 1e8 + 1 rounds to 1e8. In the other order it is 1.

    Row 0 adds 1e8, 1, -1e8 in this order: 0. Row 1 adds 1e8, -1e8, 1: 1. Both times the scaling, 0.5.
    """
    left = np.array([[1e8, 1, -1e8], [1e8, -1e8, 1]], np.float32)
    factors = LowRank(left, np.ones((3, 2), np.float32), 0.5)
    assert factors.shape == (2, 2)
    assert product(factors, 0, 2).tolist() == [[0, 0], [0.5, 0.5]]
    assert product(factors, 1, 2).tolist() == [[0.5, 0.5]]
    assert product(factors, 1, 1).shape == (0, 2)


def test_product_and_sum_are_rounded_one_by_one():
    """x = 1 + 2**-12 has x * x = 1 + 2**-11 + 2**-24, which rounds to 1 + 2**-11 in float32 (24 bits); less that, 0.

    A fused multiply-add would leave 2**-24.
    """
    x = 1 + 2**-12
    factors = LowRank(np.array([[1 + 2**-11, x]], np.float32), np.array([[-1], [x]], np.float32), 1.0)
    assert product(factors, 0, 1).tolist() == [[0]]
    assert product_torch(factors, 0, 1).tolist() == [[0]]


@pytest.mark.parametrize("scaling", [1.0, 0.1, 2 / 3])
@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 3, 8), (64, 16, 33)])
def test_numpy_and_torch_agree_bit_for_bit_and_blocks_make_the_whole(shape, scaling):
    rows, rank, columns = shape
    random = np.random.default_rng(0)
    left = random.standard_normal((rows, rank), np.float32)
    factors = LowRank(left, random.standard_normal((rank, columns), np.float32), scaling)
    whole = product(factors, 0, rows)
    assert whole.dtype == np.float32
    assert np.array_equal(whole, product_torch(factors, 0, rows).numpy())
    blocks = [product(factors, row, min(rows, row + 3)) for row in range(0, rows, 3)]
    assert np.array_equal(np.concatenate(blocks), whole)
    exact = scaling * left.astype(np.float64) @ factors.right
    np.testing.assert_allclose(whole, exact, rtol=1e-5, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_product_is_the_same_on_a_gpu():
    random = np.random.default_rng(0)
    factors = LowRank(
        random.standard_normal((300, 16), np.float32), random.standard_normal((16, 70), np.float32), 1 / 3
    )
    assert np.array_equal(product(factors, 0, 300), product_torch(factors, 0, 300, "cuda").cpu().numpy())


def test_what_a_folder_holds_decides_what_is_opened(llama, tmp_path):
    folder = write(tmp_path / "a", pair(QUERY, 32, 32))
    assert isinstance(open_expert(llama), Checkpoint)
    assert isinstance(open_expert(folder), Adapter)
    assert list(open_expert(folder, Checkpoint(llama)).low_rank) == [f"{QUERY}.weight"]
    with pytest.raises(InputError, match=r"holds an adapter, not a model; name it as an expert, and its base as the b"):
        Checkpoint(folder)
    (folder / "model.safetensors").write_bytes((llama / "model.safetensors").read_bytes())
    with pytest.raises(InputError, match=r"holds a model \(model.safetensors\) and an adapter \(adapter_model.safeten"):
        open_expert(folder)
    (folder / "model.safetensors").unlink()
    (folder / SAFETENSORS).unlink()
    with pytest.raises(InputError, match=r"neither adapter_model.safetensors nor adapter_model.bin is there"):
        open_expert(folder)
    with pytest.raises(InputError, match=r"nowhere: no such folder"):
        open_expert(tmp_path / "nowhere")


def test_the_product_does_not_import_torch(llama, tmp_path):
    train(llama, tmp_path, target_modules=["embed_tokens", "q_proj"])
    code = f"""
import sys
from della.checkpoint import Checkpoint
from della.lora import open_expert, product
adapter = open_expert({str(tmp_path)!r}, Checkpoint({str(llama)!r}))
for factors in adapter.low_rank.values():
    product(factors, 0, 2)
print(*sys.modules)"""
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "transformers", "peft"} & set(modules)


def test_the_hash_is_of_settings_and_weights(tmp_path):
    one, same = (Adapter(write(tmp_path / name, pair("a"))) for name in "ab")
    assert one.files() == [ADAPTER, SAFETENSORS]
    assert one.sha256() == same.sha256()
    assert Adapter(write(tmp_path / "b", pair("a"), lora_alpha=5)).sha256() != one.sha256()
