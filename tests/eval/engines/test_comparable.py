"""Which weights an engine can be asked for in the checkpoint's own names: architectures, dtypes, and a refusal."""

import pytest
import torch
from safetensors.torch import load_file
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from eval.engines import open_engine
from eval.errors import InputError
from tests.eval.engines.models import make_model, make_tokenizer

KEYS = "model.layers.1.self_attn.k_proj.weight"
FAMILIES = {
    "llama": {"num_key_value_heads": 1, "tie_word_embeddings": False},
    "qwen2": {"num_key_value_heads": 1},
    "mistral": {"num_key_value_heads": 1, "sliding_window": None, "head_dim": 32},
    "qwen3": {"num_key_value_heads": 2, "head_dim": 32},
    "gemma2": {"num_key_value_heads": 1, "head_dim": 32, "query_pre_attn_scalar": 32},
    "phi3": {"num_key_value_heads": 1, "sliding_window": None},
}
QUICK = ("llama", "qwen2")


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.full) for name in FAMILIES]
)
def test_the_weights_of_other_architectures_are_told_by_their_own_names(engine_name, family, tmp_path):
    """Shared heads of keys and values, biases, norms of q and k, an output layer of its own, fused checkpoints."""
    tokenizer = make_tokenizer()
    config = CONFIG_MAPPING[family](
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=256,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        **FAMILIES[family],
    )
    for seed, name in enumerate(("one", "two")):
        torch.manual_seed(seed)
        AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
    given = load_file(tmp_path / "two" / "model.safetensors")
    given = {name: tensor + 0.01 for name, tensor in given.items()}  # biases are drawn as zeros
    engine = open_engine(engine_name, tmp_path / "one", dtype="float32")
    try:
        assert engine.swap(given) is not None
    finally:
        engine.close()


def test_an_architecture_that_an_engine_holds_otherwise_is_refused_before_the_first_swap(
    engine_name, pico, monkeypatch
):
    """Here: an engine that tells the rows of one matrix in another order."""
    engine = open_engine(engine_name, pico, dtype="float32")
    held = engine.held

    def turned(mode):
        return [{**piece, "sha256": "0" * 64} if piece["name"] == KEYS else piece for piece in held(mode)]

    monkeypatch.setattr(engine, "held", turned)
    monkeypatch.setattr(engine, "load", lambda weights: pytest.fail("loaded"))
    with pytest.raises(InputError, match=r"weights of this architecture cannot be compared in engine=.*checksum=none"):
        engine.swap(load_file(pico / "model.safetensors"))
    engine.close()


def test_weights_are_compared_in_the_dtype_of_the_engine(engine_name, tmp_path):
    """A merge in float32 in an engine of bfloat16: both are rounded alike."""
    folder = make_model(tmp_path / "model", seed=5, tied=False)
    given = load_file(make_model(tmp_path / "other", seed=6, tied=False) / "model.safetensors")
    engine = open_engine(engine_name, folder, dtype="bfloat16")
    try:
        assert engine.swap(given) is not None
    finally:
        engine.close()
