"""Settings of adapters: ranks and scalings as PEFT reads them; what is no plain LoRA is refused by name."""

import warnings

import pytest
import torch
from peft import IA3Config, LoHaConfig, PromptTuningConfig, VeraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from della.errors import InputError
from della.lora import Adapter
from tests.della.adapters import pair, train, write
from tests.della.models import save_llama


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """Two layers; q_proj and o_proj are square, [32, 32]; embeddings tied."""
    return save_llama(tmp_path_factory.mktemp("base") / "llama")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"use_dora": True}, "use_dora is set (DoRA"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights is pissa, which changes the base"),
        ({"init_lora_weights": "pissa_niter_2"}, "init_lora_weights is pissa_niter_2"),
        ({"init_lora_weights": "olora"}, "init_lora_weights is olora"),
        ({"trainable_token_indices": [1, 2]}, "trainable_token_indices is set"),
        ({"layer_replication": [[0, 2], [1, 2]]}, "layer_replication is set"),
        ({"alora_invocation_tokens": [1]}, "alora_invocation_tokens is set"),
    ],
)
def test_what_is_no_plain_lora_is_refused_by_name(llama, tmp_path, settings, words):
    train(llama, tmp_path, target_modules=["q_proj"], **settings)
    with pytest.raises(InputError) as told:
        Adapter(tmp_path)
    assert words in str(told.value)
    assert "merge it into its base with peft's merge_and_unload(), save_pretrained() that" in str(told.value)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (IA3Config(target_modules=["q_proj"], feedforward_modules=[]), "peft_type IA3 is not LORA; merge it"),
        (LoHaConfig(target_modules=["q_proj"]), "peft_type LOHA is not LORA; merge it"),
        (VeraConfig(target_modules=["q_proj"]), "peft_type VERA is not LORA; merge it"),
        (
            PromptTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM"),
            "PROMPT_TUNING changes the input and no weight",
        ),
    ],
)
def test_other_adapters_are_refused_by_name(llama, tmp_path, config, words):
    with warnings.catch_warnings(action="ignore"):
        get_peft_model(AutoModelForCausalLM.from_pretrained(llama), config).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=words):
        Adapter(tmp_path)


def test_parameters_of_mixtures_of_experts_are_refused_by_name(tmp_path):
    tensors = pair("model.layers.0.mlp.experts")
    with pytest.raises(InputError, match=r"target_parameters is set \(LoRA on parameters that are no module's weight"):
        Adapter(write(tmp_path, tensors, target_parameters=["mlp.experts.gate_up_proj"]))


def test_a_trained_bias_in_lora_b_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"lora_bias is set"):
        Adapter(write(tmp_path, pair("a"), lora_bias=True))
    with pytest.raises(InputError, match=r"holds a.lora_B.bias, which is no plain LoRA"):
        Adapter(write(tmp_path, {**pair("a"), "a.lora_B.bias": torch.ones(4)}))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"r": 0}, "r is 0 where a positive integer belongs"),
        ({"r": True}, "r is True where a positive integer belongs"),
        ({"lora_alpha": "8"}, "lora_alpha is '8' where a number belongs"),
        ({"lora_alpha": float("nan")}, "lora_alpha is nan where a number belongs"),
        ({"rank_pattern": {"a": 0.5}}, "rank_pattern for a is 0.5 where a positive integer belongs"),
        ({"alpha_pattern": [3]}, r"alpha_pattern is \[3\] where patterns and their values belong"),
        ({"alpha_pattern": {"(": 3}}, r"alpha_pattern has '\(', not a regular expression"),
    ],
)
def test_spoilt_settings_are_named(tmp_path, settings, words):
    with pytest.raises(InputError, match=words):
        Adapter(write(tmp_path, pair("a"), **settings))


def test_scaling_is_alpha_by_r_or_by_its_root(tmp_path):
    """4 / 2 = 2; of a rank of 16 by pattern 4 / 16 = 0.25; rsLoRA 4 / sqrt(16) = 1; alpha 8 by pattern, 8 / 2 = 4."""
    tensors = {**pair("a"), **pair("b.c", rank=16)}
    settings = {"rank_pattern": {"c": 16}}
    plain = Adapter(write(tmp_path, tensors, **settings)).low_rank
    assert (plain["a.weight"].scaling, plain["b.c.weight"].scaling) == (2, 0.25)
    stabilised = Adapter(write(tmp_path, tensors, **settings, use_rslora=True)).low_rank
    assert stabilised["b.c.weight"].scaling == 1
    patterned = Adapter(write(tmp_path, tensors, **settings, alpha_pattern={"a": 8, "a|b": 3, "x": 1})).low_rank
    assert (patterned["a.weight"].scaling, patterned["b.c.weight"].scaling) == (4, 0.25)


def test_a_pattern_matches_from_a_dot_to_the_end(tmp_path):
    """As PEFT: "c" is b.c and not bc; "b" is not b.c."""
    settings = Adapter(write(tmp_path, pair("a"), alpha_pattern={"c": 20, "b": 40})).settings
    assert [settings.scaling(module) for module in ("b.c", "c", "bc", "a.b", "b.x")] == [10, 10, 2, 20, 2]
