"""Greedy answers of a tiny model to instructions, in batches: AlpacaEval's reference outputs are the base's."""

import torch
from tqdm import tqdm
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from della.tiny.words import prompt

# Every answer of the three benchmarks, end token included, has at most 19 tokens.
MAX_NEW_TOKENS = 24
BATCH = 100


def answer_all(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, asked: list[str], label: str | None
) -> list[str]:
    """The model's answer to each instruction, without the end token; at most 24 tokens each."""
    tokenizer.padding_side = "left"
    order = sorted(range(len(asked)), key=lambda i: (len(asked[i]), i))
    answers = [""] * len(asked)
    model.eval()
    with tqdm(total=len(asked), desc=label, disable=label is None, unit="answer", dynamic_ncols=True) as bar:
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            batch = tokenizer([prompt(asked[i]) for i in chosen], return_tensors="pt", padding=True)
            with torch.inference_mode():
                ids = model.generate(  # type: ignore[misc]
                    input_ids=batch["input_ids"],
                    attention_mask=batch["attention_mask"],
                    max_new_tokens=MAX_NEW_TOKENS,
                    do_sample=False,
                )
            texts = tokenizer.batch_decode(ids[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
            for i, text in zip(chosen, texts, strict=True):
                answers[i] = text
            bar.update(len(chosen))
    return answers
