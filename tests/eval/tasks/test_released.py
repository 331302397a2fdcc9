"""Prompts, cleaning and parsing equal those of the papers' released code, character by character.

released.json holds hashes made by released_side.py, which runs the released functions of declare-lab/della at 8067515
and yule-BUAA/MergeLM at 6d49ad9 (its header has the command). For the hashes here the files' texts were copied from a
public code index, at 0641b61 and 0dbd199, the only versions of those files that the two histories have, into folders
laid out as the checkouts are; of MergeLM's two files the parts that these functions need.
"""

import hashlib
import json
from pathlib import Path

import pytest

from eval.tasks.data import load_rows
from eval.tasks.gsm8k import extract_mergelm
from eval.tasks.prompts import find_format, humaneval_code, prompt_family, wizard_code
from tests.eval.tasks.released_side import answers, numbers, sha256, some

RELEASED = json.loads(Path(__file__).with_name("released.json").read_text())
PROMPTS = sorted(key for key, value in RELEASED.items() if isinstance(value, dict))


def test_the_released_code_ran_on_every_benchmark_of_its_paper():
    dare, della = ("alpaca_eval", "gsm8k", "humaneval", "mbpp"), ("alpaca_eval", "gsm8k", "mbpp")
    assert [*(f"dare/{name}" for name in dare), *(f"della/{name}" for name in della)] == PROMPTS


@pytest.mark.parametrize("key", PROMPTS)
def test_the_first_20_and_20_random_prompts_and_all_together_equal_the_released_codes(key, real_data):
    protocol, benchmark = key.split("/")
    rows = load_rows(benchmark, data=str(real_data), prompts=prompt_family("wizard_13b", protocol))
    ours = {row["id"]: hashlib.sha256(row["prompt"].encode()).hexdigest() for row in rows}
    theirs = RELEASED[key]["each"]
    assert list(theirs) == some(list(ours))
    assert len(theirs) == 40
    assert {chosen: ours[chosen] for chosen in theirs} == theirs
    assert sha256([row["prompt"] for row in rows]) == RELEASED[key]["all"]


@pytest.mark.parametrize("key", PROMPTS)
def test_stops_and_limits_equal_those_that_the_released_code_asks_for(key):
    """MergeLM's SamplingParams, what generate.py hands to its model, and the settings of DELLA's GSM8K task file."""
    protocol, benchmark = key.split("/")
    form, sampling = find_format(prompt_family("wizard_13b", protocol), benchmark), RELEASED[key]["sampling"]
    assert form.max_new_tokens == sampling["max_tokens"]
    assert list(form.stops) == sampling.get("stop", [])
    assert sampling["temperature"] == 0


@pytest.mark.parametrize(
    ("key", "clean", "count"),
    [
        ("della/mbpp_code", wizard_code, 500),
        ("dare/mbpp_code", wizard_code, 500),
        ("dare/humaneval_code", humaneval_code, 164),
    ],
)
def test_code_is_cleaned_as_the_released_code_cleans_it(key, clean, count):
    """As many answers as the benchmark has problems, made of what the cleaning looks for, in every order."""
    assert sha256([clean(answer) for answer in answers()[:count]]) == RELEASED[key]


def test_numbers_are_read_as_mergelm_reads_them():
    assert sha256([extract_mergelm(text) for text in numbers()]) == RELEASED["dare/numbers"]
