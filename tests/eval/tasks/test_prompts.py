"""Prompt families and protocols, quirk by quirk; test_released.py holds them to their sources."""

import pytest

from eval.errors import InputError
from eval.tasks.prompts import FAMILIES, PROTOCOLS, VARIANTS, chat_code, find_format, prompt_family, wizard_code


def test_gsm8k_shows_a_backslash_and_an_n_where_a_newline_was_meant():
    prompt = find_format("wizard_13b", "gsm8k").prompt({"question": "How many?"})
    assert "\n" not in prompt
    assert prompt.endswith(r"request.\n\n### Instruction:\n How many? \n\n### Response: Let's think step by step")


def test_the_fixed_protocol_has_newlines_there_and_differs_in_nothing_else():
    """A backslash and an n of the question itself stay what they are."""
    fixed, della = (find_format(prompts, "gsm8k") for prompts in ("wizard_13b/fixed", "wizard_13b"))
    shown = fixed.prompt({"question": r"What is 1\n2?"})
    assert shown.endswith("request.\n\n### Instruction:\n What is 1\\n2? \n\n### Response: Let's think step by step")
    assert shown.replace("\n", r"\n") == della.prompt({"question": r"What is 1\n2?"})
    assert (fixed.stops, fixed.max_new_tokens) == (della.stops, della.max_new_tokens)
    for benchmark in ("mbpp", "alpaca_eval", "humaneval"):
        assert find_format("wizard_13b/fixed", benchmark) == find_format("wizard_13b", benchmark)


def test_dares_gsm8k_prompt_has_newlines_no_spaces_around_the_question_and_a_period():
    prompt = find_format("wizard_13b/dare", "gsm8k").prompt({"question": "How many {}?"})
    assert prompt.endswith("request.\n\n### Instruction:\nHow many {}?\n\n### Response: Let's think step by step.")


def test_humaneval_is_shown_in_mbpps_frame_with_tabs_for_four_spaces():
    prompt = find_format("wizard_13b", "humaneval").prompt({"prompt": "def f():\n    pass\n"})
    assert prompt.endswith("Create a Python script for this problem:\ndef f():\n\tpass\n\n\n### Response:")


def test_mbpp_shows_all_asserts_and_tabs_except_problem_493_which_shows_its_signature():
    build = find_format("wizard_13b", "mbpp").prompt
    document = {"task_id": 11, "text": "Do    it.", "test_list": ["assert f(1)", "assert f(2)", "assert f(3)"]}
    middle = (
        "problem:\n\nDo\tit.\nTest examples:\nassert f(1)\nassert f(2)\nassert f(3)\n\n### Response:"  # 4 spaces: a tab
    )
    assert build(document).endswith(middle)
    assert "request.\n\n\n### Instruction:\nCreate a Python script" in build(document)
    long = build({**document, "task_id": 493})
    assert "calculate_polygons(startx, starty, endx, endy, radius)\n\n### Response:" in long
    assert "assert" not in long


def test_instructions_with_braces_are_left_alone():
    """Braces mean something to str.format; an instruction about dictionaries must survive."""
    for family in FAMILIES.values():
        assert "{x} {}" in family["alpaca_eval"].prompt({"instruction": "{x} {}"})


def test_the_tiny_template_is_the_same_for_all_benchmarks():
    """della.tiny trains on this very string."""
    documents = {"gsm8k": {"question": "Q"}, "mbpp": {"text": "Q"}, "alpaca_eval": {"instruction": "Q"}}
    for benchmark, document in documents.items():
        assert find_format("tiny", benchmark).prompt(document) == "### Instruction:\nQ\n\n### Response:"


@pytest.mark.parametrize(
    ("output", "code"),
    [
        ("  x = 1\n", "x = 1"),
        ("Sure:\n```python\nx = 1\n```\nDone.", "x = 1"),
        ("```python\nx = 1", "\nx = 1"),  # no closing fence: the released code does not strip again
        ('x = 1\nif __name__ == "__main__":\n    f()', "x = 1"),
        ('x = 1\nif (__name__ == "__main__"):\n    f()', 'x = 1\nif (__name__ == "__main__"):\n    f()'),
        ("x = 1\n# Example usage:\nf()", "x = 1"),
        ("x = 1\n# Test examples\nf()", "x = 1"),
        ("I think. The solution is:\nx = 1\n\nThe answer is:\n3", "x = 1"),
        ("The answer is:\nx = 1", "x = 1"),
        ("def f():\n\treturn 1", "def f():\n    return 1"),
        ("echo ### Response: x = 1", "x = 1"),
    ],
)
def test_mbpp_answers_are_cleaned_as_the_released_code_does(output, code):
    """Expected values follow generate.py's test_mbpp by hand, branch by branch."""
    assert wizard_code(output) == code


