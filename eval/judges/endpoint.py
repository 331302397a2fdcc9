"""Requests to an OpenAI-compatible endpoint: within its limits, again where that helps, and never a score by accident.

An attempt that fails for reasons that pass (connection, timeout, 408, 409, 429, 5xx, an answer that is no chat
completion) is repeated, after what Retry-After asks for or after a doubling wait with jitter. What will not pass (a
wrong key, an unknown model, a spent quota) ends everything at once. A question that the endpoint won't take (too long,
against its policy) is a Refusal. Whatever else comes is an answer, to be read by the judge's own parser.
"""

from __future__ import annotations

import asyncio
import email.utils
import json
import random
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from eval.errors import JudgeError
from eval.judges.ledger import Ledger, chat_tokens, estimate_tokens
from eval.judges.settings import Endpoint

BACKOFF_CAP_S = 60.0
PROBE_ATTEMPTS = 3
PROBE_TIMEOUT_S = 30.0
KEY_REFUSED = (401, 403)
PASSING = (408, 409, 429)  # and every 5xx
# What the message or code of a refused question says; "different prompt": a filter, as alpaca_eval 0.6.6 has it.
REFUSED: tuple[str, ...] = ("context length", "context_length", "maximum context", "maximum model length", "too long")
REFUSED += ("reduce the length", "policy", "content_filter", "different prompt")


class Reply(NamedTuple):
    """An answer: the choice as the endpoint sent it, with the `text` that alpaca_eval would read from it."""

    choice: dict
    tokens_in: int
    tokens_out: int


class Refusal(NamedTuple):
    """The endpoint won't take this question."""

    reason: str


class Stopped(Exception):
    """Another request has found out that there is no use in going on."""


class _Passing(Exception):
    """This attempt failed for a reason that may pass; `wait` is what the server asks for, seconds."""

    def __init__(self, reason: str, wait: float | None = None):
        super().__init__(reason)
        self.wait = wait


class Pace:
    """At most so many units a minute, evenly spaced, so that no minute ever sees more; None: as fast as it goes."""

    def __init__(self, per_minute: float | None):
        self._seconds_per_unit = 60.0 / per_minute if per_minute else 0.0
        self._next = 0.0

    def reserve(self, units: float) -> float:
        """Takes the next free moment for `units` and returns how many seconds away it is."""
        now = time.monotonic()
        start = max(now, self._next)
        self._next = start + units * self._seconds_per_unit
        return start - now

    def correct(self, units: float) -> None:
        """It was so many units more (or fewer) than reserved."""
        self._next += units * self._seconds_per_unit

    def hold(self, seconds: float) -> None:
        """Nothing more starts before so many seconds have passed."""
        self._next = max(self._next, time.monotonic() + seconds)


