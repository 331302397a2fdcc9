"""The `hf` engine: transformers' own generate, batched and left-padded.

The second opinion on vLLM, and what runs where vLLM cannot be installed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig, StoppingCriteriaList, StopStringCriteria

from eval.engines.base import Engine
from eval.engines.settings import Settings


class HFEngine(Engine):
    name = "hf"

    def __init__(self, model: Path, settings: Settings):
        super().__init__(model, settings)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        loader: Any = AutoModelForCausalLM  # its annotations deny .to(device)
        self.model = loader.from_pretrained(model, dtype=getattr(torch, settings.dtype))
        self.model.to(self.device).eval()
        self.pad_id = self.tokenizer.pad_token_id
        if self.pad_id is None:
            self.pad_id = self.eos_ids[0] if self.eos_ids else 0

    def generate(self, prompts: list[list[int]], limits: list[int], stops: tuple[str, ...]) -> list[list[int]]:
        answers: list[list[int]] = [[] for _ in prompts]
        # Prompts of like length share a batch: padding is work for nothing.
        order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
        for start in range(0, len(order), self.settings.batch_size):
            batch = order[start : start + self.settings.batch_size]
            new = self._generate_batch(
                [prompts[index] for index in batch], max(limits[index] for index in batch), stops
            )
            for index, tokens in zip(batch, new, strict=True):
                answers[index] = self._trim(tokens[: limits[index]])
        return answers

    def _generate_batch(self, prompts: list[list[int]], limit: int, stops: tuple[str, ...]) -> list[list[int]]:
        width = max(map(len, prompts))
        ids = [[self.pad_id] * (width - len(prompt)) + prompt for prompt in prompts]
        mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        # A fresh configuration: the folder's own may ask for sampling or penalties.
        wanted = GenerationConfig(
            do_sample=False,
            max_new_tokens=limit,
            pad_token_id=self.pad_id,
            eos_token_id=self.eos_ids or None,
            bos_token_id=self.tokenizer.bos_token_id,
        )
        criteria = StoppingCriteriaList([StopStringCriteria(self.tokenizer, list(stops))] if stops else [])
        with torch.inference_mode():
            output = self.model.generate(
                torch.tensor(ids, device=self.device),
                attention_mask=torch.tensor(mask, device=self.device),
                generation_config=wanted,
                stopping_criteria=criteria,
            )
        return output[:, width:].tolist()

    def _trim(self, tokens: list[int]) -> list[int]:
        ends = [tokens.index(eos) for eos in self.eos_ids if eos in tokens]
        return tokens[: min(ends)] if ends else tokens

    def load(self, tensors: dict[str, torch.Tensor]) -> None:
        # Not strict: a tied output layer is stored once. check() has compared all the stored names already.
        self.model.load_state_dict(tensors, strict=False)
        self.model.tie_weights()

    def close(self) -> None:
        del self.model