@pytest.mark.parametrize(
    ("output", "code"),
    [
        ("```python\r\nx = 1\r\n```", "x = 1"),
        ("```python\nx = 1 ```y", "x = 1"),  # any second fence ends it
        ("    return 1\n", "return 1"),  # the indentation of a bare completion is lost, as published
        ("x = 1\n# Test examples\nf()", "x = 1\n# Test examples\nf()"),
        ("The solution is:\nx = 1", "x = 1"),
    ],
)
def test_humaneval_answers_are_cleaned_as_mergelm_does(output, code):
    """Expected values follow test_human_eval by hand, where it differs from test_mbpp."""
    assert find_format("wizard_13b", "humaneval").clean(output) == code


@pytest.mark.parametrize(
    ("output", "code"),
    [
        ("Sure.\n```python\n    x = 1\n```\nDone ```python\ny\n```", "    x = 1"),
        ("```python\nx = 1", "x = 1"),
        (" x = 1 ", "x = 1"),
    ],
)
def test_a_chat_answer_is_its_first_python_block_or_all_of_it(output, code):
    assert chat_code(output) == code


def test_a_tiny_answer_loses_its_leading_space():
    assert find_format("tiny", "mbpp").clean(" def f():\n    return 1") == "def f():\n    return 1"


def test_limits_and_stops_of_the_papers_family():
    family, dare = FAMILIES["wizard_13b"], VARIANTS["wizard_13b"]["dare"]
    limits = {name: (form.max_new_tokens, dare[name].max_new_tokens) for name, form in family.items()}
    assert limits == {"gsm8k": (1000, 1024), "mbpp": (512, 2048), "alpaca_eval": (512, 2048), "humaneval": (2048, 2048)}
    assert dare["gsm8k"].stops == ("Instruction:", "Instruction", "Response:", "Response")
    assert dare["alpaca_eval"].stops == ()
    assert family["gsm8k"].stops == ("Q:", "</s>", "<|im_end|>")
    assert family["alpaca_eval"].stops == ("</s>", "USER:", "USER", "ASSISTANT:", "ASSISTANT")
    assert family["mbpp"].stops == ()


def test_an_unknown_family_is_answered_with_the_known_ones():
    with pytest.raises(InputError, match=r"wizzard.*tiny, wizard_13b"):
        find_format("wizzard", "gsm8k")


def test_a_protocol_is_a_family_of_its_own_and_dellas_keeps_the_familys_name():
    """The name goes into a run's identity: another protocol is another run, and della's are the runs they were."""
    names = [prompt_family("wizard_13b", protocol) for protocol in PROTOCOLS]
    assert names == ["wizard_13b", "wizard_13b/fixed", "wizard_13b/dare"]
    assert prompt_family("tiny", "della") == "tiny"


@pytest.mark.parametrize(
    ("prompts", "protocol", "message"),
    [
        ("wizard_13b", "DELLA", "protocol=DELLA: write one of della, fixed, dare"),
        ("tiny", "fixed", "protocol=fixed: goes with prompts=wizard_13b"),
        ("chat", "dare", "protocol=dare: goes with prompts=wizard_13b"),
        ("big", "della", "unknown prompt family 'big': write one of chat, tiny, wizard_13b"),
    ],
)
def test_a_protocol_that_there_is_not_is_refused_in_one_line(prompts, protocol, message):
    with pytest.raises(InputError) as caught:
        prompt_family(prompts, protocol)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_benchmark_without_a_template_is_refused():
    with pytest.raises(InputError, match="the prompts tiny have no template for humaneval: write prompts=wizard_13b"):
        find_format("tiny", "humaneval")
    with pytest.raises(InputError, match="unknown prompt family 'wizard_13b/x'"):
        find_format("wizard_13b/x", "gsm8k")