class Client:
    """An open connection to an endpoint; `open_client` makes one. Counts what it sends in `ledger`."""

    def __init__(self, settings: Endpoint, api: Any, key: str | None, ledger: Ledger):
        self.settings, self.ledger = settings, ledger
        self.stop = asyncio.Event()  # set: nothing more is sent, what is on its way is still waited for
        self._api, self._key = api, key
        self._requests, self._tokens = Pace(settings.requests_per_minute), Pace(settings.tokens_per_minute)

    async def ask(self, chat: list[dict], fields: Mapping[str, Any], answer_tokens: int) -> Reply | Refusal:
        """The endpoint's answer to a chat. answer_tokens: what the answer may take, for the limit on tokens.

        Raises JudgeError if the endpoint can't be reached or used, Stopped if `stop` is set before an attempt.
        """
        body = {**fields, **self.settings.settings}
        expected = chat_tokens(chat) + answer_tokens

        async def attempt() -> Reply | Refusal:
            await self._rest(max(self._requests.reserve(1), self._tokens.reserve(expected)))
            self.ledger.requests += 1
            try:
                found = self._read(await self._send(chat, body), chat)
            except _Passing:
                self.ledger.failed += 1
                raise
            if isinstance(found, Reply):
                self._tokens.correct(found.tokens_in + found.tokens_out - expected)
            return found

        return await self._again(attempt, self.settings.attempts)

    async def probe(self) -> None:
        """Raises JudgeError if the endpoint can't be reached or refuses the key. Asks which models it has: free."""

        async def attempt() -> None:
            seconds = min(self.settings.timeout_s, PROBE_TIMEOUT_S)
            await self._call(self._api.models.with_raw_response.list(), seconds, probing=True)

        await self._again(attempt, min(self.settings.attempts, PROBE_ATTEMPTS))

    async def _again(self, attempt: Any, attempts: int) -> Any:
        """What `attempt` returns, after as many tries as it takes."""
        wait = self.settings.first_wait_s
        for number in range(1, attempts + 1):
            try:
                return await attempt()
            except _Passing as problem:
                if problem.wait is not None and problem.wait > self.settings.longest_wait_s:
                    raise JudgeError(f"{problem}, and it asks to come back in {problem.wait:.0f} s") from None
                if number == attempts:
                    raise JudgeError(f"{problem} ({attempts} attempts)") from None
                if problem.wait is not None:
                    self._requests.hold(problem.wait)  # the limit is the account's: it holds for every request
                pause = max(problem.wait or 0.0, wait * random.uniform(0.5, 1.0))
                wait = min(2 * wait, BACKOFF_CAP_S)
            await self._rest(pause)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _rest(self, seconds: float) -> None:
        """Waits. Raises Stopped as soon as `stop` is set."""
        if seconds > 0:
            try:
                await asyncio.wait_for(self.stop.wait(), seconds)
            except TimeoutError:
                return
        if self.stop.is_set():
            raise Stopped

    async def _send(self, chat: list[dict], body: Mapping[str, Any]) -> bytes | Refusal:
        request = self._api.chat.completions.with_raw_response.create(
            model=self.settings.model, messages=[_sendable(message) for message in chat], extra_body=body
        )
        return await self._call(request, self.settings.timeout_s)

    async def _call(self, request: Any, seconds: float, probing: bool = False) -> bytes | Refusal:
        """The body of a 2xx response, or a Refusal. Raises _Passing or JudgeError for everything else."""
        import openai

        try:
            async with asyncio.timeout(seconds):  # of the whole: a server that drips bytes never times out otherwise
                return (await request).http_response.content
        except (TimeoutError, openai.APITimeoutError):
            raise _Passing(f"no answer within {seconds:g} s") from None
        except openai.APIStatusError as error:
            if probing and error.status_code < 500 and error.status_code not in KEY_REFUSED:
                return Refusal("it has no list of models, but it is there")
            return self._judge_status(error)
        except openai.APIConnectionError as error:
            raise _Passing(f"cannot be reached: {self._said(_deepest(error))}") from None
        except openai.OpenAIError as error:
            raise JudgeError(f"cannot be asked: {self._said(error)}") from None

    def _judge_status(self, error: Any) -> Refusal:
        status, said = error.status_code, self._said(_message(error))
        if status in KEY_REFUSED:  # the server's own words may repeat a part of the key
            where = self.settings.api_key_env
            raise JudgeError(f"refuses {f'the key in {where}' if where else 'requests without a key'} (HTTP {status})")
        if status == 429 and "quota" in f"{error.code} {said}".lower():
            raise JudgeError(f"the account's quota is spent (HTTP 429: {said})")
        if status in PASSING or status >= 500:
            raise _Passing(f"answers HTTP {status}: {said}", retry_after(error.response.headers))
        if status in (400, 413, 422) and any(sign in f"{error.code} {said}".lower() for sign in REFUSED):
            self.ledger.refused += 1
            return Refusal(f"HTTP {status}: {said}")
        raise JudgeError(f"does not take the request (HTTP {status}: {said})")

    def _said(self, words: object) -> str:
        """On one line, short, without the key."""
        text = " ".join(str(words).split())
        return (text.replace(self._key, "***") if self._key else text)[:200] or type(words).__name__

    def _read(self, body: bytes | Refusal, chat: list[dict]) -> Reply | Refusal:
        """The body of a chat completion. Raises _Passing for one that is none."""
        if isinstance(body, Refusal):
            return body
        try:
            completion = json.loads(body)
            choice = completion["choices"][0]
            text = message_text(choice["message"])
            if not isinstance(text, str | None):
                raise TypeError("an answer is a text or null")
        except (ValueError, LookupError, TypeError, AttributeError):
            raise _Passing("answers something that is no chat completion") from None
        usage = completion.get("usage")
        usage = usage if isinstance(usage, dict) else {}
        tokens_in, tokens_out = usage.get("prompt_tokens"), usage.get("completion_tokens")
        tokens_in = tokens_in if isinstance(tokens_in, int) else chat_tokens(chat)
        tokens_out = tokens_out if isinstance(tokens_out, int) else estimate_tokens(text or "")
        return Reply({**choice, "text": text, "total_tokens": tokens_in + tokens_out}, tokens_in, tokens_out)


def message_text(message: dict) -> str | None:
    """What alpaca_eval 0.6.6 reads from a chat message (decoders/openai.py): a call's arguments before the content,
    and a blank for an empty content; None where there is nothing."""
    if message.get("tool_calls"):
        return message["tool_calls"][0]["function"]["arguments"]
    if message.get("function_call"):
        return message["function_call"]["arguments"]
    content = message.get("content")
    return " " if content == "" else content


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a response asks to wait: `retry-after-ms`, or `Retry-After` in seconds or as a date."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        if 0 <= seconds < float("inf"):
            return seconds
    try:
        date = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    return max(0.0, date.timestamp() - time.time())


def _sendable(message: dict) -> dict:
    """A message without halves of surrogate pairs, which no encoding takes."""
    return {**message, "content": message["content"].encode("utf-8", "replace").decode()}


def _message(error: Any) -> object:
    return error.body.get("message") or error.body if isinstance(error.body, dict) else error.body or "no message"


def _deepest(error: BaseException) -> BaseException:
    """The first cause: `Connection refused` rather than `Connection error`."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


@asynccontextmanager
async def open_client(settings: Endpoint, ledger: Ledger) -> AsyncIterator[Client]:
    """A client for the length of the block. Raises InputError if the endpoint's key is not set."""
    import openai  # a second: not before something is asked

    key = settings.key()
    api = openai.AsyncOpenAI(
        api_key=key or "none", base_url=settings.base_url, max_retries=0, timeout=settings.timeout_s
    )
    async with api:
        yield Client(settings, api, key, ledger)
