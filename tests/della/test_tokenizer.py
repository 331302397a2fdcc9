"""The tokenizer of a merge: transformers opens it, and each token's number is its row."""

import json

import pytest
import torch

from della.checkpoint import Checkpoint
from della.experts import check_family
from della.methods import make_method
from della.output import merge_to_folder
from della.tokenizer import copy_tokenizer, find_tokenizer_problems, tokenizer_files, write_union_tokenizer
from tests.della.architectures import SMALL
from tests.della.token_folders import EMBED, FIVE, HEAD, WORDS, entry, save_model, save_tokenizer


def opened(folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def test_tokens_that_two_experts_put_at_the_same_padding_row_of_the_base_get_a_row_each(tmp_path):
    """The base has 8 rows and 5 tokens. Both experts use row 5, each for its own token: new rows 8 and 9 are these, and
    placeholders keep rows 5 to 7, so that the tokenizer's numbers are the rows."""
    base = save_model(tmp_path / "base", 8)
    lm = save_model(tmp_path / "lm", 8, added={**FIVE, "<x>": 5})
    math = save_model(tmp_path / "math", 8, added={**FIVE, "<y>": 5})
    experts = {"lm": lm, "math": math}
    assert check_family(base, experts, "union").added == {EMBED: ((("lm", 5),), (("math", 5),))}
    (tmp_path / "out").mkdir()
    assert write_union_tokenizer(tmp_path / "out", base, experts) == 10
    tokenizer = opened(tmp_path / "out")
    assert len(tokenizer) == 10
    assert tokenizer("ab<x>c<y>")["input_ids"] == [2, 8, 3, 9]
    assert tokenizer.convert_ids_to_tokens([5, 7]) == ["<|reserved_token_5|>", "<|reserved_token_7|>"]
    assert tokenizer.decode([2, 5, 3], skip_special_tokens=True).replace(" ", "") == "abc"


def test_without_new_tokens_the_base_s_files_are_copied_as_they_are(tmp_path):
    base = save_model(tmp_path / "base", 8)
    (tmp_path / "out").mkdir()
    assert write_union_tokenizer(tmp_path / "out", base, {"lm": save_model(tmp_path / "lm", 9)}) == 8
    for file in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "out" / file).read_bytes() == (tmp_path / "base" / file).read_bytes()


def test_an_expert_s_template_and_roles_come_with_the_tokens_of_all(tmp_path):
    """math has [PAD] at row 5, puts it around texts and pads with it. In the union it is row 6, after lm's <x>."""
    base = save_model(tmp_path / "base")
    lm = save_model(tmp_path / "lm", 6, added={**FIVE, "<x>": 5})
    math = save_model(tmp_path / "math", 6, style=4, added={**FIVE, "[PAD]": 5}, config={"pad_token": "[PAD]"})
    (math.folder / "chat_template.jinja").write_text("{{ messages }}")
    content = json.loads((math.folder / "tokenizer.json").read_text())
    content["padding"] = {"pad_id": 5, "pad_type_id": 0, "pad_token": "[PAD]", "pad_to_multiple_of": None}
    content["padding"] |= {"strategy": "BatchLongest", "direction": "Right"}
    single = [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "[PAD]", "type_id": 0}}]
    around = {"type": "TemplateProcessing", "single": single, "pair": single}
    around["special_tokens"] = {"[PAD]": {"id": "[PAD]", "ids": [5], "tokens": ["[PAD]"]}}
    content["post_processor"] = {"type": "Sequence", "processors": [around]}
    (math.folder / "tokenizer.json").write_text(json.dumps(content))
    experts = {"lm": lm, "math": math}
    assert find_tokenizer_problems("math", base, experts, "union") == []
    (tmp_path / "out").mkdir()
    assert write_union_tokenizer(tmp_path / "out", base, experts, "math") == 7
    tokenizer = opened(tmp_path / "out")
    assert len(tokenizer) == 7
    assert (tokenizer.pad_token_id, tokenizer.chat_template) == (6, "{{ messages }}")
    assert tokenizer(["c<x>", "c"], padding=True)["input_ids"] == [[3, 5, 6], [3, 6, 6]]


def test_a_chosen_tokenizer_must_fit_the_merged_rows(tmp_path):
    base = save_model(tmp_path / "base")
    more = save_model(tmp_path / "more", 6, added={**FIVE, "[PAD]": 5})
    same = save_model(tmp_path / "same")
    named = save_model(tmp_path / "named", config={"pad_token": "[PAD]"})
    experts = {"more": more, "same": same, "named": named}
    assert find_tokenizer_problems("base", base, experts, "error") == []
    assert find_tokenizer_problems("same", base, experts, "base_rows") == []
    said = "tokenizer={} ({}): the merged embeddings have no row for its token '[PAD]'; write tokenizer=base"
    assert find_tokenizer_problems("more", base, experts, "base_rows")[0].startswith(said.format("more", more.label))
    assert find_tokenizer_problems("named", base, experts, "base_rows")[0].startswith(said.format("named", named.label))
    assert find_tokenizer_problems("more", base, experts, "union") == []
    assert find_tokenizer_problems("code", base, experts, "error") == [
        "tokenizer=code: no such expert; write one of base, more, named, same"
    ]
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (same.folder / file).unlink()
    assert "has no tokenizer files; write tokenizer=base" in find_tokenizer_problems("same", base, experts, "error")[0]


