"""Prompt families: what a model of a family is shown for each benchmark, where it stops, how its answer is read.

`wizard_13b` is the released code's, to the character (declare-lab/della at 8067515: generate.py,
utils/evaluate_llms_utils.py, lm_eval_task_config/gsm8k_cot_zeroshot_alpaca.yaml), quirks included:

- GSM8K: the YAML is escaped twice, so the model sees the two characters backslash and n where a newline was meant.
- MBPP: two blank lines after the header, four spaces become a tab in the prompt and back in the answer, and problem 493
  shows the signature in place of its very long asserts.
- AlpacaEval: the Vicuna template; the released code stops at the stop strings but leaves them in the output, here they
  are cut, as every other evaluation does.

`tiny` is the short template on which the tiny family is trained (a header of the papers' length would be half of its
context).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from eval.errors import InputError

HEADER = "Below is an instruction that describes a task. Write a response that appropriately completes the request."
VICUNA = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions. USER: {} ASSISTANT:"
)
TINY = "### Instruction:\n{instruction}\n\n### Response:"
MBPP_TOO_LONG = {493: "calculate_polygons(startx, starty, endx, endy, radius)"}


@dataclass(frozen=True)
class Format:
    """One benchmark in one family.

    prompt: document -> the text the model continues; stops: strings that end an answer (and are cut);
    max_new_tokens: the family's default limit; clean: raw output -> what is scored.
    """

    prompt: Callable[[dict], str]
    stops: tuple[str, ...]
    max_new_tokens: int
    clean: Callable[[str], str] = str


def wizard_gsm8k(document: dict) -> str:
    return (
        HEADER + r"\n\n### Instruction:\n " + document["question"] + r" \n\n### Response: Let's think step by step"
    )  # raw strings: backslash and n are two characters, as published


def wizard_mbpp(document: dict) -> str:
    signature = MBPP_TOO_LONG.get(document["task_id"])
    examples = [signature] if signature else document["test_list"]
    problem = "\n".join(["", document["text"], "Test examples:", *examples]).replace("    ", "\t")
    return f"{HEADER}\n\n\n### Instruction:\nCreate a Python script for this problem:\n{problem}\n\n### Response:"


def wizard_alpaca_eval(document: dict) -> str:
    return VICUNA.replace("{}", document["instruction"], 1)


def wizard_code(output: str) -> str:
    """The released post-processing of an MBPP answer (generate.py, test_mbpp), step by step and in its order."""
    code = output.split("### Response:")[-1].replace("\t", "    ").strip()
    if "```python" in code:
        code = code[code.index("```python") :].replace("```python", "")
        if "\n```" in code:
            code = code.split("\n```")[0].strip()
    for ending in ('if __name__ == "__main__":', "# Example usage", "# Test examples"):
        if ending in code:
            code = code.split(ending)[0].strip()
    for lead_in in ("The solution is:", "The answer is:"):  # how Code-Alpaca announces its code
        if lead_in in code:
            code = code[code.index(lead_in) :].replace(lead_in, "")
            code = code.split("\n\nThe answer is:")[0].strip()
    return code


def tiny_prompt(field: str) -> Callable[[dict], str]:
    return lambda document: TINY.format(instruction=document[field])


FAMILIES: dict[str, dict[str, Format]] = {
    "wizard_13b": {
        "gsm8k": Format(wizard_gsm8k, ("Q:", "</s>", "<|im_end|>"), 1000),
        "mbpp": Format(wizard_mbpp, (), 512, wizard_code),
        "alpaca_eval": Format(wizard_alpaca_eval, ("</s>", "USER:", "USER", "ASSISTANT:", "ASSISTANT"), 512),
    },
    # An answer of the tiny family starts with a space, which would be a syntax error before `def`.
    "tiny": {
        "gsm8k": Format(tiny_prompt("question"), (), 96),
        "mbpp": Format(tiny_prompt("text"), (), 96, str.strip),
        "alpaca_eval": Format(tiny_prompt("instruction"), (), 96),
    },
}


def find_format(prompts: str, benchmark: str) -> Format:
    """The row of FAMILIES; InputError names the families when there is none of that name."""
    if prompts not in FAMILIES:
        raise InputError(f"unknown prompt family {prompts!r}: write one of {', '.join(sorted(FAMILIES))}")
    return FAMILIES[prompts][benchmark]
