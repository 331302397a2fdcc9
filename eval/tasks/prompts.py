r"""Prompt families: what a model of a family is shown for each benchmark, where it stops, how its answer is read.

`wizard_13b` follows a protocol, `della` unless another one is asked for. Sources, all of them run against this file in
tests/eval/tasks/test_released.py: declare-lab/della at 8067515 (generate.py, utils/evaluate_llms_utils.py,
lm_eval_task_config/gsm8k_cot_zeroshot_alpaca.yaml) and yule-BUAA/MergeLM at 6d49ad9
(inference_llms_instruct_math_code.py, utils/evaluate_llms_utils.py).

protocol=della, the paper's released code to the character, quirks included:

- GSM8K: the YAML is escaped twice, so the model sees the two characters backslash and n where a newline was meant; the
  question stands between two spaces, and "Let's think step by step" ends without a period.
- MBPP: two blank lines after the header; four spaces become a tab in the prompt and back in the answer; problem 493
  shows the signature in place of its very long asserts; "The answer is:" and what is before it are cut off an answer.
- AlpacaEval: the Vicuna template; the released code stops at the stop strings but leaves them in the output, here they
  are cut, as every other evaluation does.
- HumanEval was not run: its prompt is that of protocol=dare.

protocol=fixed, the same with what was not meant put right: GSM8K's newlines are newlines. Nothing else differs.

protocol=dare, DARE's Table 1 (arXiv 2311.03099), from MergeLM: GSM8K with real newlines and a period after "step by
step", four stop strings, 1,024 tokens, and the answer read by the metric `mergelm` (eval/tasks/gsm8k.py); MBPP and
AlpacaEval as della's with 2,048 tokens, AlpacaEval without stop strings; HumanEval in MBPP's frame. HumanEval's
answers are cut at any second fence, where MBPP's need a line of its own, lose their carriage returns, and keep
"# Test examples".

`tiny` is the short template on which the tiny family is trained (a header of the papers' length would be half of its
context). `chat` is for models with a chat template of their own: a plain request, no paper's, which the model's
tokenizer puts into its template (eval/tasks/chat.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from eval.errors import InputError

HEADER = "Below is an instruction that describes a task. Write a response that appropriately completes the request."
VICUNA = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions. USER: {} ASSISTANT:"
)
# A raw string: backslash and n are two characters, as published.
DELLA_GSM8K = HEADER + r"\n\n### Instruction:\n {} \n\n### Response: Let's think step by step"
DARE_GSM8K = HEADER + "\n\n### Instruction:\n{}\n\n### Response: Let's think step by step."
TINY = "### Instruction:\n{instruction}\n\n### Response:"
MBPP_TOO_LONG = {493: "calculate_polygons(startx, starty, endx, endy, radius)"}
MAIN_BLOCK, USAGE, EXAMPLES = 'if __name__ == "__main__":', "# Example usage", "# Test examples"
FENCE = "```python"
PROTOCOLS = ("della", "fixed", "dare")


@dataclass(frozen=True)
class Format:
    """One benchmark in one family.

    prompt: document -> the text the model continues; stops: strings that end an answer (and are cut);
    max_new_tokens: the family's default limit; clean: raw output -> what is scored; chat: the prompt is a user's
    message that goes through the model's chat template.
    """

    prompt: Callable[[dict], str]
    stops: tuple[str, ...]
    max_new_tokens: int
    clean: Callable[[str], str] = str
    chat: bool = False


def filled(template: str, field: str) -> Callable[[dict], str]:
    """Documents' prompts: the template with the field where its {} is; other braces are left alone."""
    return lambda document: template.replace("{}", document[field], 1)


def code_task(problem: str) -> str:
    """The frame of both papers' code benchmarks; four spaces of the problem are shown as a tab."""
    problem = problem.replace("    ", "\t")
    return f"{HEADER}\n\n\n### Instruction:\nCreate a Python script for this problem:\n{problem}\n\n### Response:"


def wizard_mbpp(document: dict) -> str:
    signature = MBPP_TOO_LONG.get(document["task_id"])
    examples = [signature] if signature else document["test_list"]
    return code_task("\n".join(["", document["text"], "Test examples:", *examples]))


def wizard_humaneval(document: dict) -> str:
    return code_task(document["prompt"])


def wizard_code(output: str) -> str:
    """The released post-processing of an MBPP answer (test_mbpp, the same in both repositories), in its order."""
    return _released_code(_after_response(output), "\n```", (MAIN_BLOCK, USAGE, EXAMPLES))


def humaneval_code(output: str) -> str:
    """The released post-processing of a HumanEval answer (MergeLM's test_human_eval), in its order."""
    return _released_code(_after_response(output).replace("\r", ""), "```", (MAIN_BLOCK, USAGE))


def _after_response(output: str) -> str:
    return output.split("### Response:")[-1].replace("\t", "    ")


