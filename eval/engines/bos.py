"""Prompts to token ids, with the beginning-of-sequence token (BOS) handled once for every engine.

    encoder = PromptEncoder(tokenizer, read_wish(folder))
    encoder.ids("Tom has apples")      # what the model reads
    encoder.notes                      # what had to be repaired, one line each

A doubled or missing BOS changes every answer and breaks nothing visibly. Engines are given token ids, so that no server
or library adds one by itself. The rules, in this order:

1. `add_bos_token` in tokenizer_config.json is the author's word: true, and a prompt begins with one BOS; false, and
   none is added to a prompt. (transformers 5 ignores the key where there is a tokenizer.json, whose post-processor may
   say otherwise.)
2. Without the key, what the tokenizer does stands: it adds a BOS or it does not.
3. A prompt that brings its own BOS (chat templates do) keeps one, whoever else would add another; more are dropped.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eval.errors import InputError


def read_wish(model: Path) -> bool | None:
    """`add_bos_token` of a model folder; None where it is not said. Raises InputError unless it is true or false."""
    path = model / "tokenizer_config.json"
    if not path.is_file():
        return None
    wish = json.loads(path.read_text(encoding="utf-8")).get("add_bos_token")
    if wish is not None and not isinstance(wish, bool):
        raise InputError(f"{path}: add_bos_token is {wish!r}; write true or false")
    return wish


class PromptEncoder:
    """Token ids of prompts, remembered, for the next checkpoint asks the same ones again.

    Args:
        tokenizer: of transformers.
        wish: add_bos_token of the model's folder, None where it is not said.
        tell: called with one line for each kind of repair, at its first prompt.

    Raises:
        InputError: a BOS is wished for and the tokenizer has none.
    """

    def __init__(self, tokenizer: Any, wish: bool | None, tell: Callable[[str], object] | None = None):
        self.tokenizer, self.wish = tokenizer, wish
        self.bos: int | None = tokenizer.bos_token_id
        self.notes: list[str] = []
        self._tell = tell or (lambda line: print(f"note: {line}", file=sys.stderr))
        self._ids: dict[str, list[int]] = {}
        if wish and self.bos is None:
            raise InputError(
                "tokenizer_config.json says add_bos_token: true and names no bos_token: name one, or take the key out"
            )

    def ids(self, prompt: str) -> list[int]:
        """Token ids as the model reads them, by the rules above."""
        if prompt not in self._ids:
            self._ids[prompt] = self._encode(prompt)
        return self._ids[prompt]

    def _encode(self, prompt: str) -> list[int]:
        ids = list(self.tokenizer(prompt)["input_ids"])
        if self.bos is None:
            return ids
        found = leading(ids, self.bos)
        own = leading(list(self.tokenizer(prompt, add_special_tokens=False)["input_ids"]), self.bos)
        wanted = int(own > 0 or (found > 0 if self.wish is None else self.wish))
        if found == wanted:
            return ids
        if own:
            self._note(f"a prompt brings {_tokens(own)} of its own; it is read with one")
        elif wanted:
            self._note("the tokenizer adds no BOS though tokenizer_config.json asks for one; it is put before prompts")
        else:
            self._note("the tokenizer adds a BOS though tokenizer_config.json asks for none; it is left out")
        return [self.bos] * wanted + ids[found:]

    def _note(self, line: str) -> None:
        if line not in self.notes:
            self.notes.append(line)
            self._tell(line)

    def adds_bos(self) -> bool:
        """Whether a prompt without a BOS of its own gets one from the tokenizer itself."""
        return self.bos is not None and leading(list(self.tokenizer("a")["input_ids"]), self.bos) > 0

    def text(self, prompt: str) -> str:
        """The prompt for a server that makes token ids itself and adds a BOS as the tokenizer does: not its own too."""
        mark = self.tokenizer.bos_token
        while mark and self.adds_bos() and prompt.startswith(mark):
            prompt = prompt.removeprefix(mark)
        return prompt


def leading(ids: list[int], token: int) -> int:
    """How often a token stands at the beginning."""
    count = 0
    while count < len(ids) and ids[count] == token:
        count += 1
    return count


def _tokens(count: int) -> str:
    return "a BOS" if count == 1 else f"{count} BOS"
