"""What judging costs: tokens and money, estimated before anything is sent and counted after.

Nobody's tokenizer is at hand for a model behind an endpoint, so a text's tokens are estimated from its bytes. GPT-4
charged 4.6 bytes a token over the 795 prompts of the published verdicts on wizardlm-13b (AlpacaEval 1.0); 4 is assumed,
so that an estimate is rather too high. The account afterwards is the endpoint's own (`usage`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from eval.errors import InputError

BYTES_PER_TOKEN = 4.0
TOKENS_PER_MESSAGE = 4  # what a chat format adds to each
MILLION = 1_000_000


def estimate_tokens(text: str) -> int:
    """Tokens of a text, rather too many (for languages of long words or other scripts it may be too few)."""
    return math.ceil(len(text.encode("utf-8", "replace")) / BYTES_PER_TOKEN)


def chat_tokens(chat: list[dict]) -> int:
    """Estimated tokens of a request's messages."""
    return sum(estimate_tokens(message["content"]) + TOKENS_PER_MESSAGE for message in chat)


@dataclass
class Ledger:
    """The account of one call, or of several added up.

    asked: verdicts wanted; known: of these, on the disk before; null: of these, without a verdict at the end.
    requests: sent, the failed ones included; failed: of these, those without any answer (what a provider charges for
    an answer that it cut short or sent too late is not known here);
    unread: answers that were paid for and say nothing the judge's parser can read; refused: questions that the
    endpoint won't take (too long for the model, or against its policy).
    """

    price_in: float | None = None
    price_out: float | None = None
    asked: int = 0
    known: int = 0
    null: int = 0
    requests: int = 0
    failed: int = 0
    unread: int = 0
    refused: int = 0
    tokens_in: int = 0
    tokens_out: int = 0

    @property
    def cost(self) -> float | None:
        """In the currency of the prices; None where one of them is unknown."""
        return self.price(self.tokens_in, self.tokens_out)

    def price(self, tokens_in: float, tokens_out: float) -> float | None:
        """What so many tokens cost."""
        if self.price_in is None or self.price_out is None:
            return None
        return (tokens_in * self.price_in + tokens_out * self.price_out) / MILLION

    def add(self, other: Ledger) -> None:
        """Takes another call's account into this one."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def facts(self) -> dict[str, int | float | None]:
        """For a record's provenance."""
        return {**{name: getattr(self, name) for name in _COUNTS}, "cost": self.cost}

    def text(self) -> str:
        """For the terminal."""
        parts = [f"{self.asked} verdicts", f"{self.known} of them known before", f"{self.null} null"]
        sent = f"{self.requests} requests ({self.failed} failed, {self.unread} unreadable, {self.refused} refused)"
        return ", ".join([*parts, sent, f"{self.tokens_in:,} + {self.tokens_out:,} tokens", cost_text(self.cost)])


_COUNTS = [name for name in asdict(Ledger()) if not name.startswith("price")]


def cost_text(cost: float | None) -> str:
    """A cost for people; no currency, as the prices name none."""
    return "cost unknown (set judge.price_in and judge.price_out)" if cost is None else f"cost {cost:.4g}"


class Purse:
    """What one process may spend, whoever of its judges spends it; limit None: anything."""

    def __init__(self, limit: float | None = None):
        self.limit, self.spent, self._promised = limit, 0.0, 0.0

    def check(self, cost: float, who: str) -> None:
        """Raises InputError if `cost` more would pass the limit; who: the start of its line."""
        if self.limit is not None and self.spent + self._promised + cost > self.limit:
            already = f" after {self.spent:.4g} spent" if self.spent else ""
            raise InputError(
                f"{who}{already}: above judge.max_cost={self.limit:g}; allow more, or judge less (limit=N): "
                "what was judged is kept"
            )

    @contextmanager
    def promise(self, cost: float, who: str) -> Iterator[None]:
        """Sets `cost` apart for the length of the block. Raises InputError as `check` does."""
        self.check(cost, who)
        self._promised += cost
        try:
            yield
        finally:
            self._promised -= cost