def _released_code(code: str, fence_end: str, endings: tuple[str, ...]) -> str:
    code = code.strip()
    if FENCE in code:
        code = code[code.index(FENCE) :].replace(FENCE, "")
        if fence_end in code:
            code = code.split(fence_end)[0].strip()
    for ending in endings:
        if ending in code:
            code = code.split(ending)[0].strip()
    for lead_in in ("The solution is:", "The answer is:"):  # how Code-Alpaca announces its code
        if lead_in in code:
            code = code[code.index(lead_in) :].replace(lead_in, "")
            code = code.split("\n\nThe answer is:")[0].strip()
    return code


def tiny_prompt(field: str) -> Callable[[dict], str]:
    return lambda document: TINY.format(instruction=document[field])


def chat_mbpp(document: dict) -> str:
    tests = "\n".join(document["test_list"])
    return f"{document['text']}\nIt must pass these tests:\n\n{tests}\n\nAnswer with one ```python block."


def chat_code(output: str) -> str:
    """What is inside the first python block; the whole output where there is none."""
    block = output.split(FENCE, 1)[-1].split("\n```", 1)[0]
    return block.strip("\n") if FENCE in output else output.strip()


WIZARD = {
    "gsm8k": Format(filled(DELLA_GSM8K, "question"), ("Q:", "</s>", "<|im_end|>"), 1000),
    "mbpp": Format(wizard_mbpp, (), 512, wizard_code),
    "alpaca_eval": Format(filled(VICUNA, "instruction"), ("</s>", "USER:", "USER", "ASSISTANT:", "ASSISTANT"), 512),
    "humaneval": Format(wizard_humaneval, (), 2048, humaneval_code),
}
CHAT_GSM8K = '{}\n\nThink step by step. End with "The answer is: " and the number.'
CHAT_HUMANEVAL = "Complete this program. Answer with all of it in one ```python block.\n\n```python\n{}```"
FAMILIES: dict[str, dict[str, Format]] = {
    "wizard_13b": WIZARD,
    # An answer of the tiny family starts with a space, which would be a syntax error before `def`.
    "tiny": {
        "gsm8k": Format(tiny_prompt("question"), (), 96),
        "mbpp": Format(tiny_prompt("text"), (), 96, str.strip),
        "alpaca_eval": Format(tiny_prompt("instruction"), (), 96),
    },
    "chat": {
        "gsm8k": Format(filled(CHAT_GSM8K, "question"), (), 1024, chat=True),
        "mbpp": Format(chat_mbpp, (), 1024, chat_code, chat=True),
        "alpaca_eval": Format(filled("{}", "instruction"), (), 2048, chat=True),
        "humaneval": Format(filled(CHAT_HUMANEVAL, "prompt"), (), 1024, chat_code, chat=True),
    },
}
# family -> protocol other than the first of PROTOCOLS -> benchmark -> format
VARIANTS: dict[str, dict[str, dict[str, Format]]] = {
    "wizard_13b": {
        "fixed": {
            **WIZARD,
            "gsm8k": replace(WIZARD["gsm8k"], prompt=filled(DELLA_GSM8K.replace(r"\n", "\n"), "question")),
        },
        "dare": {
            "gsm8k": Format(
                filled(DARE_GSM8K, "question"), ("Instruction:", "Instruction", "Response:", "Response"), 1024
            ),
            "mbpp": replace(WIZARD["mbpp"], max_new_tokens=2048),
            "alpaca_eval": replace(WIZARD["alpaca_eval"], stops=(), max_new_tokens=2048),
            "humaneval": WIZARD["humaneval"],
        },
    }
}


def prompt_family(prompts: str, protocol: str) -> str:
    """What a family that follows a protocol is called: `wizard_13b` for della's, else `wizard_13b/fixed`, ...

    This name is part of a run's identity, so that another protocol is another run.
    Raises InputError for an unknown family or protocol, and for a protocol that the family does not have.
    """
    if prompts not in FAMILIES:
        raise InputError(f"unknown prompt family {prompts!r}: write one of {', '.join(sorted(FAMILIES))}")
    if protocol not in PROTOCOLS:
        raise InputError(f"protocol={protocol}: write one of {', '.join(PROTOCOLS)}")
    if protocol == PROTOCOLS[0]:
        return prompts
    if protocol not in VARIANTS.get(prompts, {}):
        raise InputError(f"protocol={protocol}: goes with prompts=wizard_13b; the prompts {prompts} have no protocols")
    return f"{prompts}/{protocol}"


def find_format(prompts: str, benchmark: str) -> Format:
    """The format of a benchmark in a family, named as `prompt_family` does; InputError says what there is instead."""
    family, _, protocol = prompts.partition("/")
    formats = VARIANTS.get(family, {}).get(protocol) if protocol else FAMILIES.get(family)
    if formats is None:
        raise InputError(f"unknown prompt family {prompts!r}: write one of {', '.join(sorted(FAMILIES))}")
    if benchmark not in formats:
        raise InputError(f"the prompts {prompts} have no template for {benchmark}: write prompts=wizard_13b")
    return formats[benchmark]
