"""The `hf` engine: transformers' own generate, batched and left-padded.

The second opinion on vLLM, and what runs where vLLM cannot be installed. A model larger than one GPU: device_map=auto.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig, StoppingCriteriaList, StopStringCriteria

from eval.engines.base import Engine
from eval.engines.settings import Settings
from eval.engines.weights import OUTPUT, Weights
from eval.errors import InputError


class HFEngine(Engine):
    name = "hf"

    def __init__(self, model: Path, settings: Settings):
        super().__init__(model, settings)
        loader: Any = AutoModelForCausalLM  # its annotations deny .to(device)
        dtype = getattr(torch, settings.dtype)
        if settings.device_map:
            self.model = loader.from_pretrained(model, dtype=dtype, device_map=settings.device_map).eval()
            away = sorted(name for name, parameter in self.model.named_parameters() if parameter.is_meta)
            if away:
                raise InputError(
                    f"engine device_map={settings.device_map}: {away[0]} and {len(away) - 1} more fit into no memory "
                    "here; use more GPUs, or engine.dtype=bfloat16"
                )
        else:
            self.model = loader.from_pretrained(model, dtype=dtype).to(find_device(settings.device)).eval()
        self.device = self.model.get_input_embeddings().weight.device
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

    def load(self, weights: Weights) -> None:
        # Not strict: a tied output layer is stored once. All stored names were compared already.
        tensors = {name: weights.tensor(name) for name in weights.names(self.tied)}
        unknown = sorted(set(tensors) - set(self.model.state_dict()))
        if unknown:
            raise InputError(
                f"cannot swap weights: transformers holds {unknown[0]} and {len(unknown) - 1} more under other names; "
                "use engine=vllm, or open an engine on the merged folder"
            )
        self.model.load_state_dict(tensors, strict=False)
        self.model.tie_weights()

    def held(self, mode: str) -> list[dict[str, Any]]:
        from eval.engines.checksum import pieces_of

        state = {name: values for name, values in self.model.state_dict().items() if not (self.tied and name == OUTPUT)}
        found = pieces_of(state, mode)
        if self.tied:  # what the output layer multiplies by is the embeddings, or should be
            inputs = self.model.get_input_embeddings().weight
            name = next(name for name, values in state.items() if values.data_ptr() == inputs.data_ptr())
            found += pieces_of({name: self.model.get_output_embeddings().weight}, mode)
        return found

    def close(self) -> None:
        del self.model


def find_device(named: str | None) -> str:
    """The device: the one named, else a GPU where there is one. Raises InputError for one that is not there."""
    if named is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind, index = torch.device(named).type, torch.device(named).index or 0
    except RuntimeError:
        kind, index = named, 0
    if kind == "cpu" or (kind == "cuda" and index < torch.cuda.device_count()):
        return named
    raise InputError(f"engine device={named}: torch finds {torch.cuda.device_count()} GPUs here; write cpu or null")
