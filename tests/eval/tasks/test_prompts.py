"""Prompts: the papers' to the character, the tiny family's template, the published cleaning of answers."""

import hashlib
import json

import pytest

from eval.errors import InputError
from eval.tasks.data import load_rows
from eval.tasks.prompts import FAMILIES, find_format, wizard_code

# SHA-256 of the JSON list of all test prompts, made by the released functions of declare-lab/della at 8067515
# (generate.py, utils/evaluate_llms_utils.py, and lm-eval's rendering of gsm8k_cot_zeroshot_alpaca.yaml).
RELEASED = {
    "gsm8k": "8852cb43d50c1a0a8eb89501967f1b3f12bfe7ea96ad497f0741de0caa9979e0",
    "mbpp": "40e04b3b215c4fdce8079c1b803f8c44bed7cf280400deaa6a0d441facef18a8",
    "alpaca_eval": "931232e2bcb4242a4426c1851ae0e64f62a3dcd8056be84e9faa39d27e0572e5",
}


@pytest.mark.parametrize("benchmark", RELEASED)
def test_every_prompt_of_the_papers_family_equals_the_released_codes(benchmark, real_data):
    prompts = [row["prompt"] for row in load_rows(benchmark, data=str(real_data), prompts="wizard_13b")]
    assert hashlib.sha256(json.dumps(prompts).encode()).hexdigest() == RELEASED[benchmark]


def test_gsm8k_shows_a_backslash_and_an_n_where_a_newline_was_meant():
    prompt = find_format("wizard_13b", "gsm8k").prompt({"question": "How many?"})
    assert "\n" not in prompt
    assert prompt.endswith(r"request.\n\n### Instruction:\n How many? \n\n### Response: Let's think step by step")


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


def test_a_tiny_answer_loses_its_leading_space():
    assert find_format("tiny", "mbpp").clean(" def f():\n    return 1") == "def f():\n    return 1"


def test_limits_and_stops_of_the_papers_family():
    family = FAMILIES["wizard_13b"]
    assert {name: form.max_new_tokens for name, form in family.items()} == {
        "gsm8k": 1000,
        "mbpp": 512,
        "alpaca_eval": 512,
    }
    assert family["gsm8k"].stops == ("Q:", "</s>", "<|im_end|>")
    assert family["alpaca_eval"].stops == ("</s>", "USER:", "USER", "ASSISTANT:", "ASSISTANT")
    assert family["mbpp"].stops == ()


def test_an_unknown_family_is_answered_with_the_known_ones():
    with pytest.raises(InputError, match=r"wizzard.*tiny, wizard_13b"):
        find_format("wizzard", "gsm8k")
