"""The family's tokenizer: byte-level BPE learnt from its own texts, written as a folder that AutoTokenizer opens.

The frame of a prompt, of a program and every number are one token each: prompts and answers stay short. No token is
added to a text: a prompt starts with its first word, and an answer ends with the end token because training says so.
"""

import re
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from della.tiny.words import FOOTER, HEADER

PAD, BOS, EOS = "<pad>", "<s>", "</s>"
PAD_ID, BOS_ID, EOS_ID = 0, 1, 2

# Pieces a token never crosses: the fixed frames, words and numbers with the blank before them, single other signs.
FRAMES = (HEADER, FOOTER, " def f(xs): return", " for x in xs", "\n####")
PIECES = "|".join([*(re.escape(frame) for frame in FRAMES), r" ?\w+", r" ?(?:==|!=|//)", r" ?[^\w\s]", r"\s"])


def train_tokenizer(texts: list[str], vocab: int) -> Tokenizer:
    """A BPE of at most `vocab` tokens; pad, begin and end have the first ids."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(PIECES), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    ).save_pretrained(folder)
