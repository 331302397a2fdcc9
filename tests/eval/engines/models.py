"""Random tiny models that share a tokenizer; not collected as tests."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SENTENCE = "Tom has apples and buys more list the numbers in reverse order write a letter to Mia about trains"
WORDS = SENTENCE.split()
WEIGHTS = "model.safetensors"


def make_tokenizer(adds_bos: bool = True, bos: str | None = "<s>") -> PreTrainedTokenizerFast:
    """Byte-level BPE; adds_bos: whether its post-processor puts <s> before a text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<pad>", "<s>", "</s>"], initial_alphabet=sorted(alphabet), show_progress=False
    )
    tokenizer.train_from_iterator([" ".join(WORDS)] * 20, trainer)
    single = "<s> $A" if adds_bos else "$A"
    tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=bos, eos_token="</s>", pad_token="<pad>")


def make_model(
    folder: Path,
    seed: int,
    context: int = 512,
    tied: bool = True,
    heads: tuple[int, int] = (2, 2),
    template: str | None = None,
) -> Path:
    """Weights far from zero, so that the most likely token stands out from the next by more than rounding.

    heads: of queries, and of keys and values; template: the tokenizer's chat template.
    """
    torch.manual_seed(seed)
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32 * heads[0],
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=heads[0],
        num_key_value_heads=heads[1],
        max_position_embeddings=context,
        tie_word_embeddings=tied,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        initializer_range=0.2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def blend(first: Path, second: Path, share: float) -> dict[str, torch.Tensor]:
    """A merge: share of the first model's weights, the rest of the second's."""
    a, b = (load_file(folder / WEIGHTS) for folder in (first, second))
    return {name: share * a[name] + (1 - share) * b[name] for name in a}


def write_model(folder: Path, like: Path, tensors: dict[str, torch.Tensor]) -> Path:
    """A folder with the config and tokenizer of another and these weights."""
    folder.mkdir(parents=True)
    for path in like.iterdir():
        if path.name != WEIGHTS:
            (folder / path.name).write_bytes(path.read_bytes())
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    return folder
