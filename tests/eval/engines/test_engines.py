"""Engines: answers that depend on nothing but the prompt, stops, limits, settings, and what is refused."""

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from eval.engines import open_engine
from eval.engines.base import cut
from eval.errors import InputError


@pytest.fixture(scope="module")
def engine(engine_name, pico):
    engine = open_engine(engine_name, pico, dtype="float32")
    yield engine
    engine.close()


def test_an_answer_does_not_depend_on_what_was_asked_before_or_beside_it(engine, prompts, ask):
    """One at a time, twice, against all together."""
    together = ask(engine, prompts[:8])
    assert [ask(engine, [prompt])[0] for prompt in prompts[:8]] == together
    assert ask(engine, prompts[:8]) == together


def test_answers_are_cut_before_the_first_stop_string(engine, prompts, ask):
    whole = ask(engine, prompts[:20], limit=12)
    stop = whole[3][4:6]
    answers = ask(engine, prompts[:20], until=[stop, "never seen"], limit=12)
    assert answers == [text.split(stop)[0] for text in whole]


def test_limits_may_differ_between_requests(engine, prompts, ask):
    longer, shorter = ask(engine, prompts[:1], limit=12), ask(engine, prompts[:1], limit=3)
    requests = [SimpleNamespace(args=(prompts[0], {"until": [], "max_gen_toks": limit})) for limit in (12, 3)]
    assert engine.lm.generate_until(requests) == longer + shorter
    assert len(shorter[0]) < len(longer[0])


def test_a_prompt_begins_with_one_bos_whoever_wrote_it(engine):
    tokenizer = engine.tokenizer
    plain = engine.lm.encode("Tom has apples")
    assert plain[0] == tokenizer.bos_token_id
    assert tokenizer.bos_token_id not in plain[1:]
    assert engine.lm.encode("<s>Tom has apples") == plain


def test_a_prompt_without_room_for_an_answer_is_an_error(engine, ask):
    with pytest.raises(InputError, match=r"leaves no room for an answer"):
        ask(engine, ["Tom has apples " * 200])


def test_a_long_prompt_leaves_the_answer_what_is_left_of_the_context(engine, prompts, ask):
    """512 tokens of context: both engines stop there."""
    prompt = prompts[0] + " Tom" * 60
    room = engine.context - len(engine.lm.encode(prompt))
    assert 0 < room < 300
    (tokens,) = engine.generate([engine.lm.encode(prompt)], [room], ())
    assert len(tokens) == room
    assert ask(engine, [prompt], limit=1000) == engine.tokenizer.batch_decode([tokens], skip_special_tokens=True)


def test_weights_of_another_model_are_refused_by_name_and_shape(engine, pico):
    tensors = load_file(pico / "model.safetensors")
    name = "model.norm.weight"
    with pytest.raises(InputError, match=r"model\.norm\.weight is missing, the engine was opened with \(64,\)"):
        engine.swap({key: value for key, value in tensors.items() if key != name})
    with pytest.raises(InputError, match=r"model\.norm\.weight is \(32,\)"):
        engine.swap({**tensors, name: tensors[name][:32]})
    with pytest.raises(InputError, match=r"extra is \(64,\), the engine was opened with no such tensor"):
        engine.swap({**tensors, "extra": tensors[name]})


def test_unknown_engines_settings_and_folders_are_refused(pico, tmp_path):
    with pytest.raises(InputError, match="unknown engine 'vlm': write vllm, hf or openai"):
        open_engine("vlm", pico)
    with pytest.raises(InputError, match="unknown engine setting 'max_len'"):
        open_engine("hf", pico, max_len=3)
    with pytest.raises(InputError, match="engine dtype 'fp8'"):
        open_engine("hf", pico, dtype="fp8")
    with pytest.raises(InputError, match="no model in"):
        open_engine("hf", tmp_path)


@pytest.mark.parametrize("device", ["cuda", "cuda:7", "tpu"])
def test_a_device_that_is_not_there_is_refused(device, pico):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(InputError, match=rf"engine device={device}: torch finds 0 GPUs here; write cpu or null"):
        open_engine("hf", pico, device=device)


def test_layers_spread_by_device_map_answer_like_one_device(pico, prompts, ask):
    """Without a GPU all of it comes to lie in memory; swapping works there too."""
    answers = []
    for settings in ({}, {"device_map": "auto"}):
        engine = open_engine("hf", pico, **settings)
        answers.append(ask(engine, prompts[:4]))
        engine.swap(load_file(pico / "model.safetensors"))
        engine.close()
    assert answers[0] == answers[1]


def test_text_is_cut_at_the_stop_that_comes_first():
    assert cut("a USER: b ASSISTANT: c", ("ASSISTANT:", "USER:")) == "a "
    assert cut("nothing to cut", ("USER:",)) == "nothing to cut"
    assert cut("", ()) == ""
