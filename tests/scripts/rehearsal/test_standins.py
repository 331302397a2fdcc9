"""The stand-ins have the traits they are there for."""

import json

import pytest

from tests.scripts.rehearsal.standins import pieces, tokenizer_files


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("standin")
    for name, content in tokenizer_files().items():
        (folder / name).write_bytes(content)
    return folder


def test_the_tokenizer_is_llamas_class_with_its_tokens_and_puts_bos_before_a_prompt(folder):
    """32,000 = 3 special tokens, 256 bytes, 31,741 pieces; newlines and é have none and go by their bytes."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert type(tokenizer).__name__ == "LlamaTokenizer"
    assert (len(tokenizer), len(set(pieces()))) == (32_000, 31_741)
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (1, 2, 0)
    ids = tokenizer("Tom\né")["input_ids"]
    assert ids[0] == 1
    assert ids[-3:] == [3 + 0x0A, 3 + 0xC3, 3 + 0xA9]


def test_its_two_files_split_text_alike(folder):
    import sentencepiece
    from transformers import AutoTokenizer

    model = sentencepiece.SentencePieceProcessor(model_proto=(folder / "tokenizer.model").read_bytes())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text in ("Below is an instruction that describes a task.", "### Response: def f(x):\n\treturn x", "é 3,000"):
        assert tokenizer(text)["input_ids"] == [1, *model.encode(text)]
    assert json.loads((folder / "tokenizer_config.json").read_text())["add_bos_token"] is True
