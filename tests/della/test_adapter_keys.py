"""Names in a LoRA adapter's file: factors in pairs, the base's tensor for each, and which way round it is stored."""

import pytest
import safetensors.torch
import torch

from della.checkpoint import Checkpoint
from della.errors import InputError
from della.lora import Adapter, product
from tests.della.adapters import SAFETENSORS, base_of, edit_config, pair, peft_merged, save_gpt2, train, write
from tests.della.models import save_llama


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """Two layers; q_proj and o_proj are square, [32, 32]; embeddings tied."""
    return save_llama(tmp_path_factory.mktemp("base") / "llama")


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    return save_gpt2(tmp_path_factory.mktemp("base") / "gpt2")


def test_without_a_base_tensors_are_named_as_the_adapter_names_its_modules(tmp_path):
    adapter = Adapter(write(tmp_path, pair("layers.0.q") | {"norm.weight": torch.ones(3)}, base_model_name_or_path="b"))
    assert list(adapter.low_rank) == ["layers.0.q.weight"]
    assert list(adapter.headers) == ["norm.weight"]
    assert len(adapter.low_rank) == 1
    assert adapter.low_rank["layers.0.q.weight"].scaling == 2
    assert (adapter.settings.base, adapter.config) == ("b", {})
    assert adapter.in_memory() is adapter
    adapter.resolve(base_of("model.layers.0.q"))
    assert list(adapter.low_rank) == ["model.layers.0.q.weight"]


@pytest.mark.parametrize("prefix", ["model.", "language_model.model."])
def test_a_prefix_more_or_less_is_found(tmp_path, prefix):
    names = ["layers.0.q", "layers.1.q"]
    adapter = write(tmp_path / "a", {**pair("layers.0.q"), "layers.1.q.weight": torch.ones(4, 6)})
    adapter = Adapter(adapter, base_of(*(prefix + name for name in names), "other"))
    assert list(adapter.low_rank) == [f"{prefix}layers.0.q.weight"]
    assert list(adapter.headers) == [f"{prefix}layers.1.q.weight"]
    longer = write(tmp_path / "b", {key: value for name in names for key, value in pair(prefix + name).items()})
    assert list(Adapter(longer, base_of(*names)).low_rank) == [f"{name}.weight" for name in names]


def test_a_name_that_is_the_bases_stays_beside_a_changed_prefix(tmp_path):
    adapter = write(tmp_path, {**pair("transformer.h.0.q"), **pair("head")})
    assert list(Adapter(adapter, base_of("h.0.q", "head")).low_rank) == ["head.weight", "h.0.q.weight"]


def test_a_name_that_ends_two_of_the_bases_is_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"layers.0.q.weight may be any of text.layers.0.q.weight, vision.layers.0.q.w"
    ):
        Adapter(write(tmp_path, pair("layers.0.q")), base_of("text.layers.0.q", "vision.layers.0.q"))


def test_every_module_that_does_not_fit_is_named(tmp_path):
    tensors = {**pair("a"), **pair("b", columns=5), **pair("lm_head"), **pair("x.y")}
    with pytest.raises(InputError) as told:
        Adapter(write(tmp_path, tensors), base_of("a", "b"))
    assert str(told.value) == (
        f"{tmp_path}: the base has no weight for lm_head, x.y; b is of [4, 5] where the base has [4, 6]; name the base "
        "it was trained on, or merge it into its base with peft's merge_and_unload(), save_pretrained() that, and name "
        "the new folder"
    )


