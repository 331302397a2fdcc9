"""Two random tiny Llamas that share a tokenizer; tied embeddings, so that swapping has to reach the output layer."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.eval.engines.models import WORDS, make_model


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
