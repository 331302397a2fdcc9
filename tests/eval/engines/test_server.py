"""The `openai` engine and vLLM's own server on loopback: the tokens of the engine in process, swaps by folder."""

import importlib.util

import pytest
from safetensors.torch import load_file, save_file

from eval.engines import open_engine
from eval.errors import InputError
from tests.eval.engines.models import blend, write_model
from tests.eval.engines.server import vllm_server

EXTENSION = ("--worker-extension-cls", "eval.engines.held.Held")
STOPS = ("apples", "Tom", "trains", "letter", "buys")  # more than OpenAI's own endpoint takes

pytestmark = pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def url(pico, tmp_path_factory):
    """A server of pico whose workers can say what they hold."""
    with vllm_server(pico, tmp_path_factory.mktemp("server"), *EXTENSION) as address:
        yield address


@pytest.fixture(scope="module")
def in_process(pico, other_pico, prompts, ask):
    """Answers of the vllm engine in this process, of pico, of other_pico, and of pico with stops."""
    engine = open_engine("vllm", pico)
    answers = {"pico": ask(engine, prompts), "stops": ask(engine, prompts, until=STOPS)}
    engine.swap(load_file(other_pico / "model.safetensors"))
    answers["other"], answers["checksum"] = ask(engine, prompts), engine.checksum
    engine.close()
    return answers


def test_a_served_model_gives_the_tokens_of_the_engine_in_process(url, pico, in_process, prompts, ask):
    """Token ids are sent and come back; stops and limits reach the server."""
    engine = open_engine("openai", pico, url=url)
    assert (engine.takes, engine.served, engine.context) == ("tokens", "tiny", 512)
    same = sum(a == b for a, b in zip(ask(engine, prompts), in_process["pico"], strict=True))
    stopped = sum(a == b for a, b in zip(ask(engine, prompts, until=STOPS), in_process["stops"], strict=True))
    engine.close()
    assert same >= 99
    assert stopped >= 99
    assert in_process["stops"] != in_process["pico"]


def test_weights_are_swapped_by_folder_and_checked_in_the_server(url, pico, other_pico, in_process, prompts, ask):
    """On prompts longer than a cache block, there and back; the checksum is the engine's in this process."""
    engine = open_engine("openai", pico, url=url)
    before = ask(engine, prompts)
    assert engine.swap(other_pico) == in_process["checksum"]
    swapped = ask(engine, prompts)
    engine.swap(pico)
    assert sum(a == b for a, b in zip(swapped, in_process["other"], strict=True)) >= 99
    assert sum(a == b for a, b in zip(ask(engine, prompts), before, strict=True)) >= 99
    engine.close()


def test_a_folder_that_changes_under_the_servers_hands_is_caught(url, pico, other_pico, tmp_path, monkeypatch):
    """One value of one tensor is another when the weights are compared."""
    folder = write_model(tmp_path / "merge", pico, blend(pico, other_pico, 0.5))
    engine = open_engine("openai", pico, url=url)
    load = engine.load

    def load_and_change(weights):
        load(weights)
        tensors = load_file(folder / "model.safetensors")
        tensors["model.norm.weight"][7] += 1e-6
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    monkeypatch.setattr(engine, "load", load_and_change)
    with pytest.raises(InputError, match=r"the openai engine does not hold .*: model\.norm\.weight differs"):
        engine.swap(folder)
    monkeypatch.undo()
    engine.swap(pico)
    engine.close()


def test_another_dtype_than_the_servers_is_said(url, pico):
    engine = open_engine("openai", pico, url=url, dtype="bfloat16")
    with pytest.raises(InputError, match=r"is float32 there, engine\.dtype is bfloat16"):
        engine.swap(pico)
    engine.close()


def test_more_context_than_the_server_has_is_refused(url, pico):
    with pytest.raises(InputError, match=r"max_model_len=600: .* takes 512 tokens; write at most that"):
        open_engine("openai", pico, url=url, max_model_len=600)


@pytest.mark.full
def test_a_server_whose_workers_cannot_say_what_they_hold_is_refused_unless_asked_not_to_check(
    pico, other_pico, tmp_path
):
    with vllm_server(pico, tmp_path) as address:
        engine = open_engine("openai", pico, url=address)
        with pytest.raises(
            InputError, match=r"cannot say which weights it holds: start it with --worker-extension-cls"
        ):
            engine.swap(other_pico)
        engine.close()
        engine = open_engine("openai", pico, url=address, checksum="none")
        assert engine.swap(other_pico) is None
        engine.close()
