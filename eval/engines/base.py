"""What every engine shares: prompts to token ids, token ids to answers, and the check of swapped weights.

Both engines get the same token ids and cut the same way, so that they can only differ in arithmetic.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

from lm_eval.api.model import LM

from eval.engines.settings import Settings
from eval.errors import InputError


class Engine:
    """A model folder, opened. Subclasses generate from token ids and load a state dict."""

    name: str

    def __init__(self, model: Path, settings: Settings):
        from transformers import AutoTokenizer

        self.settings = settings
        self.tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
        self.shapes = read_shapes(model)
        config = json.loads((model / "config.json").read_text(encoding="utf-8"))
        self.tied = bool(config.get("tie_word_embeddings", False))
        self.context = settings.max_model_len or config["max_position_embeddings"]
        self.eos_ids = find_eos_ids(model, self.tokenizer)
        self.lm = GreedyLM(self)

    def generate(self, prompts: list[list[int]], limits: list[int], stops: tuple[str, ...]) -> list[list[int]]:
        """New token ids per prompt, at most limits[i] of them, ended by EOS (left out) or after a stop string."""
        raise NotImplementedError

    def swap(self, tensors: dict) -> None:
        """Replace all weights by a whole state dict, named as in the model's safetensors, tied weights once.

        Raises InputError when names or shapes are not those of the folder the engine was opened on.
        """
        self.check(tensors)
        self.load(tensors)

    def load(self, tensors: dict) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def check(self, tensors: dict) -> None:
        given = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        if self.tied and "lm_head.weight" not in self.shapes:
            given.pop("lm_head.weight", None)
        for name in sorted(set(self.shapes) | set(given)):
            if self.shapes.get(name) != given.get(name):
                raise InputError(
                    f"cannot swap weights: {name} is {given.get(name, 'missing')}, the engine was opened with "
                    f"{self.shapes.get(name, 'no such tensor')}: open an engine on the merged folder"
                )


class GreedyLM(LM):
    """lm-eval's view of an engine. Token ids of prompts are remembered, for the next checkpoint asks them again."""

    def __init__(self, engine: Engine):
        super().__init__()
        self.engine = engine
        self._ids: dict[str, list[int]] = {}

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
            prompts = [self.encode(requests[index].args[0]) for index in members]
            context = self.engine.context
            room = [min(limit, context - len(prompt)) for prompt in prompts]
            if min(room) < 1:
                raise InputError(
                    f"a prompt of {context - min(room)} tokens leaves no room for an answer: raise max_model_len "
                    f"(now {context}), or use a model with a longer context"
                )
            tokens = self.engine.generate(prompts, room, stops)
            texts = self.engine.tokenizer.batch_decode(tokens, skip_special_tokens=True)
            for index, text in zip(members, texts, strict=True):
                answers[index] = cut(text, stops)
        return answers

    def encode(self, prompt: str) -> list[int]:
        """Token ids with the special tokens that the tokenizer adds; a BOS already in the text is not doubled."""
        if prompt not in self._ids:
            tokenizer = self.engine.tokenizer
            ids = tokenizer(prompt)["input_ids"]
            if tokenizer.bos_token_id is not None and ids[:2] == [tokenizer.bos_token_id] * 2:
                ids = ids[1:]
            self._ids[prompt] = ids
        return self._ids[prompt]

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


def read_shapes(model: Path) -> dict[str, tuple[int, ...]]:
    """Tensor names and shapes from the folder's safetensors headers (8 bytes of length, then JSON)."""
    shapes = {}
    for path in sorted(model.glob("*.safetensors")):
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        shapes.update({name: tuple(row["shape"]) for name, row in header.items() if name != "__metadata__"})
    if not shapes:
        raise InputError(f"no safetensors in {model}: convert the model to safetensors first")
    return shapes
