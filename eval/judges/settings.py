"""What can be chosen about a judge's endpoint, checked before one is opened; light to import.

Endpoint("http://127.0.0.1:8000/v1", "my-model", parallel=4)
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from eval.errors import InputError

ANNOTATORS = ("alpaca_eval_gpt4", "weighted_alpaca_eval_gpt4_turbo")  # of the alpaca_eval package: AlpacaEval 1.0, 2.0
OWN_FIELDS = ("model", "messages", "stream", "n")  # of a request: not for `settings` to change


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible endpoint and how it is asked.

    base_url: up to and with /v1; model: the name it serves; api_key_env: name of the environment variable that holds
    its key (None: it needs none); settings: further fields of every request, before the judge's own.
    parallel: requests at a time; requests_per_minute, tokens_per_minute: its limits (None: none known).
    timeout_s: of one attempt, seconds; attempts: tries of one request before the judge counts as unreachable;
    first_wait_s: before the second try, seconds, doubled for each further one up to a minute; longest_wait_s: what a
    server's Retry-After may ask for, seconds.
    answers: asked for before a verdict that can't be read is null.
    price_in, price_out: per million tokens, in any currency (None: unknown); max_cost: refuse what would cost more.

    Raises InputError for values that make no sense, named judge.NAME as a user writes them.
    """

    base_url: str
    model: str
    api_key_env: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    parallel: int = 8
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    timeout_s: float = 120.0
    attempts: int = 8
    first_wait_s: float = 1.0
    longest_wait_s: float = 600.0
    answers: int = 3
    price_in: float | None = None
    price_out: float | None = None
    max_cost: float | None = None

    def __post_init__(self) -> None:
        address = urlsplit(self.base_url)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise InputError(f"judge.base_url={self.base_url}: write an address as http://127.0.0.1:8000/v1")
        if address.username or address.password or address.query:
            raise InputError("judge.base_url holds a name, a password or a query: put the key into judge.api_key_env")
        if not self.model:
            raise InputError("judge.model is empty: write the name of the model that the endpoint serves")
        if self.api_key_env is not None and not re.fullmatch(r"[A-Za-z_]\w*", self.api_key_env, re.ASCII):
            # Whoever pastes the key itself must not read it again in a log.
            raise InputError("judge.api_key_env is no name of an environment variable: write its NAME, never the key")
        for name in ("parallel", "attempts", "answers"):
            if getattr(self, name) < 1:
                raise InputError(f"judge.{name}={getattr(self, name)}: write a whole number from 1")
        for name in ("timeout_s", "requests_per_minute", "tokens_per_minute"):
            _number(name, getattr(self, name), above=True)
        for name in ("first_wait_s", "longest_wait_s", "price_in", "price_out", "max_cost"):
            _number(name, getattr(self, name), above=False)
        for name in sorted(set(self.settings) & set(OWN_FIELDS)):
            raise InputError(f"judge.settings.{name}: this field is the judge's own; judge.model names the model")
        if self.max_cost is not None and (self.price_in is None or self.price_out is None):
            raise InputError("judge.max_cost needs judge.price_in and judge.price_out, per million tokens")

    def key(self) -> str | None:
        """The API key. Raises InputError if its variable is not set or can't hold one."""
        if self.api_key_env is None:
            return None
        key = os.environ.get(self.api_key_env, "").strip()
        if not key:
            raise InputError(
                f"judge.api_key_env={self.api_key_env}: this variable is not set; export it with the endpoint's key, "
                "or write judge.api_key_env=null for one that needs none"
            )
        if not re.fullmatch(r"[!-~]+", key):
            raise InputError(f"judge.api_key_env={self.api_key_env}: its value is no key (blanks or odd characters)")
        return key


def _number(name: str, value: float | None, above: bool) -> None:
    if value is not None and not (math.isfinite(value) and (value > 0 if above else value >= 0)):
        raise InputError(f"judge.{name}={value:g}: write a number {'above' if above else 'from'} 0")
