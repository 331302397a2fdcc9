"""AlpacaEval's judges behind an endpoint: which of two outputs is better, asked as the alpaca_eval package asks.

AlpacaEval 1.0 (`alpaca_eval_gpt4`: GPT-4 ranks the two, 1 or 0) and 2.0 (`weighted_alpaca_eval_gpt4_turbo`: GPT-4 Turbo
names the better one, and the probability of that token is the verdict), Li et al. 2023. Configuration, prompt,
position rule, request fields and parser are the package's (eval/judges/annotator.py). Sending is ours
(eval/judges/panel.py): the package takes an answer that never came for an empty one, and no two processes of it share
a cache.

    judge = PairwiseJudge("alpaca_eval_gpt4", Endpoint("http://127.0.0.1:8000/v1", "gpt-4"), Path("judge.jsonl"))
    judge.judge(instructions, outputs, references, documents)
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from eval.judge import Judge
from eval.judges.annotator import Annotator
from eval.judges.ledger import Purse
from eval.judges.length import PUBLISHED_SHA256, length_controlled, sha256_of
from eval.judges.panel import Panel
from eval.judges.settings import Endpoint

# The outputs that each is published against.
BASELINES = {"alpaca_eval_gpt4": "text_davinci_003", "weighted_alpaca_eval_gpt4_turbo": "gpt4_1106_preview"}


class PairwiseJudge(Judge):
    """One of ANNOTATORS behind an endpoint; extra metric win_rate_lc if length_data names alpaca_eval's df_gamed.csv.

    Equal outputs are a draw that nobody is asked about, as in the package. Opening it sends nothing.
    """

    def __init__(
        self, name: str, endpoint: Endpoint, cache: Path, length_data: Path | None = None, purse: Purse | None = None
    ):
        """Raises InputError for an unknown annotator or a missing length_data."""
        self.annotator = Annotator(name)
        self.name, self.model, self.length_data = name, endpoint.model, length_data
        self._length_sha256 = None if length_data is None else sha256_of(length_data)
        parts = [self.annotator.version, endpoint.model, self.annotator.request, endpoint.settings]
        version = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]
        label, parse = f"{name} ({endpoint.model})", self.annotator.parse
        self.panel = Panel(label, endpoint, version, parse, self.annotator.request, cache, purse=purse)
        self._last: tuple[list[tuple], list[float | None]] = ([], [])

    @property
    def label(self) -> str:
        return self.panel.name

    def ready(self) -> None:
        super().ready()
        self.panel.endpoint.key()

    def identity(self) -> dict[str, dict[str, Any]]:
        found = {"name": self.name, "model": self.model, "version": self.panel.version, "answers": self.panel.answers}
        if self.length_data is not None:
            found["length_data"] = self._length_sha256
        return {**super().identity(), "alpaca_eval": found}

    def take_accounts(self) -> dict[str, dict[str, Any]]:
        return {**super().take_accounts(), "alpaca_eval": self.panel.take_account()}

    def accept(self, documents: list[dict]) -> None:
        """Says what would not be AlpacaEval's own figure. Raises JudgeError if the endpoint can't be reached."""
        baseline, known = BASELINES[self.name], {document.get("generator") for document in documents}
        if other := sorted(str(name) for name in known if name in BASELINES.values() and name != baseline):
            print(
                f"note: judge {self.name} is published against the reference outputs of {baseline}, these are "
                f"{other[0]}'s: not comparable with its leaderboard",
                file=sys.stderr,
            )
        if self.length_data is not None and not _is_published(documents):
            print("note: no win_rate_lc: its data is of the 805 published instructions, all of them", file=sys.stderr)
        self.panel.check()

    def judge(
        self, instructions: list[str], outputs: list[str], references: list[str], documents: list[dict]
    ) -> list[float | None]:
        """0.0 to 1.0 per document, for the model's output; None without a verdict."""
        pairs = list(zip(instructions, references, outputs, strict=True))
        open_pairs = list(dict.fromkeys(pair for pair in pairs if pair[1] != pair[2]))
        verdicts: dict[tuple, float | None] = {}
        if open_pairs:
            shown = self.annotator.chats(*(list(column) for column in zip(*open_pairs, strict=True)))
            found = self.panel.settle([chat for chat, _ in shown])
            for pair, (_, switched), verdict in zip(open_pairs, shown, found, strict=True):
                verdicts[pair] = None if verdict is None else (2 - verdict if switched else verdict - 1)
        preferences = [0.5 if pair[1] == pair[2] else verdicts[pair] for pair in pairs]
        self._last = pairs, preferences
        return preferences

    def extra_metrics(self, outputs: list[str], documents: list[dict]) -> dict[str, list[float | None]]:
        """win_rate_lc, if length_data is given and these are the published instructions: its mean is the figure."""
        if self.length_data is None or not _is_published(documents):
            return {}
        instructions = [document["instruction"] for document in documents]
        references = [document["output"] for document in documents]
        if self._last[0] != list(zip(instructions, references, outputs, strict=True)):
            self.judge(instructions, outputs, references, documents)
        return {"win_rate_lc": [*length_controlled(self._last[1], references, outputs, self.length_data).predictions]}


def _is_published(documents: list[dict]) -> bool:
    text = json.dumps([document["instruction"] for document in documents])
    return hashlib.sha256(text.encode()).hexdigest() == PUBLISHED_SHA256
