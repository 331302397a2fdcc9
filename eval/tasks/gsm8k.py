r"""GSM8K (Cobbe et al. 2021): 1,319 grade-school word problems, zero-shot, three ways to read the answer.

    {"question": "A robe takes 2 bolts of blue fiber and half that much white fiber. How many bolts in total ...?",
     "answer": "It takes 2/2=<<2/2=1>>1 bolt of white fiber\nSo the total ... <<2+1=3>>3 bolts\n#### 3"}

strict and flexible are lm-eval's, with the released YAML's patterns unchanged (declare-lab/della at 8067515,
lm_eval_task_config/gsm8k_cot_zeroshot_alpaca.yaml): they compare text, so 29.00 is not 29. numeric compares values.
The paper's own GSM8K numbers come from GPT-4 as a judge (section 3), which is another metric.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal

STRICT = re.compile(r"The answer is: (\-?[0-9\.\,]+).")
FLEXIBLE = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
IGNORED = [re.compile(pattern) for pattern in (",", r"\$", r"(?s).*#### ", r"\.$")]
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


def score(documents: list[dict], outputs: list[str]) -> dict[str, list[float]]:
    """0.0 or 1.0 per document for flexible, strict and numeric; documents are GSM8K's own dicts."""

    def compare(extract, targets: list) -> list[float]:
        return [float(extract(output) == target) for output, target in zip(outputs, targets, strict=True)]

    golds = [document["answer"] for document in documents]
    texts = [normalise(gold) for gold in golds]
    return {
        "flexible": compare(lambda output: normalise(extract_flexible(output)), texts),
        "strict": compare(lambda output: normalise(extract_strict(output)), texts),
        "numeric": compare(
            extract_number, [Decimal(gold.split("####")[-1].strip().replace(",", "")) for gold in golds]
        ),
    }


def process_results(row: dict, results: list[str]) -> dict[str, float]:
    """lm-eval's per-document hook: the same scorer on a batch of one."""
    return {name: scores[0] for name, scores in score([json.loads(row["document"])], results).items()}