def test_a_tensor_held_in_full_that_the_base_lacks_keeps_its_name(tmp_path):
    adapter = Adapter(write(tmp_path, {**pair("a"), "score.modules_to_save.weight": torch.ones(2, 6)}), base_of("a"))
    assert list(adapter.headers) == ["score.weight"]


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_a_lora_of_a_convolution_is_refused_by_name(tmp_path, dimensions):
    tail = (3,) * dimensions
    tensors = {
        "conv.lora_A.weight": torch.ones(2, 6, *tail),
        "conv.lora_B.weight": torch.ones(4, 2, *(1,) * dimensions),
    }
    with pytest.raises(InputError, match="conv is a convolution, whose LoRA is not merged here"):
        Adapter(write(tmp_path, tensors))


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"a.lora_A.weight": torch.ones(2, 6)}, "a.lora_A.weight is there without lora_B.weight"),
        ({"a.lora_embedding_B": torch.ones(2, 6)}, "a.lora_embedding_B is there without lora_embedding_A"),
        (pair("a", rank=3), r"the factors of a are \[3, 6\] and \[4, 3\] where adapter_config.json says rank 2"),
        ({**pair("a"), "a.lora_A.weight": torch.ones(0)}, r"factors of a are \[0\] and \[4, 2\], parts of what was"),
        (
            {**pair("a"), "a.lora_B.weight": torch.ones(4, 2).int()},
            "a.lora_B.weight is int32; save the adapter in float32",
        ),
        ({**pair("a"), "a.lora_magnitude_vector": torch.ones(4)}, "holds a.lora_magnitude_vector, which is no plain"),
        ({**pair("a"), "e.token_adapter.trainable_tokens_delta": torch.ones(4)}, "which is no plain LoRA"),
        ({}, "holds no tensor"),
    ],
)
def test_files_that_contradict_themselves_are_refused(tmp_path, tensors, words):
    with pytest.raises(InputError, match=words):
        Adapter(write(tmp_path, tensors))


def test_embeddings_stored_beside_their_lora_must_be_the_bases(llama, tmp_path):
    """PEFT saves the base's embeddings with a LoRA of them. Rounded to bfloat16 they still are the base's."""
    train(llama, tmp_path, target_modules=["embed_tokens"])
    held = safetensors.torch.load_file(tmp_path / SAFETENSORS)
    key = "base_model.model.model.embed_tokens.base_layer.weight"
    base = Checkpoint(llama)
    assert torch.equal(held[key], base.tensor("model.embed_tokens.weight"))
    for dtype in (torch.bfloat16, torch.float16):
        safetensors.torch.save_file(held | {key: held[key].to(dtype)}, tmp_path / SAFETENSORS)
        assert Adapter(tmp_path, base).headers == {}
    held[key][3, 5] += 1
    safetensors.torch.save_file(held, tmp_path / SAFETENSORS)
    with pytest.raises(InputError, match=r"embed_tokens.base_layer.weight is not the base's model.embed_tokens.weight"):
        Adapter(tmp_path, base)


def test_embeddings_with_more_rows_are_held_in_full_or_refused_with_a_lora_of_them(llama, tmp_path):
    train(llama, tmp_path / "full", target_modules=["q_proj"], resize=50)
    adapter = Adapter(tmp_path / "full", Checkpoint(llama))
    assert adapter.headers["model.embed_tokens.weight"].shape == (50, 32)
    train(llama, tmp_path / "lora", target_modules=["embed_tokens"], resize=50)
    with pytest.raises(InputError, match=r"model.embed_tokens is of \[50, 32\] where the base has \[48, 32\]"):
        Adapter(tmp_path / "lora", Checkpoint(llama))


def test_a_square_product_goes_as_its_kind_when_the_flag_says_otherwise(gpt2, tmp_path):
    """attn.c_proj [16, 16] goes as mlp.c_proj, whose product [16, 64] is [64, 16] in the base: transposed."""
    train(gpt2, tmp_path, target_modules=["c_proj"])
    edit_config(tmp_path, fan_in_fan_out=False)
    base, name = Checkpoint(gpt2), "transformer.h.1.attn.c_proj.weight"
    factors = Adapter(tmp_path, base).low_rank[name]
    merged = base.tensor(name) + torch.from_numpy(product(factors, 0, 16))
    torch.testing.assert_close(merged, peft_merged(gpt2, tmp_path)[name], rtol=1e-5, atol=1e-5)


def test_a_square_product_that_may_be_either_way_is_refused(gpt2, tmp_path):
    train(gpt2, tmp_path, target_modules=["attn.c_proj", "c_fc"])
    edit_config(tmp_path, fan_in_fan_out=False)
    with pytest.raises(InputError, match=r"h.0.attn.c_proj is square, and whether it is transposed cannot be told; .*"):
        Adapter(tmp_path, Checkpoint(gpt2))
