r"""GSM8K (Cobbe et al. 2021): 1,319 grade-school word problems, zero-shot, four ways to read the answer.

    {"question": "A robe takes 2 bolts of blue fiber and half that much white fiber. How many bolts in total ...?",
     "answer": "It takes 2/2=<<2/2=1>>1 bolt of white fiber\nSo the total ... <<2+1=3>>3 bolts\n#### 3"}

strict and flexible are lm-eval's, with the released YAML's patterns unchanged (declare-lab/della at 8067515,
lm_eval_task_config/gsm8k_cot_zeroshot_alpaca.yaml): they compare text, so 29.00 is not 29.

numeric compares the value of the last number: 29.00, $29.00 and 29. are 29, 1,319 is 1319, -$7 is -7. A sign is the
ASCII minus, unless a digit is before it (in 10-3 the last number is 3). There are neither fractions nor exponents: the
last number of 3/4 is 4, of 1e3 it is 3. Every answer of GSM8K is a whole number.

mergelm is DARE's (yule-BUAA/MergeLM at 6d49ad9, utils/evaluate_llms_utils.py, extract_answer_number; protocol=dare
alone): the first number after the last "The answer is: ", rounded to a whole one, a half to the even side; without that
sentence an answer is wrong. A number there has one separator: 1,234,567 is read as 1234, 3/4 as 1, 10-3 as 10.

The paper's own GSM8K numbers come from GPT-4 as a judge (section 3), which is another metric.
"""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal

STRICT = re.compile(r"The answer is: (\-?[0-9\.\,]+).")
FLEXIBLE = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
IGNORED = [re.compile(pattern) for pattern in (",", r"\$", r"(?s).*#### ", r"\.$")]
MERGELM = re.compile(r"[\-+]?\d*[\.,/]?\d+")
# A number with optional sign, dollar, thousands commas and decimals; the minus of "10-3" is not a sign.
SIGN = r"(?:-\$?|\$-?)?"
NUMBER = re.compile(rf"(?<![\d.]){SIGN}\.\d+|(?<!\d){SIGN}(?:\d{{1,3}}(?:,\d{{3}})+(?!\d)|\d+)(?:\.\d+)?", re.ASCII)


def normalise(text: str) -> str:
    """What lm-eval's exact_match compares, with the released YAML's options."""
    for pattern in IGNORED:
        text = pattern.sub("", text)
    return text.lower()


def extract_strict(output: str) -> str:
    found = STRICT.search(output)
    return found[1].strip() if found else "[invalid]"


def extract_flexible(output: str) -> str:
    found = FLEXIBLE.findall(output)
    return (found[-1][0] or found[-1][1]).strip() if found else "[invalid]"


def extract_number(text: str) -> Decimal | None:
    """The value of the last number in a text: 29 for "about $29.00.", None without a number."""
    found = NUMBER.findall(text)
    return Decimal(found[-1].replace("$", "").replace(",", "")) if found else None


def extract_mergelm(output: str) -> int | None:
    """MergeLM's answer (see above); None where it has none, or where its code would stop with an error."""
    _, sentence, answer = output.rpartition("The answer is: ")
    found = MERGELM.search(answer) if sentence else None
    if found is None:
        return None
    number, slash, divisor = found[0].replace(",", "").partition("/")
    try:
        value = int(number) / int(divisor) if slash and divisor != "0" else float(number)
    except (ValueError, ZeroDivisionError, OverflowError):
        return None
    return round(value) if math.isfinite(value) else None


def metrics(prompts: str) -> tuple[str, ...]:
    """The names of the scores with a family's prompts: mergelm where they are DARE's."""
    return ("flexible", "strict", "numeric", *(("mergelm",) if prompts.endswith("/dare") else ()))


def score(documents: list[dict], outputs: list[str], *, prompts: str = "wizard_13b") -> dict[str, list[float]]:
    """0.0 or 1.0 per document for flexible, strict and numeric, and mergelm where the prompts are DARE's.

    documents are GSM8K's own dicts; prompts: the family's name as `eval.tasks.prompts.prompt_family` gives it.
    """

    def compare(extract, targets: list) -> list[float]:
        return [float(extract(output) == target) for output, target in zip(outputs, targets, strict=True)]

    golds = [document["answer"] for document in documents]
    texts = [normalise(gold) for gold in golds]
    values = [Decimal(gold.split("####")[-1].strip().replace(",", "")) for gold in golds]
    scores = {
        "flexible": compare(lambda output: normalise(extract_flexible(output)), texts),
        "strict": compare(lambda output: normalise(extract_strict(output)), texts),
        "numeric": compare(extract_number, values),
    }
    if "mergelm" in metrics(prompts):
        scores["mergelm"] = compare(extract_mergelm, values)
    return scores


def process_results(row: dict, results: list[str]) -> dict[str, float]:
    """lm-eval's per-document hook: the same scorer on a batch of one."""
    scores = score([json.loads(row["document"])], results, prompts=row["prompts"])
    return {name: values[0] for name, values in scores.items()}
