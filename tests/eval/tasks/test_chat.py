"""prompts=chat: a message in the template of a model's own tokenizer."""

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from eval.engines.base import GreedyLM
from eval.engines.bos import PromptEncoder
from eval.errors import InputError
from eval.tasks.chat import chat_prompt, render_chat

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


def make_tokenizer(template: str | None) -> PreTrainedTokenizerFast:
    """Words and brackets; a BOS token is added to whatever is encoded, as Llama's tokenizers do."""
    words = ["<s>", "</s>", "?", "[", "]", "user", "assistant", "How", "many"]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="?")
    made.chat_template = template
    return made


class Opened:
    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.encoder = PromptEncoder(tokenizer, None)


def test_a_message_is_framed_and_the_assistants_turn_is_open():
    assert render_chat(make_tokenizer(TEMPLATE), [{"role": "user", "content": "How many ?"}]) == (
        "<s>[user] How many ? [assistant]"
    )


def test_the_templates_bos_is_the_only_one_that_the_model_sees():
    """<s> [ user ] How many ? [ assistant ]: ids by their place in the list of words."""
    lm = GreedyLM(Opened(make_tokenizer(TEMPLATE)))
    assert lm.encode(chat_prompt(lm, "How many ?")) == [0, 3, 5, 4, 7, 8, 2, 3, 6, 4]


def test_a_tokenizer_without_a_template_is_refused_in_one_line():
    lm = GreedyLM(Opened(make_tokenizer(None)))
    with pytest.raises(InputError, match="no chat template; write prompts=wizard_13b") as caught:
        chat_prompt(lm, "How many ?")
    assert "\n" not in str(caught.value)
