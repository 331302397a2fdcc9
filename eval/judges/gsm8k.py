"""Whether a GSM8K answer is right, asked of a judge by the DELLA paper's protocol (arXiv 2406.11617v1, section 3).

Prompt, tags and rules are those of the released gpt4_as_judge_gsm8k.py (declare-lab/della, read at 0641b61): the system
message and template below to the character, no temperature and no limit on the answer, up to five answers until one
holds exactly one of [[A]] and [[B]]. A response that holds [[N]] itself, and one that no answer annotates, have no
verdict and are left out: accuracy = positive / (positive + negative). The paper's judge is "gpt-4"; of which date, it
does not say.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from eval.judges.ledger import Purse
from eval.judges.panel import Panel
from eval.judges.settings import Endpoint

VERSION = 1  # of what a verdict depends on in this file
ANSWERS = 5
SYSTEM = (
    "You are a helpful assistant, that evaluates models by the quality of their answers to math questions."
    "To do so, I will give you the instructions (prompts) given to the models, and the response of the model and a "
    "reference solution. Please evaluate the models based on mathematical correctness by referring to the reference "
    "solution."
    "Be as objective as possible. After providing your explanation, output your final verdict by strictly following "
    "this format:"
    '"[[A]]" if the response is correct , "[[B]]" if the response is wrong.'
)
TEMPLATE = "Question: {question}\nReference Solution: {target}\n\nResponse: {response}\n\nFinal Verdict:<verdict>."
RIGHT, WRONG, NOT_ANNOTATED = "[[A]]", "[[B]]", "[[N]]"


def parse(choice: dict) -> float | None:
    """1.0 right, 0.0 wrong, None unless the answer holds exactly one tag."""
    text = choice["text"] or ""
    return (1.0 if RIGHT in text else 0.0) if text.count(RIGHT) + text.count(WRONG) == 1 else None


class SolutionJudge:
    """Reads GSM8K's answers. documents are GSM8K's own: question, and answer (the whole reference solution)."""

    name = "della_gsm8k"

    def __init__(self, endpoint: Endpoint, cache: Path, purse: Purse | None = None):
        parts = [VERSION, SYSTEM, TEMPLATE, endpoint.model, endpoint.settings]
        version = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]
        self.model = endpoint.model
        self.panel = Panel(f"{self.name} ({endpoint.model})", endpoint, version, parse, {}, cache, ANSWERS, purse)

    def ready(self) -> None:
        """Raises InputError if the endpoint's key is not set."""
        self.panel.endpoint.key()

    def identity(self) -> dict[str, Any]:
        """What decides its verdicts: name, model, version, and how many answers it asks for."""
        return {"name": self.name, "model": self.model, "version": self.panel.version, "answers": ANSWERS}

    def take_account(self) -> dict[str, Any]:
        """What was asked and paid since this was last called."""
        return self.panel.take_account()

    def accept(self) -> None:
        """Raises JudgeError if the endpoint can't be reached."""
        self.panel.check()

    def judge(self, documents: list[dict], outputs: list[str]) -> list[float | None]:
        """1.0 right, 0.0 wrong, None without a verdict, per document."""
        chats = {
            number: [
                {"role": "system", "content": SYSTEM},
                {
                    "role": "user",
                    "content": TEMPLATE.format(
                        question=document["question"], target=document["answer"], response=output
                    ),
                },
            ]
            for number, (document, output) in enumerate(zip(documents, outputs, strict=True))
            if NOT_ANNOTATED not in output
        }
        verdicts = dict(zip(chats, self.panel.settle(list(chats.values())), strict=True)) if chats else {}
        return [verdicts.get(number) for number in range(len(outputs))]
