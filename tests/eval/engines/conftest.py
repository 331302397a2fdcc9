"""Two random tiny Llamas that share a tokenizer; tied embeddings, so that swapping has to reach the output layer."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SENTENCE = "Tom has apples and buys more list the numbers in reverse order write a letter to Mia about trains"
WORDS = SENTENCE.split()


def make_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<pad>", "<s>", "</s>"], initial_alphabet=sorted(alphabet), show_progress=False
    )
    tokenizer.train_from_iterator([" ".join(WORDS)] * 20, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def make_model(folder: Path, seed: int) -> Path:
    """Weights far from zero, so that the most likely token stands out from the next by more than rounding."""
    torch.manual_seed(seed)
    tokenizer = make_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        initializer_range=0.2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def pico(tmp_path_factory) -> Path:
    return make_model(tmp_path_factory.mktemp("pico") / "one", seed=1)


@pytest.fixture(scope="session")
def other_pico(tmp_path_factory) -> Path:
    return make_model(tmp_path_factory.mktemp("pico") / "two", seed=2)


@pytest.fixture(scope="session")
def prompts() -> list[str]:
    """100 prompts that share their first 190 words (more than vLLM's cache block of 128 tokens) and differ then."""
    shared = " ".join(WORDS * 10)
    texts = [f"{shared} {' '.join(WORDS[n % 19 :] + WORDS[: n % 7])} {n}" for n in range(100)]
    assert len(set(texts)) == 100
    return texts


@pytest.fixture(scope="session")
def ask():
    """ask(engine, prompts, until, limit): the engine's answers through its lm-eval model."""

    def call(engine, prompts, until=(), limit=12):
        settings = {"until": list(until), "max_gen_toks": limit}
        return engine.lm.generate_until([SimpleNamespace(args=(text, settings)) for text in prompts])

    return call


@pytest.fixture(scope="module", params=["hf", "vllm"])
def engine_name(request) -> str:
    """Each engine in turn, as far as installed."""
    if request.param == "vllm" and importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed")
    return request.param
