"""The tokenizer: whole words and numbers, text given back to the character, nothing added; and the prompt it serves."""

import pytest
from transformers import AutoTokenizer

from della.tiny.family import draw_problems, gather_tokenizer_texts
from della.tiny.references import MAX_NEW_TOKENS
from della.tiny.tokenizer import save_tokenizer, train_tokenizer
from della.tiny.words import prompt
from eval.tasks.prompts import find_format


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(train_tokenizer(gather_tokenizer_texts(), 1184), folder)
    return AutoTokenizer.from_pretrained(folder)


def test_no_token_is_added_and_pad_begin_and_end_have_the_first_ids(tokenizer):
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)
    ids = tokenizer("Tom has 7 apples.")["input_ids"]
    assert not {0, 1, 2} & set(ids)
    assert len(ids) == len(["Tom", " has", " 7", " apples", "."])
    assert len(tokenizer) <= 1184


@pytest.mark.parametrize("text", ["Tom's 7 kites,\n\tin rows…", " def f(xs): return [x // 2]", "é 雪 🙂", "a  b", ""])
def test_any_text_is_given_back_to_the_character(tokenizer, text):
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_numbers_up_to_99_are_one_token(tokenizer):
    assert all(len(tokenizer(f" {number}")["input_ids"]) == 1 for number in range(100))


@pytest.mark.parametrize("expert", ["lm", "math", "code"])
def test_every_answer_with_its_end_fits_the_limit_and_the_mean_is_at_most_16(tokenizer, expert):
    problems = [problem for split in ("dev", "test") for problem in draw_problems(expert, split, 300, 0)]
    lengths = [len(tokenizer(problem.text()[1])["input_ids"]) + 1 for problem in problems]
    assert max(lengths) <= MAX_NEW_TOKENS
    assert sum(lengths) / len(lengths) <= 16


@pytest.mark.parametrize("benchmark", ["gsm8k", "mbpp", "alpaca_eval"])
def test_the_evaluations_prompt_is_the_one_trained_on(benchmark):
    document = {"question": "How many?", "text": "How many?", "instruction": "How many?", "test_list": [], "task_id": 1}
    assert find_format("tiny", benchmark).prompt(document) == prompt("How many?")