def test_all_of_a_tokenizer_s_files_are_copied(tmp_path):
    save_tokenizer(tmp_path / "lm", style=4)
    (tmp_path / "lm" / "chat_template.jinja").write_text("one")
    (tmp_path / "lm" / "additional_chat_templates").mkdir()
    (tmp_path / "lm" / "additional_chat_templates" / "tools.jinja").write_text("two")
    (tmp_path / "lm" / "notes.txt").write_text("not a tokenizer's")
    (tmp_path / "out").mkdir()
    copy_tokenizer(tmp_path / "lm", tmp_path / "out")
    assert (tmp_path / "out" / "additional_chat_templates" / "tools.jinja").read_text() == "two"
    assert sorted(tokenizer_files(tmp_path / "out")) == [
        "added_tokens.json",
        "additional_chat_templates/tools.jinja",
        "chat_template.jinja",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


@pytest.mark.parametrize("style", [4, 5])
@pytest.mark.parametrize(
    "kind", ["PreTrainedTokenizerFast", "LlamaTokenizerFast", "Qwen2TokenizerFast", "GPTNeoXTokenizerFast"]
)
def test_the_united_tokenizer_opens_with_each_token_at_its_row(tmp_path, kind, style):
    """Rows 5, 6 and 7: <x>, listed as special, <t>, which takes the space before it and is not special, and [PAD]."""
    config = {
        "tokenizer_class": kind,
        "unk_token": "a",
        "bos_token": "</s>",
        "pad_token": "</s>",
        "add_bos_token": False,
    }
    listed = {"additional_special_tokens" if style == 4 else "extra_special_tokens": ["<x>"]}
    flags = {"<t>": {"special": False, "lstrip": True}}
    base = save_model(tmp_path / "base", style=style, config=config)
    lm = save_model(
        tmp_path / "lm", 7, style=style, added={**FIVE, "<x>": 5, "<t>": 6}, flags=flags, config=config | listed
    )
    math = save_model(tmp_path / "math", 6, style=style, added={**FIVE, "[PAD]": 5}, config=config)
    out = tmp_path / "out"
    out.mkdir()
    assert write_union_tokenizer(out, base, {"lm": lm, "math": math}) == 8
    tokenizer = opened(out)
    assert len(tokenizer) == 8
    assert tokenizer.convert_tokens_to_ids([*WORDS, "</s>", "<x>", "<t>", "[PAD]"]) == list(range(8))
    assert "<x>" in tokenizer.all_special_tokens
    assert tokenizer.added_tokens_decoder[6].lstrip
    assert [tokenizer.added_tokens_decoder[row].special for row in (5, 6, 7)] == [True, False, True]
    assert (out / "added_tokens.json").is_file() is (style == 4)
    if style == 4:
        assert json.loads((out / "added_tokens.json").read_text()) == {"</s>": 4, "<x>": 5, "<t>": 6, "[PAD]": 7}
        assert json.loads((out / "special_tokens_map.json").read_text())["additional_special_tokens"] == ["<x>"]
        decoder = json.loads((out / "tokenizer_config.json").read_text())["added_tokens_decoder"]
        assert decoder["6"] == entry("<t>", special=False, lstrip=True)


def save_grown(folder, rows, tied, **tokenizer):
    """A pico Llama with this many rows, and its tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {**SMALL, "vocab_size": rows, "bos_token_id": 4, "eos_token_id": 4}
    LlamaForCausalLM(LlamaConfig(**sizes, tie_word_embeddings=tied)).save_pretrained(folder)
    save_tokenizer(folder, **tokenizer)
    return Checkpoint(folder)


@pytest.mark.parametrize("tied", [True, False])
def test_a_merged_folder_has_one_token_per_row_and_each_row_is_its_token_s(tmp_path, tied):
    """The base's rows are padded to 8. <x> is lm's row 5, <y> math's row 5: rows 8 and 9, with both output rows."""
    from transformers import AutoModelForCausalLM

    base = save_grown(tmp_path / "base", 8, tied)
    lm = save_grown(tmp_path / "lm", 8, tied, added={**FIVE, "<x>": 5})
    math = save_grown(tmp_path / "math", 9, tied, added={**FIVE, "<y>": 5})
    merge_to_folder(base, {"lm": lm, "math": math}, make_method("average"), None, tmp_path / "out", vocab="union")
    model, said = AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not said["missing_keys"]
    assert not said["unexpected_keys"]
    tokenizer = opened(tmp_path / "out")
    layers = {EMBED: model.get_input_embeddings().weight, HEAD: model.get_output_embeddings().weight}
    assert len(tokenizer) == len(layers[EMBED]) == model.config.vocab_size == 10
    for token, expert in (("<x>", lm), ("<y>", math)):
        for name, layer in layers.items():
            row = layer[tokenizer.convert_tokens_to_ids(token)]
            assert torch.equal(row, expert.tensor(EMBED if tied else name)[5])
