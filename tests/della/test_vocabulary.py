"""vocab=union: tokens are matched by their string, and each new one has a row of its own."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from della.checkpoint import MemoryCheckpoint
from della.errors import InputError
from della.experts import check_family, find_problems
from della.lora import Adapter
from della.merge import merge_tensors
from della.methods import make_method
from della.vocabulary import read_vocabulary, unite
from tests.della.token_folders import EMBED, FIVE, HEAD, save_model, save_tokenizer


def contents(union):
    return [(token.content, token.sources) for token in union.tokens]


def refusal(base, **experts):
    with pytest.raises(InputError) as caught:
        check_family(base, experts, "union")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_new_tokens_are_ordered_by_expert_and_row_and_a_shared_one_is_there_once(tmp_path):
    """lm has <x> at 5 and [PAD] at 6, math [PAD] at 5 and <y> at 6: rows 5, 6, 7 are <x>, [PAD] (of both) and <y>."""
    base = save_model(tmp_path / "base")
    lm = save_model(tmp_path / "lm", 7, added={**FIVE, "<x>": 5, "[PAD]": 6})
    math = save_model(tmp_path / "math", 7, added={**FIVE, "[PAD]": 5, "<y>": 6})
    union = unite(base, {"math": math, "lm": lm})
    assert contents(union) == [("<x>", (("lm", 5),)), ("[PAD]", (("lm", 6), ("math", 5))), ("<y>", (("math", 6),))]
    assert union.vocab_size == 8
    family = check_family(base, {"math": math, "lm": lm}, "union")
    assert family.added == {EMBED: ((("lm", 5),), (("lm", 6), ("math", 5)), (("math", 6),))}


def test_every_tensor_with_a_row_per_token_gets_the_new_rows(tmp_path):
    base = save_model(tmp_path / "base", tied=False)
    lm = save_model(tmp_path / "lm", 6, tied=False, added={**FIVE, "<x>": 5})
    assert check_family(base, {"lm": lm}, "union").added == {HEAD: ((("lm", 5),),), EMBED: ((("lm", 5),),)}


def test_padding_rows_are_not_added_and_tokens_without_a_row_are_left_out(tmp_path):
    """lm has two rows that no token stands for; math has a token that its embeddings have no row for."""
    base = save_model(tmp_path / "base")
    lm = save_model(tmp_path / "lm", 8, added={**FIVE, "<x>": 5})
    math = save_model(tmp_path / "math", 5, added={**FIVE, "[PAD]": 5})
    assert contents(unite(base, {"lm": lm, "math": math})) == [("<x>", (("lm", 5),))]
    assert check_family(base, {"math": math}, "union").added == {}


def test_another_tokenizer_is_named_by_its_first_difference(tmp_path):
    base = save_model(tmp_path / "base")
    other = save_model(tmp_path / "other", words=("a", "b", "ab", "d"))
    text = refusal(base, lm=other, math=save_model(tmp_path / "math", added={}))
    assert f"expert lm ({other.label}): token 3 is 'd' where the base has 'c', so their tokenizers differ" in text
    assert "token 4 is none where the base has '</s>'" in text


def test_what_cannot_be_united_is_named(tmp_path):
    base = save_model(tmp_path / "base")
    learned = save_model(tmp_path / "learned", 6, words=("a", "b", "ab", "c", "</s>", "ca"))
    assert "its tokenizer learned 1 tokens more than the base's, as 'ca'" in refusal(base, lm=learned)
    twice = save_model(tmp_path / "twice", 6, added={**FIVE, "<x>": 5}, style=4)
    (twice.folder / "added_tokens.json").write_text(json.dumps({"a": 5}))
    changed = json.loads((twice.folder / "tokenizer.json").read_text())
    changed["added_tokens"] = changed["added_tokens"][:1]
    (twice.folder / "tokenizer.json").write_text(json.dumps(changed))
    config = json.loads((twice.folder / "tokenizer_config.json").read_text())
    (twice.folder / "tokenizer_config.json").write_text(json.dumps({**config, "added_tokens_decoder": {}}))
    assert "'a' is there twice, again at 5" in refusal(base, lm=twice)
    bare = save_model(tmp_path / "bare", 6)
    (bare.folder / "tokenizer.json").unlink()
    assert "bare: has no tokenizer.json, where tokens are looked up; open its tokenizer" in refusal(base, lm=bare)
    held = MemoryCheckpoint({EMBED: np.zeros((6, 2), np.float32)}, "held")
    assert "expert lm (held): held in memory without its tokenizer; write vocab=base_rows" in refusal(base, lm=held)
    larger = save_model(tmp_path / "larger", 5, added={**FIVE, "[PAD]": 5})
    assert "its tokenizer has '[PAD]' at 5 where its embeddings have 5 rows" in refusal(larger, lm=base)
    uneven = save_model(tmp_path / "uneven", tied=False, head_rows=4)
    assert f"has {HEAD} 4, {EMBED} 5, so vocab=union has no place" in refusal(uneven, lm=uneven)


def test_a_new_token_without_a_row_in_the_output_layer_is_named(tmp_path):
    base = save_model(tmp_path / "base", tied=False)
    lm = save_model(tmp_path / "lm", 6, tied=False, head_rows=5, added={**FIVE, "<x>": 5})
    assert f"{HEAD}: no expert has rows of <x>, which vocab=union adds" in refusal(base, lm=lm)


def test_a_broken_tokenizer_is_one_line(tmp_path):
    base = save_model(tmp_path / "base")
    (tmp_path / "base" / "tokenizer.json").write_text("{")
    assert "tokenizer.json: not valid JSON" in refusal(base, lm=base)
    (tmp_path / "base" / "tokenizer.json").write_text("{}")
    assert "tokenizer.json: not what the tokenizers library writes" in find_problems(base, {"lm": base}, "union")[0]


def test_a_unigram_tokenizer_is_read_too(tmp_path):
    save_tokenizer(tmp_path)
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    content["model"] = {"type": "Unigram", "vocab": [["a", -1.0], ["b", -2.0]]}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    assert read_vocabulary(tmp_path).tokens == {0: "a", 1: "b", 4: "</s>"}


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
@pytest.mark.parametrize("method", [make_method("average"), make_method("della", drop_rate=0.5, epsilon=0.2)])
def test_a_new_token_s_row_is_the_mean_of_the_rows_that_were_trained_for_it(tmp_path, method, dtype):
    """<x> is lm's row 6 as it is; [PAD] the mean of lm's row 5 and math's row 6, none of them pruned; <y> math's row 5.
    Row 5 of the base is padding: it is merged as any other, and no token stands for it."""
    base = save_model(tmp_path / "base", 6, tied=False)
    lm = save_model(tmp_path / "lm", 7, tied=False, added={**FIVE, "[PAD]": 5, "<x>": 6})
    math = save_model(tmp_path / "math", 7, tied=False, added={**FIVE, "<y>": 5, "[PAD]": 6})
    merged = {m.name: m.tensor for m in merge_tensors(base, {"lm": lm, "math": math}, method, 1, dtype, "union")}
    for name in (EMBED, HEAD):
        ours, theirs = lm.tensor(name), math.tensor(name)
        expected = torch.stack([(ours[5] + theirs[6]) / 2, ours[6], theirs[5]])
        assert merged[name].shape == (9, 2)
        assert torch.equal(merged[name][6:], expected.to(merged[name].dtype))
        if method.name == "average":
            mean = base.tensor(name) + ((ours[:6] - base.tensor(name)) + (theirs[:6] - base.tensor(name))) / 2
            assert torch.equal(merged[name][:6], mean.to(merged[name].dtype))


def test_an_adapter_that_holds_its_embeddings_in_full_adds_its_tokens(tmp_path):
    """One that holds no row of tokens adds none, and needs no tokenizer."""
    base = save_model(tmp_path / "base")
    settings = {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": [], "modules_to_save": ["embed_tokens"]}
    for name, key, rows in (("lm", EMBED, 6), ("math", "model.norm.weight", 2)):
        folder = save_tokenizer(tmp_path / name, added={**FIVE, "<x>": 5}) if name == "lm" else tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "adapter_config.json").write_text(json.dumps(settings))
        tensors = {f"base_model.model.{key}": np.ones((rows, 2), np.float32)}
        save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    experts = {name: Adapter(tmp_path / name, base) for name in ("lm", "math")}
    assert contents(unite(base, experts)) == [("<x>", (("lm", 5),))]
    assert check_family(base, {"lm": experts["lm"]}, "union").added == {EMBED: ((("lm", 5),),)}
