"""A user's message in a model's own chat template (prompts=chat)."""

from __future__ import annotations

from typing import Any

from eval.errors import InputError


def render_chat(tokenizer: Any, history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
    """The text that the model continues, by the template of its transformers tokenizer.

    history: messages as {"role": ..., "content": ...}; add_generation_prompt: open the assistant's turn.
    The template may write a BOS token; engines don't add a second one.
    Raises InputError for a tokenizer without a chat template.
    """
    if not tokenizer.chat_template:
        raise InputError(
            "prompts=chat: the model's tokenizer has no chat template; write prompts=wizard_13b, or name another model"
        )
    return tokenizer.apply_chat_template(
        history,
        tokenize=False,
        add_generation_prompt=add_generation_prompt,
        continue_final_message=not add_generation_prompt,
    )


def chat_prompt(lm: Any, message: str) -> str:
    """A user's message as the model behind an lm-eval LM wants it.

    Raises InputError for an LM that has no chat templates.
    """
    try:
        return lm.apply_chat_template([{"role": "user", "content": message}])
    except NotImplementedError:
        raise InputError(
            f"prompts=chat: {type(lm).__name__} applies no chat template; write prompts=wizard_13b"
        ) from None
