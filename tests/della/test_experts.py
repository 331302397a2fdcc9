"""Experts that do not fit: found from the headers, named, with what to do."""

import pytest
import torch

from della.checkpoint import Header, MemoryCheckpoint
from della.errors import InputError
from della.experts import check_family
from della.merge import merge_tensors
from della.methods import make_method

EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def model(label="base", rows=4, config=None, **tensors):
    own = {EMBED: torch.arange(rows * 2.0).view(rows, 2), "model.norm.weight": torch.ones(2)}
    own |= {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    return MemoryCheckpoint({name: t for name, t in own.items() if t is not None}, label, config)


def complaint(base, vocab="error", **experts):
    with pytest.raises(InputError) as caught:
        check_family(base, experts, vocab)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class Unread(MemoryCheckpoint):
    """A model whose tensors must not be read."""

    def tensor(self, name):
        raise AssertionError(f"{name} was read")


def test_all_mismatches_of_all_experts_are_told_at_once_without_reading_a_tensor():
    base = Unread({EMBED: torch.ones(4, 2), "a": torch.ones(3), "b": torch.ones(2, 2)}, "base")
    lm = Unread({EMBED: torch.ones(4, 2), "a": torch.ones(3), "c": torch.ones(1)}, "models/lm")
    math = Unread({EMBED: torch.ones(5, 2), "a": torch.ones(4), "b": torch.ones(2, 2)}, "models/math")
    text = complaint(base, lm=lm, math=math)
    assert "expert lm (models/lm): lacks b;" in text
    assert "expert lm (models/lm): has c, unknown to the base; merge adapters into it" in text
    assert "expert math (models/math): another shape, a [4] where the base has [3]; name the base" in text
    assert f"expert math (models/math): extra vocabulary rows, {EMBED} [5, 2] where the base has [4, 2]" in text
    assert "write vocab=base_rows" in text


def test_a_long_list_of_tensors_is_cut_and_counted():
    layers = {f"layer{i}": torch.ones(1) for i in range(9)}
    text = complaint(MemoryCheckpoint({"w": torch.ones(1), **layers}), lm=MemoryCheckpoint({"w": torch.ones(1)}))
    assert "lacks layer0, layer1, layer2, layer3 and 5 more;" in text


def test_extra_vocabulary_rows_are_cut_off_on_request():
    """Expert row i is base row i + 1; its fifth row, the added token, is gone."""
    base = model()
    expert = MemoryCheckpoint({EMBED: torch.arange(10.0).view(5, 2) + 1, "model.norm.weight": torch.ones(2)}, "lm")
    out = {
        m.name: m.tensor for m in merge_tensors(base, {"lm": expert}, make_method("average"), None, None, "base_rows")
    }
    assert torch.equal(out[EMBED], torch.arange(8.0).view(4, 2) + 1)


def test_fewer_vocabulary_rows_are_an_error_whatever_the_option():
    for vocab in ("error", "base_rows"):
        assert "fewer vocabulary rows" in complaint(model(), vocab, lm=model(rows=3))


def test_rows_of_other_tensors_are_never_cut_off():
    text = complaint(model(w=torch.ones(2, 2)), "base_rows", lm=model(w=torch.ones(3, 2)))
    assert "another shape, w [3, 2] where the base has [2, 2]" in text


def test_an_expert_that_stores_a_copy_of_its_tied_embeddings_is_taken():
    expert = model(lm_head__weight=torch.arange(8.0).view(4, 2))
    assert check_family(model(), {"lm": expert}).merged == (EMBED, "model.norm.weight")


def test_an_untied_expert_of_a_tied_base_is_named():
    text = complaint(model(), lm=model("models/lm", lm_head__weight=torch.ones(4, 2)))
    assert (
        f"expert lm (models/lm): {HEAD} is stored and differs from the embeddings, while the base ties the two" in text
    )


def test_a_tied_expert_of_an_untied_base_is_named():
    text = complaint(model(lm_head__weight=torch.ones(4, 2)), lm=model("models/lm"))
    assert f"expert lm (models/lm): has no {HEAD} since it ties it to the embeddings" in text


def test_a_tied_base_that_stores_the_copy_is_written_once():
    base = model(lm_head__weight=torch.arange(8.0).view(4, 2), config={"tie_word_embeddings": True})
    assert HEAD not in check_family(base, {"lm": model()}).merged


def test_an_untied_base_whose_two_layers_are_equal_keeps_both():
    both = {"lm_head__weight": torch.arange(8.0).view(4, 2), "config": {"tie_word_embeddings": False}}
    assert HEAD in check_family(model(**both), {"lm": model(**both)}).merged


def test_another_rope_base_means_another_base():
    base = model(config={"rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}, "head_dim": 2})
    text = complaint(base, code=model("models/code", config={"rope_theta": 1000000.0, "head_dim": 2}))
    assert "expert code (models/code): config.json has rope_theta 1000000.0 where the base has 10000.0" in text


def test_rotary_constants_of_old_files_do_not_matter():
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    with_constant = MemoryCheckpoint({"w": torch.ones(1), name: torch.ones(2)})
    without = MemoryCheckpoint({"w": torch.ones(1)})
    assert check_family(without, {"lm": with_constant}).merged == ("w",)
    family = check_family(with_constant, {"lm": without})
    assert (family.merged, family.passed) == (("w",), (name,))


def test_a_merge_without_experts_or_with_an_unknown_vocab_is_refused():
    assert "write experts.models.NAME=FOLDER" in complaint(model())
    assert "vocab is 'cut'; write one of error, base_rows" in complaint(model(), "cut", lm=model())


def test_headers_of_memory_hold_shape_and_dtype():
    assert model().headers["model.norm.weight"] == Header((2,), "float32")
