"""Swapped weights are as good as freshly loaded ones, also where caches and packed copies could hide the old ones."""

import json
import shutil

import pytest
from safetensors.torch import load_file

from eval.engines import open_engine
from eval.errors import InputError
from tests.eval.engines.models import blend, write_model

EMBEDDINGS = "model.embed_tokens.weight"


def answer_afresh(ask, name, folder, prompts):
    engine = open_engine(name, folder, dtype="float32")
    answers = ask(engine, prompts)
    engine.close()
    return answers


def test_swapped_weights_answer_like_a_fresh_load_on_prompts_longer_than_a_cache_block(
    engine_name, pico, other_pico, prompts, ask, monkeypatch
):
    """The first call fills the prefix cache with the old weights' keys and values; nothing of it may survive. The
    reset that comes with every generate call is taken away: the swap itself has to drop the cache."""
    fresh = {folder: answer_afresh(ask, engine_name, folder, prompts) for folder in (pico, other_pico)}
    assert not set(fresh[pico]) & set(fresh[other_pico]), "the two models must differ for the swap to show"
    engine = open_engine(engine_name, pico, dtype="float32")
    assert len(engine.lm.encode(prompts[0])) > 128
    assert ask(engine, prompts) == fresh[pico]
    engine.swap(load_file(other_pico / "model.safetensors"))
    if engine_name == "vllm":
        monkeypatch.setattr(engine.llm, "reset_prefix_cache", lambda: None)
    swapped = ask(engine, prompts)
    monkeypatch.undo()
    engine.swap(load_file(pico / "model.safetensors"))
    back = ask(engine, prompts)
    engine.close()
    assert swapped == fresh[other_pico]
    assert back == fresh[pico]


@pytest.mark.parametrize(
    "shares", [(0.9, 0.5, 0.2), pytest.param((1.3, 0.9, 0.7, 0.5, 0.4, 0.2), marks=pytest.mark.full)]
)
def test_merges_swapped_in_one_after_the_other_answer_like_fresh_loads(
    engine_name, shares, pico, other_pico, prompts, ask, tmp_path
):
    """All 100 prompts share 190 words; every other swap is by the merge's folder instead of its tensors."""
    merges = {share: blend(pico, other_pico, share) for share in shares}
    folders = {share: write_model(tmp_path / f"{share}", pico, tensors) for share, tensors in merges.items()}
    engine = open_engine(engine_name, pico, dtype="float32")
    swapped, checksums = {}, set()
    for number, share in enumerate(shares):
        ask(engine, prompts[:20])  # fills the caches with what the weights before make of the shared words
        checksums.add(engine.swap(folders[share] if number % 2 else merges[share]))
        swapped[share] = ask(engine, prompts)
    engine.close()
    assert len(checksums) == len({tuple(answers) for answers in swapped.values()}) == len(shares)
    for share in shares:
        assert swapped[share] == answer_afresh(ask, engine_name, folders[share], prompts)


def test_a_folder_of_other_shapes_or_without_weights_is_refused_before_anything_changes(
    engine_name, pico, prompts, ask, tmp_path
):
    tensors = load_file(pico / "model.safetensors")
    other = write_model(tmp_path / "other", pico, {**tensors, "model.norm.weight": tensors["model.norm.weight"][:32]})
    (tmp_path / "empty").mkdir()
    engine = open_engine(engine_name, pico, dtype="float32")
    before = ask(engine, prompts[:3])
    with pytest.raises(InputError, match=r"model\.norm\.weight is \(32,\), the engine was opened with \(64,\)"):
        engine.swap(other)
    with pytest.raises(InputError, match=r"no safetensors in .*empty"):
        engine.swap(tmp_path / "empty")
    assert ask(engine, prompts[:3]) == before
    engine.close()


def test_a_change_of_the_tied_embeddings_alone_reaches_the_output_layer(engine_name, pico, prompts, ask):
    """vLLM on the CPU multiplies by a packed copy in the output layer, which reloading leaves as it was."""
    tensors = load_file(pico / "model.safetensors")
    changed = {**tensors, EMBEDDINGS: tensors[EMBEDDINGS].roll(7, dims=0)}
    engine = open_engine(engine_name, pico, dtype="float32")
    before = ask(engine, prompts)
    engine.swap(changed)
    found = ask(engine, prompts)
    engine.close()
    reference = open_engine("hf", pico, dtype="float32")
    reference.model.get_input_embeddings().weight.data.copy_(changed[EMBEDDINGS])  # shared with the output layer
    expected = ask(reference, prompts)
    reference.close()
    assert sum(a == b for a, b in zip(found, expected, strict=True)) >= 99
    assert found != before


def test_every_end_of_sequence_token_ends_an_answer_and_is_left_out(engine_name, pico, prompts, tmp_path):
    """A generation config that names a token the model does write: the third of its first answer."""
    engine = open_engine(engine_name, pico, dtype="float32")
    (tokens,) = engine.generate([engine.lm.encode(prompts[0])], [8], ())
    engine.close()
    folder = shutil.copytree(pico, tmp_path / "model")
    path = folder / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token_id": [2, tokens[2]]}))
    ended = open_engine(engine_name, folder, dtype="float32")
    assert ended.generate([ended.lm.encode(prompts[0])], [8], ()) == [tokens[: tokens.index(tokens[2])]]
    ended.close()
