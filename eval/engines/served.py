"""The `openai` engine: a model behind an OpenAI-compatible completions endpoint.

    engine = open_engine("openai", Path("model"), url="http://127.0.0.1:8000/v1")

The folder says how prompts become token ids (config, tokenizer; no weights are read until they are swapped). Token ids
are what is sent where the server takes them, as vLLM does, so that BOS is handled here, once; else text, and the number
of tokens that the server counts must be ours, or the answers are refused.

Weights are swapped by the path of a folder that the server can read, where it is a vLLM that offers it:

    VLLM_SERVER_DEV_MODE=1 python -m vllm.entrypoints.openai.api_server --model DIR \
        --worker-extension-cls eval.engines.held.Held          # run in this repository: the checksum is made there
"""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai

from eval.engines.base import Engine
from eval.engines.settings import Settings
from eval.engines.weights import FolderWeights, Weights
from eval.errors import InputError

FIRST_WAIT, LONGEST_WAIT = 0.5, 8.0  # seconds before a malformed answer is asked for again; doubled each time
STOPS = 4  # most that OpenAI's own endpoint takes; answers are cut here too
# vLLM's server would else take these from the model's generation config, and an answer would not be greedy.
GREEDY = {"repetition_penalty": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "add_special_tokens": False}
DEV_ROUTES = ("/collective_rpc", "/reset_prefix_cache")


