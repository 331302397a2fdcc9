"""Experts that do not fit: found from the headers, named, with what to do."""

import pytest
import torch

from della.checkpoint import Header, MemoryCheckpoint
from della.errors import InputError
from della.experts import check_family, find_problems
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

    array = tensor


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
    assert "vocab is 'cut'; write one of error, base_rows, union" in complaint(model(), "cut", lm=model())


def test_headers_of_memory_hold_shape_and_dtype():
    assert model().headers["model.norm.weight"] == Header((2,), "float32")


def test_problems_are_told_one_by_one_and_of_every_expert():
    base = model(config={"model_type": "llama"})
    lm = model("models/lm", rows=5, config={"model_type": "mistral"}, extra=torch.ones(1))
    told = find_problems(base, {"lm": lm, "math": model("models/math", rows=3), "code": model("models/code")})
    assert [sentence.split(":")[0] for sentence in told] == ["expert lm (models/lm)"] * 3 + [
        "expert math (models/math)"
    ]
    assert find_problems(base, {"code": model("models/code")}) == []


@pytest.mark.parametrize(
    ("embeddings", "output"),
    [
        ("gpt_neox.embed_in.weight", "embed_out.weight"),
        ("transformer.wte.weight", "lm_head.weight"),
        ("language_model.model.embed_tokens.weight", "language_model.lm_head.weight"),
    ],
)
def test_a_tied_copy_is_known_by_its_bits_under_the_names_of_each_architecture(embeddings, output):
    """One bit is enough for another layer: the sign of a zero."""
    rows = torch.zeros(4, 2)
    tied = {"tie_word_embeddings": True}
    base = MemoryCheckpoint({embeddings: rows}, "base", tied)
    copy = MemoryCheckpoint({embeddings: rows, output: rows.clone()}, "copy", tied)
    other = MemoryCheckpoint({embeddings: rows, output: -rows}, "other", tied)
    assert check_family(base, {"lm": copy}).merged == (embeddings,)
    assert check_family(copy, {"lm": base}).merged == (embeddings,)
    assert f"{output} is stored and differs from the embeddings" in complaint(base, lm=other)


@pytest.mark.parametrize(("kind", "written"), [("gemma", False), ("llama", True), ("unheard_of", True)])
def test_where_config_json_does_not_say_whether_weights_are_tied_the_architecture_does(kind, written):
    """Gemma ties by default, and old files leave a default out; Llama does not."""
    both = model(lm_head__weight=torch.arange(8.0).view(4, 2), config={"model_type": kind})
    assert (HEAD in check_family(both, {"lm": both}).merged) is written


def test_masks_and_constants_of_old_files_are_the_base_s_wherever_an_expert_has_them_or_not():
    """The mask of attention has four dimensions; the bias of the same name in other models has one and is merged."""
    layer = "gpt_neox.layers.0.attention"
    masks = {f"{layer}.bias": torch.ones(1, 1, 2, 2), f"{layer}.masked_bias": torch.tensor(-1e9)}
    weights = {"w": torch.ones(2), "other.attention.bias": torch.ones(2), "steps": torch.tensor(3)}
    old, new = MemoryCheckpoint(weights | masks), MemoryCheckpoint(weights)
    family = check_family(old, {"lm": new})
    assert (family.merged, family.passed) == (("other.attention.bias", "w"), (*sorted(masks), "steps"))
    assert check_family(new, {"lm": old}).passed == ("steps",)


def test_names_of_another_version_of_transformers_are_told_as_such():
    base = MemoryCheckpoint({"wte.weight": torch.ones(4, 2), "h.0.w": torch.ones(3)}, "base")
    lm = MemoryCheckpoint({f"transformer.{name}": base.tensor(name) for name in base.headers}, "models/lm")
    assert complaint(base, lm=lm) == (
        "expert lm (models/lm): names its tensors otherwise, as transformer.h.0.w where the base has h.0.w; open and "
        "save both with one version of transformers"
    )


def test_quantised_weights_are_named_and_not_taken_for_masks():
    """Packed integers would be copied from the base, so that the merge would be the base."""
    plain = MemoryCheckpoint({"q.weight": torch.ones(2, 2)}, "base")
    bits = MemoryCheckpoint({"q.weight": torch.ones(4, 1, dtype=torch.uint8), "q.absmax": torch.ones(1)}, "models/lm")
    assert complaint(plain, lm=bits) == (
        "expert lm (models/lm): is quantised, q.weight in uint8; name the model before it was quantised, or save it in "
        "bfloat16"
    )
    config = {"quantization_config": {"quant_method": "gptq"}}
    packed = MemoryCheckpoint({"q.packed": torch.ones(2, 2, dtype=torch.int32)}, "base", config)
    assert "the base (base): is quantised, q.packed in int32" in complaint(packed, lm=packed)
    small = MemoryCheckpoint({"q.scale": torch.ones(1, dtype=torch.int8)}, "models/lm")
    assert "integers for weights, q.scale int8 where the base has float32; save it in bfloat16" in complaint(
        MemoryCheckpoint({"q.scale": torch.ones(1)}), lm=small
    )


def test_settings_are_found_in_the_part_of_config_json_on_text():
    base = model(config={"model_type": "llava", "text_config": {"rope_parameters": {"rope_theta": 1e4}}})
    lm = model("models/lm", config={"model_type": "llava", "text_config": {"rope_theta": 1e6}})
    assert "config.json has rope_theta 1000000.0 where the base has 10000.0" in complaint(base, lm=lm)


class Adapter(MemoryCheckpoint):
    """An adapter that changes tensors by factors of these shapes and holds others in full."""

    def __init__(self, factors, **full):
        super().__init__({name.replace("__", "."): tensor for name, tensor in full.items()}, "adapters/lm")
        self.low_rank = {name: Factors(shape) for name, shape in factors.items()}


class Factors:
    def __init__(self, shape):
        self.shape = shape


def test_an_adapter_lacks_nothing_and_only_what_it_holds_is_checked():
    base = model(q__weight=torch.ones(3, 2))
    family = check_family(base, {"lm": Adapter({"q.weight": (3, 2)}, model__norm__weight=torch.ones(2))})
    assert family.merged == (EMBED, "model.norm.weight", "q.weight")
    text = complaint(base, lm=Adapter({"q.weight": (3, 4), "p.weight": (1, 1)}))
    assert "expert lm (adapters/lm): has p.weight, unknown to the base" in text
    assert "another shape, q.weight [3, 4] where the base has [3, 2]" in text


def test_an_adapter_s_output_layer_does_not_fit_tied_embeddings():
    assert f"{HEAD} is stored and differs from the embeddings" in complaint(model(), lm=Adapter({HEAD: (4, 2)}))
    taller = Adapter({EMBED: (5, 2)})
    assert f"another shape, {EMBED} [5, 2] where the base has [4, 2]" in complaint(model(), "base_rows", lm=taller)
