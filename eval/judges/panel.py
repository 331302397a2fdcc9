"""Questions put to a judge in parallel, each paid for once: every answer is on the disk before it counts.

    panel = Panel(name, endpoint, version, parse, fields, cache=Path("judge.jsonl"))
    panel.settle([[{"role": "user", "content": "..."}], ...])    # one verdict per chat, None without one

The file has one line per answer, also of those that the parser could not read, under a key made of the judge's version
and the chat itself: the instruction, both outputs and their positions. Any number of processes share it. A kill loses
the answers that were on their way, nothing else, and the same command asks only for what is not there.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import threading
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from eval.append_file import AppendFile
from eval.errors import JudgeError
from eval.judges.endpoint import Client, Refusal, Stopped, open_client
from eval.judges.ledger import Ledger, Purse, chat_tokens, cost_text
from eval.judges.settings import Endpoint

Chat = list[dict]
POLL_SECONDS = 0.05
UNLIMITED_ANSWER_TOKENS = 300  # assumed for an answer without max_tokens, in estimates only


class Panel:
    """One judge's verdicts: those on the disk, and the endpoint that gives the others.

    version: of everything a verdict depends on; parse: the verdict in an endpoint's choice, None if it says none;
    fields: of each request, besides model and messages; answers: asked for before a verdict is null (None: the
    endpoint's setting); purse: shared with other judges of this process (None: its own).
    """

    def __init__(
        self,
        name: str,
        endpoint: Endpoint,
        version: str,
        parse: Callable[[dict], float | None],
        fields: Mapping[str, Any],
        cache: Path,
        answers: int | None = None,
        purse: Purse | None = None,
    ):
        self.name, self.endpoint, self.version = name, endpoint, version
        self.answers = endpoint.answers if answers is None else answers
        self.purse = purse or Purse(endpoint.max_cost)
        self._account = Ledger(endpoint.price_in, endpoint.price_out)
        self._parse, self._fields, self._cache = parse, fields, cache
        self._file: AppendFile | None = None
        self._known: dict[str, list[float | None]] = defaultdict(list)
        self._refused: dict[str, str] = {}

    def settle(self, chats: list[Chat]) -> list[float | None]:
        """One verdict per chat; says what it will cost before anything is sent, and what it did cost after.

        Raises InputError if that is more than max_cost, JudgeError if the judge can't be reached: what was judged until
        then is kept.
        """
        keys = [self.key_of(chat) for chat in chats]
        self._refresh()
        todo = {key: chat for key, chat in zip(keys, chats, strict=True) if not self._is_settled(key)}
        ledger = Ledger(self.endpoint.price_in, self.endpoint.price_out, asked=len(chats))
        ledger.known = sum(key not in todo for key in keys)
        try:
            if todo:
                self._announce(todo)
                _run(self._settle_all(todo, ledger))
        except JudgeError as error:
            done = sum(self._is_settled(key) for key in keys)
            raise JudgeError(
                f"judge {self.name} at {self.endpoint.base_url} {error}; {done} of {len(keys)} verdicts are kept in "
                f"{self._cache}, and the same command goes on from there"
            ) from None
        finally:
            verdicts = [self.verdict(key) for key in keys]
            ledger.null = verdicts.count(None)
            self._account.add(ledger)
        print(f"judge {self.name}: {ledger.text()}", file=sys.stderr)
        return verdicts

    def take_account(self) -> dict[str, Any]:
        """The account of every call since this was last called, those that failed included."""
        account, self._account = self._account, Ledger(self.endpoint.price_in, self.endpoint.price_out)
        return account.facts()

    def key_of(self, chat: Chat) -> str:
        """What a chat's answers are kept under."""
        text = json.dumps([self.version, chat], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def verdict(self, key: str) -> float | None:
        """The first verdict among a key's answers, as far as they go."""
        return next((verdict for verdict in self._known.get(key, ()) if verdict is not None), None)

    def check(self) -> None:
        """Raises JudgeError if the endpoint can't be reached, unless verdicts are at hand that may be all it takes."""
        self._refresh()

        async def probe() -> None:
            async with open_client(self.endpoint, Ledger()) as client:
                await client.probe()

        try:
            _run(probe())
        except JudgeError as error:
            text = f"judge {self.name} at {self.endpoint.base_url} {error}"
            if not self._known:
                raise JudgeError(f"{text}; nothing was sent") from None
            print(f"note: {text}; going on with the verdicts in {self._cache}", file=sys.stderr)

    def _is_settled(self, key: str) -> bool:
        return self.verdict(key) is not None or len(self._known.get(key, ())) >= self.answers or key in self._refused

    def _refresh(self) -> AppendFile:
        if self._file is None:
            self._file = AppendFile(self._cache)
        for entry in self._file.refresh():
            key, verdict = entry.get("key"), entry.get("verdict")
            if entry.get("judge") == self.version and isinstance(key, str) and isinstance(verdict, float | None):
                self._known[key].append(verdict)
        return self._file

    def _answer_tokens(self) -> int:
        limit = {**self._fields, **self.endpoint.settings}.get("max_tokens")
        return limit if isinstance(limit, int) else UNLIMITED_ANSWER_TOKENS

    def _announce(self, todo: Mapping[str, Chat]) -> None:
        """The estimate: one answer each. Raises InputError if it is above max_cost."""
        tokens_in = sum(map(chat_tokens, todo.values()))
        tokens_out = len(todo) * self._answer_tokens()
        cost = self._account.price(tokens_in, tokens_out)
        text = f"{len(todo)} verdicts to ask for, about {tokens_in:,} + {tokens_out:,} tokens, {cost_text(cost)}"
        self.purse.check(cost or 0.0, f"judge {self.name}: nothing was sent: {text}")
        print(f"judge {self.name}: {text}", file=sys.stderr)

    async def _settle_all(self, todo: Mapping[str, Chat], ledger: Ledger) -> None:
        queue = deque(todo.items())
        failures: list[Exception] = []
        bar = tqdm(total=len(todo), desc=f"judge {self.name}", unit="verdict", disable=None)
        async with open_client(self.endpoint, ledger) as client:

            async def work() -> None:
                while queue and not client.stop.is_set():
                    try:
                        await self._settle_one(*queue.popleft(), client)
                        bar.update()
                    except Stopped:
                        return
                    except Exception as error:  # what is on its way elsewhere is paid for: it is still waited for
                        failures.append(error)
                        client.stop.set()

            await asyncio.gather(*(work() for _ in range(min(self.endpoint.parallel, len(todo)))))
        bar.close()
        if failures:
            raise failures[0]

    async def _settle_one(self, key: str, chat: Chat, client: Client) -> None:
        async with self._claimed(key, client):
            file = self._refresh()  # another process may have asked meanwhile
            while not self._is_settled(key):
                cost = self._account.price(chat_tokens(chat), self._answer_tokens()) or 0.0
                with self.purse.promise(cost, f"judge {self.name}: the next request, about {cost:.4g}"):
                    reply = await client.ask(chat, self._fields, self._answer_tokens())
                if isinstance(reply, Refusal):
                    self._refused[key] = reply.reason
                    return
                verdict = self._parse(reply.choice)
                entry = {"key": key, "judge": self.version, "verdict": verdict, "answer": reply.choice["text"]}
                file.add({**entry, "in": reply.tokens_in, "out": reply.tokens_out})
                client.ledger.tokens_in += reply.tokens_in
                client.ledger.tokens_out += reply.tokens_out
                client.ledger.unread += verdict is None
                self.purse.spent += client.ledger.price(reply.tokens_in, reply.tokens_out) or 0.0
                self._refresh()

    @asynccontextmanager
    async def _claimed(self, key: str, client: Client) -> AsyncIterator[None]:
        """The key is this process's alone; waits while another has it."""
        while True:
            with self._refresh().claim(key) as mine:
                if mine:
                    yield
                    return
            if client.stop.is_set():
                raise Stopped
            await asyncio.sleep(POLL_SECONDS)


def _run(work: Any) -> None:
    """Runs a coroutine to its end, also where a loop runs already (a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    raised: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(work)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