class ServedEngine(Engine):
    """takes: "tokens" (ids sent, ids come back), "ids" (ids sent, text comes back) or "text"."""

    name = "openai"

    def __init__(self, model: Path, settings: Settings):
        super().__init__(model, settings)
        self._key = os.environ.get(settings.api_key_env) or "none"
        self.client = openai.OpenAI(
            base_url=settings.url, api_key=self._key, max_retries=settings.retries, timeout=settings.timeout_s
        )
        root = str(settings.url).rstrip("/").removesuffix("/v1")
        self._root = self.client.with_options(base_url=root, max_retries=0)
        self._stopped = threading.Event()
        self.served = self._find_model()
        self.has_dev = self._has_dev()
        self.takes = self._find_out()

    def _find_model(self) -> str:
        """The model's name; the server's limit of tokens becomes the engine's."""
        cards = {card.id: card for card in self._try(lambda: self.client.models.list().data)}
        wanted, url = self.settings.served, self.settings.url
        if wanted is None and len(cards) != 1:
            raise InputError(
                f"{url} serves {len(cards)} models: write engine.served=, one of {', '.join(cards) or '?'}"
            )
        name = wanted or next(iter(cards))
        if cards and name not in cards:
            raise InputError(
                f"{url} serves no model {name}: write engine.served=, one of {', '.join(sorted(cards)[:5])}"
            )
        longest = getattr(cards.get(name), "max_model_len", None)
        if longest is not None and self.settings.max_model_len is not None and self.settings.max_model_len > longest:
            raise InputError(
                f"engine max_model_len={self.settings.max_model_len}: {url} takes {longest} tokens; write at most that"
            )
        self.context = min(self.context, longest or self.context)
        return name

    def _has_dev(self) -> bool:
        """Whether the server offers vLLM's endpoints for swapping weights."""
        try:
            paths = self._root.get("/openapi.json", cast_to=object)
        except openai.APIError:
            return False
        return isinstance(paths, dict) and all(route in paths.get("paths", {}) for route in DEV_ROUTES)

    def _find_out(self) -> str:
        """What the server takes and gives, by one short request of each kind."""
        ids = self.encoder.ids("Hello")
        for kind in ("tokens", "ids"):
            try:
                self.takes = kind
                found = self._ask(ids, 1, ())
            except (openai.BadRequestError, openai.UnprocessableEntityError):
                continue
            except openai.OpenAIError as error:
                raise self._refusal(error) from error
            told = getattr(found.choices[0], "prompt_token_ids", None) == ids
            if told if kind == "tokens" else _count(found) == len(ids):
                return kind
        return "text"

    def generate(self, prompts: list[list[int]], limits: list[int], stops: tuple[str, ...]) -> list[list[int]]:
        if self.takes != "tokens":
            raise InputError(f"{self.settings.url} gives no token ids back: ask it for text")
        answers = self._ask_all(prompts, limits, stops)
        tokens = []
        for prompt, answer in zip(prompts, answers, strict=True):
            choice = answer.choices[0]
            if choice.prompt_token_ids != prompt:
                raise InputError(f"{self.settings.url} read other token ids than it was sent: BOS may be doubled")
            new = list(choice.token_ids)
            tokens.append(new[:-1] if new and new[-1] in self.eos_ids else new)
        return tokens

    def answer(self, texts: list[str], limits: list[int], stops: tuple[str, ...]) -> list[str]:
        if self.takes == "tokens":
            return super().answer(texts, limits, stops)
        ids = [self.encoder.ids(text) for text in texts]
        sent: list[Any] = list(ids) if self.takes == "ids" else [self.encoder.text(text) for text in texts]
        answers = self._ask_all(sent, limits, stops)
        for prompt, answer in zip(ids, answers, strict=True):
            counted = _count(answer)
            if counted != len(prompt):
                raise InputError(
                    f"{self.settings.url} counts {counted} tokens in a prompt that has {len(prompt)}: BOS is doubled "
                    "or missing there, or its tokenizer is another; serve it with vLLM, which takes token ids"
                )
        return [answer.choices[0].text for answer in answers]

    def _ask_all(self, prompts: list[Any], limits: list[int], stops: tuple[str, ...]) -> list[Any]:
        """One request per prompt, several at a time; the first that fails for good ends them all."""
        if self.has_dev:
            self._reset_cache()  # so that no answer depends on what was asked before
        self._stopped.clear()

        def one(prompt: Any, limit: int) -> Any:
            if self._stopped.is_set():
                return None
            try:
                return self._ask(prompt, limit, stops)
            except BaseException:
                self._stopped.set()
                raise

        with ThreadPoolExecutor(self.settings.concurrency) as pool:
            waiting = [pool.submit(one, prompt, limit) for prompt, limit in zip(prompts, limits, strict=True)]
            return self._try(lambda: [future.result() for future in waiting])

    def _ask(self, prompt: Any, limit: int, stops: tuple[str, ...]) -> Any:
        """One completion. The client sends again after 408, 409, 429, 5xx, timeouts and cut lines, waiting longer each
        time or as long as the server says; an answer that is no completion is asked for again here.

        Raises openai.OpenAIError, or InputError for an answer that stays malformed.
        """
        extra: dict[str, Any] = {}
        if self.takes == "tokens":
            extra = {**GREEDY, "stop_token_ids": self.eos_ids, "return_token_ids": True}
        # A stop that holds another one never ends an answer first. What is not sent is cut off here afterwards.
        stops = tuple(stop for stop in stops if not any(other != stop and other in stop for other in stops))[:STOPS]
        for attempt in range(self.settings.retries + 1):
            try:
                found = self.client.completions.create(
                    model=self.served,
                    prompt=prompt,
                    max_tokens=limit,
                    temperature=0.0,
                    stop=list(stops) or None,
                    extra_body=extra,
                )
                if isinstance(found.choices[0].text, str):
                    return found
            except (openai.APIResponseValidationError, ValueError, AttributeError, TypeError, IndexError):
                pass
            if attempt < self.settings.retries:
                time.sleep(min(FIRST_WAIT * 2**attempt, LONGEST_WAIT))
        raise InputError(
            f"{self.settings.url} answered {self.settings.retries + 1} times with something that is no completion"
        )

    def _try(self, call: Any) -> Any:
        """The call's result; what goes wrong on the way to the server as one line."""
        try:
            return call()
        except openai.OpenAIError as error:
            raise self._refusal(error) from error

    def _refusal(self, error: Exception) -> InputError:
        url, times = self.settings.url, f"after {self.settings.retries + 1} tries"
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            return InputError(f"{url} refuses the key: set the environment variable {self.settings.api_key_env}")
        if isinstance(error, openai.APITimeoutError):
            return InputError(f"{url} gave no answer in {self.settings.timeout_s:g} s, {times}: raise engine.timeout_s")
        if isinstance(error, openai.APIConnectionError):
            return InputError(f"{url} cannot be reached, {times}: start the server, or correct engine.url")
        said = " ".join(str(error).split()).replace(self._key if len(self._key) > 4 else "\0", "***")
        return InputError(f"{url}: {said[:300]}")

    def check_comparable(self, opened: Weights) -> None:
        """Nothing to be known: another client may have swapped the server's weights."""

    def load(self, weights: Weights) -> None:
        if not self.has_dev:
            raise InputError(
                f"{self.settings.url} offers no way to swap weights: start vLLM's server with VLLM_SERVER_DEV_MODE=1, "
                "or evaluate the model that it serves with scripts.evaluate"
            )
        assert isinstance(weights, FolderWeights)
        can_tell = self._can_tell()
        if not can_tell and self.settings.checksum != "none":
            raise InputError(
                f"{self.settings.url} cannot say which weights it holds: start it with --worker-extension-cls "
                "eval.engines.held.Held, or write engine.checksum=none"
            )
        self._call("reload_weights", weights_path=str(weights.folder))
        if self.tied and can_tell:
            self._call("della_renew_output")
        self._reset_cache()

    def held(self, mode: str) -> list[dict[str, Any]]:
        return [piece for pieces in self._call("della_held", mode=mode) for piece in pieces]

    def _can_tell(self) -> bool:
        """Whether the server's workers have the methods of eval/engines/held.py."""
        try:
            self._root.post("/collective_rpc", cast_to=object, body={"method": "della_ready"})
        except openai.APIStatusError:
            return False
        return True

    def _call(self, method: str, **arguments: str) -> list[Any]:
        """A method of every worker of the server."""
        body = {"method": method, "kwargs": arguments, "timeout": self.settings.timeout_s}
        found = self._try(lambda: self._root.post("/collective_rpc", cast_to=object, body=body))
        return found["results"] if isinstance(found, dict) else []

    def _reset_cache(self) -> None:
        """Cached keys and values belong to the weights and prompts before. Refused while an answer is under way."""
        for _ in range(self.settings.retries + 1):
            found = self._try(lambda: self._root.post("/reset_prefix_cache", cast_to=object))
            if not isinstance(found, dict) or found.get("success", True):
                return
            time.sleep(FIRST_WAIT)
        raise InputError(f"{self.settings.url} does not reset its prefix cache: others are using the server")

    def close(self) -> None:
        self.client.close()


def _count(answer: Any) -> int | None:
    """Tokens of the prompt, as the server counted them."""
    return getattr(getattr(answer, "usage", None), "prompt_tokens", None)
