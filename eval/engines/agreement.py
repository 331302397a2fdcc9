"""Do two engines give the same greedy outputs, and is every difference a tie within float error?

    for one in differences(first, second, eos):      # token ids of both engines' answers to the same prompts
        print(one, measure_gap(folder, prompts[one.prompt], one))

Where two answers part, both engines saw the same tokens and picked the larger of two logits. transformers computes both
logits there in float64: their gap, beside the error that float32 makes in the same logits. A gap within a few such
errors is a tie: which side a float32 engine falls on says nothing about it. A larger gap is a fault of one engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

TIE = 4.0  # errors of float32: each of two logits, of each of two engines, may be off by one
FLOAT32_NORMS = ("LlamaRMSNorm", "MistralRMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm")  # compute in float32 whatever comes


@dataclass(frozen=True)
class Difference:
    """Where two answers to a prompt part: after `common` tokens, the token each goes on with (EOS: it ends)."""

    prompt: int
    common: tuple[int, ...]
    first: int
    second: int


@dataclass(frozen=True)
class Gap:
    """Of the two tokens at a difference: |logit - logit| in float64, and the largest error of a float32 logit there."""

    gap: float
    error: float

    @property
    def is_tie(self) -> bool:
        """Within float error."""
        return self.gap <= TIE * self.error


def differences(first: Sequence[list[int]], second: Sequence[list[int]], eos: int | None) -> list[Difference]:
    """Where the answers of two engines to the same prompts part; [] if all are the same.

    Args:
        first, second: token ids of the answers, without the EOS, in the same order.
        eos: the token that ends an answer, compared where one answer goes on and the other does not.
    """
    found = []
    for number, (a, b) in enumerate(zip(first, second, strict=True)):
        if a == b:
            continue
        at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
        ends = [tokens[at] if at < len(tokens) else eos for tokens in (a, b)]
        if ends[0] is None or ends[1] is None:
            raise ValueError(f"answer {number} ends in one engine only, and no EOS is named")
        found.append(Difference(number, tuple(a[:at]), ends[0], ends[1]))
    return found


def measure_gap(folder: Path, prompt: Sequence[int], difference: Difference) -> Gap:
    """The two logits at a difference, by transformers in float64 and float32.

    Args:
        folder: of the model.
        prompt: token ids.
    """
    ids = torch.tensor([[*prompt, *difference.common]])
    with torch.inference_mode():
        exact, rounded = (_model(folder, dtype)(ids).logits[0, -1].double() for dtype in ("float64", "float32"))
    pair = [difference.first, difference.second]
    return Gap(float((exact[pair[0]] - exact[pair[1]]).abs()), float((exact - rounded).abs().max()))


@lru_cache(maxsize=2)
def _model(folder: Path, dtype: str):
    """The model on the CPU; in float64 its norms too, which transformers computes in float32."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    if dtype == "float64":
        for module in model.modules():
            if type(module).__name__ in FLOAT32_NORMS:
                module.forward = _norm_of(module)
    return model


def _norm_of(module):
    def forward(hidden: torch.Tensor) -> torch.Tensor:
        return module.weight * hidden * torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + module.variance_epsilon)

    return forward
