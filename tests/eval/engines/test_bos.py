"""A prompt is read with one BOS or with none, as the author of the model meant it, whoever else would add another."""

import json
from types import SimpleNamespace

import pytest
from transformers import AutoTokenizer

from eval.engines import open_engine
from eval.engines.base import GreedyLM
from eval.engines.bos import PromptEncoder, read_wish
from eval.errors import InputError
from tests.eval.engines.models import make_tokenizer

BOS = 1
CHAT = "{{ bos_token }}{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
PLAIN, OWN, TWO = "Tom has apples", "<s>Tom has apples", "<s><s>Tom has apples"


def encoder(folder, adds_bos, wish=None, bos="<s>", chat=None):
    """Of a tokenizer written to a folder and read back, with add_bos_token as the folder says it."""
    made = make_tokenizer(adds_bos, bos)
    made.chat_template = chat
    made.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    assert "add_bos_token" not in config
    if wish is not None:
        path.write_text(json.dumps({**config, "add_bos_token": wish}))
    told = []
    return PromptEncoder(AutoTokenizer.from_pretrained(folder), read_wish(folder), told.append), told


# adds: the tokenizer puts a BOS before a text; wish: add_bos_token of its config; then how often BOS stands before the
# plain text, the text with its own, and the one with two.
CASES = {
    "Llama: adds one": (True, None, (1, 1, 1)),
    "adds one, and says so": (True, True, (1, 1, 1)),
    "says it adds one, and does not": (False, True, (1, 1, 1)),
    "adds none": (False, None, (0, 1, 1)),
    "adds none, and says so": (False, False, (0, 1, 1)),
    "says it adds none, and does": (True, False, (0, 1, 1)),
}


@pytest.mark.parametrize("case", CASES)
def test_a_prompt_has_one_bos_or_none_by_rule(case, tmp_path):
    adds, wish, expected = CASES[case]
    made, _ = encoder(tmp_path, adds, wish)
    body = made.tokenizer(PLAIN, add_special_tokens=False)["input_ids"]
    assert BOS not in body
    for text, count in zip((PLAIN, OWN, TWO), expected, strict=True):
        assert made.ids(text) == [BOS] * count + body, text


@pytest.mark.parametrize(
    ("adds", "wish", "text", "says"),
    [
        (True, None, PLAIN, []),
        (False, None, PLAIN, []),
        (False, None, OWN, []),
        (True, None, OWN, ["a prompt brings a BOS of its own; it is read with one"]),
        (False, None, TWO, ["a prompt brings 2 BOS of its own; it is read with one"]),
        (
            False,
            True,
            PLAIN,
            ["the tokenizer adds no BOS though tokenizer_config.json asks for one; it is put before prompts"],
        ),
        (
            True,
            False,
            PLAIN,
            ["the tokenizer adds a BOS though tokenizer_config.json asks for none; it is left out"],
        ),
    ],
)
def test_what_is_repaired_is_said_once(adds, wish, text, says, tmp_path):
    made, told = encoder(tmp_path, adds, wish)
    made.ids(text)
    made.ids(text + " and buys")
    assert told == made.notes == says


@pytest.mark.parametrize("adds", [True, False])
def test_a_chat_template_that_writes_a_bos_does_not_double_it(adds, tmp_path):
    made, _ = encoder(tmp_path, adds, chat=CHAT)
    text = made.tokenizer.apply_chat_template([{"role": "user", "content": "Tom"}], tokenize=False)
    assert text.startswith("<s>user: Tom")
    lm = GreedyLM(SimpleNamespace(tokenizer=made.tokenizer, encoder=made))
    assert lm.apply_chat_template([{"role": "user", "content": "Tom"}]) == text
    ids = lm.encode(text)
    assert ids[0] == BOS
    assert BOS not in ids[1:]


def test_a_bos_inside_a_prompt_stays(tmp_path):
    made, told = encoder(tmp_path, True)
    ids = made.ids("Tom</s><s>has")
    assert ids[0] == BOS
    assert ids[1:].count(BOS) == 1
    assert told == []


def test_a_tokenizer_without_a_bos_is_left_alone(tmp_path):
    made, told = encoder(tmp_path, False, bos=None)
    assert made.ids(PLAIN) == made.tokenizer(PLAIN)["input_ids"]
    assert told == []


def test_a_wish_that_cannot_be_met_or_read_is_refused(tmp_path):
    with pytest.raises(InputError, match="says add_bos_token: true and names no bos_token"):
        encoder(tmp_path / "none", False, True, bos=None)
    with pytest.raises(InputError, match=r"add_bos_token is 'yes'; write true or false"):
        encoder(tmp_path / "word", False, "yes")


@pytest.mark.parametrize(("adds", "text", "sent"), [(True, OWN, PLAIN), (True, TWO, PLAIN), (False, OWN, OWN)])
def test_text_for_a_server_is_without_the_bos_that_the_server_adds(adds, text, sent, tmp_path):
    made, _ = encoder(tmp_path, adds)
    assert made.text(text) == sent


def test_what_an_engine_computes_with_are_these_ids(engine_name, pico, ask, monkeypatch):
    """The tokenizer adds a BOS; the second prompt has its own: both are read alike, with one."""
    engine = open_engine(engine_name, pico, dtype="float32")
    seen = []
    if engine_name == "vllm":
        generate = engine.llm.generate
        monkeypatch.setattr(
            engine.llm, "generate", lambda inputs, *a, **k: (seen.extend(inputs), generate(inputs, *a, **k))[1]
        )
    else:
        generate = engine.model.generate
        monkeypatch.setattr(
            engine.model, "generate", lambda ids, **k: (seen.extend(ids.tolist()), generate(ids, **k))[1]
        )
    answers = ask(engine, [PLAIN, OWN], limit=3)
    engine.close()
    ids = [one["prompt_token_ids"] if engine_name == "vllm" else one for one in seen]
    assert ids[0] == ids[1]
    assert ids[0].count(BOS) == 1
    assert answers[0] == answers[1]
