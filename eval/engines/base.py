"""What every engine shares: prompts to token ids, token ids to answers, and the check of swapped weights.

All engines get the same token ids and cut the same way, so that they can only differ in arithmetic.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lm_eval.api.model import LM

from eval.engines.bos import PromptEncoder, read_wish
from eval.engines.settings import Settings
from eval.engines.weights import FolderWeights, Weights
from eval.errors import InputError
from eval.tasks.chat import render_chat


class Engine:
    """A model folder, opened. Subclasses generate from token ids, load weights, and say what they hold.

    checksum: of the weights swapped in last, as compared in the engine; None before the first, and for checksum=none.
    """

    name: str

    def __init__(self, model: Path, settings: Settings):
        from transformers import AutoTokenizer

        self.settings = settings
        self.model_folder = model
        self.tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
        self.encoder = PromptEncoder(self.tokenizer, read_wish(model))
        config = json.loads((model / "config.json").read_text(encoding="utf-8"))
        self.tied = bool(config.get("tie_word_embeddings", False))
        self.context = settings.max_model_len or config["max_position_embeddings"]
        self.eos_ids = find_eos_ids(model, self.tokenizer)
        self.checksum: str | None = None
        self.is_comparable = False
        self.lm = GreedyLM(self)

    @property
    def swaps(self) -> str:
        """What `swap` takes: "tensors" (a folder too), or a "folder" alone."""
        return self.settings.swaps

    def generate(self, prompts: list[list[int]], limits: list[int], stops: tuple[str, ...]) -> list[list[int]]:
        """New token ids per prompt, at most limits[i] of them, ended by EOS (left out) or after a stop string."""
        raise NotImplementedError

    def answer(self, texts: list[str], limits: list[int], stops: tuple[str, ...]) -> list[str]:
        """Answers to prompts given as text, not yet cut at stop strings."""
        tokens = self.generate([self.encoder.ids(text) for text in texts], limits, stops)
        return self.tokenizer.batch_decode(tokens, skip_special_tokens=True)

    def swap(self, weights: Mapping[str, Any] | Path) -> str | None:
        """Replace all weights, then compare what the engine holds with them, as the setting `checksum` says.

        Args:
            weights: a whole state dict, named as in the model's safetensors (tied weights once), or a folder of them.

        Returns:
            The checksum; None for checksum=none.

        Raises:
            InputError: names or shapes are not those of the folder the engine was opened on (nothing is changed then),
                it takes no weights, or what it holds afterwards is not what it was given.
        """
        given = FolderWeights(weights) if isinstance(weights, Path) else Weights(weights)
        if self.swaps == "folder" and not isinstance(given, FolderWeights):
            raise TypeError("this engine's weights are held by other processes: swap(folder)")
        opened = FolderWeights(self.model_folder)
        given.check(opened, self.tied)
        compares = self.settings.checksum != "none"
        if compares and not self.is_comparable:
            self.check_comparable(opened)
        self.checksum = None
        self.load(given)
        if compares:
            self.checksum = self._compare(given)
        return self.checksum

    def _compare(self, weights: Weights) -> str:
        return weights.compare(self.held(self.settings.checksum), self.tied, self.settings.dtype, self.name)

    def check_comparable(self, opened: Weights) -> None:
        """Before the first swap: what the engine says it holds must be the weights it was opened on.

        Raises InputError where it is not: an architecture whose weights the engine holds in another arrangement.
        """
        try:
            self._compare(opened)
        except InputError as error:
            raise InputError(
                f"{self.model_folder}: weights of this architecture cannot be compared in engine={self.name}; write "
                f"engine.checksum=none ({error})"
            ) from error
        self.is_comparable = True

    def load(self, weights: Weights) -> None:
        raise NotImplementedError

    def held(self, mode: str) -> list[dict[str, Any]]:
        """What the engine holds: pieces of eval/engines/checksum.py; mode: full | sample."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class GreedyLM(LM):
    """lm-eval's view of an engine."""

    def __init__(self, engine: Engine):
        super().__init__()
        self.engine = engine

    def generate_until(self, requests: list, disable_tqdm: bool = False) -> list[str]:
        """The greedy answers, cut before the first stop string; requests with equal settings are generated together.

        Raises InputError for a prompt that leaves no room for an answer.
        """
        groups: dict[tuple, list[int]] = {}
        for index, request in enumerate(requests):
            wanted = request.args[1]
            until = wanted.get("until") or ()
            stops = (until,) if isinstance(until, str) else tuple(until)
            groups.setdefault((wanted.get("max_gen_toks", 256), stops), []).append(index)
        answers = [""] * len(requests)
        for (limit, stops), members in groups.items():
            prompts = [requests[index].args[0] for index in members]
            context = self.engine.context
            room = [min(limit, context - len(self.encode(prompt))) for prompt in prompts]
            if min(room) < 1:
                raise InputError(
                    f"a prompt of {context - min(room)} tokens leaves no room for an answer: raise max_model_len "
                    f"(now {context}), or use a model with a longer context"
                )
            for index, text in zip(members, self.engine.answer(prompts, room, stops), strict=True):
                answers[index] = cut(text, stops)
        return answers

    def encode(self, prompt: str) -> list[int]:
        """Token ids as every engine gets them; one BOS or none, by the rules of eval/engines/bos.py."""
        return self.engine.encoder.ids(prompt)

    @property
    def tokenizer_name(self) -> str:
        """lm-eval keeps rendered chats apart by it."""
        return self.engine.tokenizer.name_or_path.replace("/", "__")

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The text of a chat by the model's own template; a BOS in it is not doubled when it becomes token ids.

        Raises InputError where its tokenizer has no template.
        """
        return render_chat(self.engine.tokenizer, chat_history, add_generation_prompt)

    def loglikelihood(self, requests: list) -> list:
        raise NotImplementedError("these engines only generate")

    def loglikelihood_rolling(self, requests: list) -> list:
        raise NotImplementedError("these engines only generate")


def cut(text: str, stops: tuple[str, ...]) -> str:
    """The text before the stop string that comes first."""
    found = [position for stop in stops if (position := text.find(stop)) >= 0]
    return text[: min(found)] if found else text


def find_eos_ids(model: Path, tokenizer) -> list[int]:
    """Every token id that ends an answer: the tokenizer's and the generation config's."""
    ids = {tokenizer.eos_token_id} - {None}
    path = model / "generation_config.json"
    if path.is_file():
        listed = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id") or []
        ids.update(listed if isinstance(listed, list) else [listed])
    return sorted(ids)
