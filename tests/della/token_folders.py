"""Model folders that are little more than a tokenizer and the rows of its tokens."""

import json

import numpy as np
from safetensors.numpy import save_file

from della.checkpoint import Checkpoint

EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
WORDS = ("a", "b", "ab", "c")  # rows 0 to 3; </s> is row 4
FIVE = {"</s>": 4}
PLAIN = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}


def entry(token, special=True, **flags):
    return {"content": token, **PLAIN, "special": special, **flags}


def save_tokenizer(folder, added=FIVE, style=5, words=WORDS, flags=None, config=None):
    """A BPE tokenizer with added tokens, as transformers 5 writes it, or with the further files of transformers 4."""
    entries = {row: entry(token, **(flags or {}).get(token, {})) for token, row in added.items()}
    model = {"type": "BPE", "vocab": {word: i for i, word in enumerate(words)}, "merges": [["a", "b"]]}
    nothing = dict.fromkeys(("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder"))
    tokens = [{"id": row, **entries[row]} for row in sorted(entries)]
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"eos_token": "</s>", "tokenizer_class": "PreTrainedTokenizerFast", **(config or {})}
    if style == 4:
        settings["added_tokens_decoder"] = {str(row): entries[row] for row in sorted(entries)}
        (folder / "added_tokens.json").write_text(json.dumps(added))
        (folder / "special_tokens_map.json").write_text(json.dumps({"eos_token": "</s>"}))
    (folder / "tokenizer.json").write_text(
        json.dumps({"version": "1.0", **nothing, "added_tokens": tokens, "model": model})
    )
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def save_model(folder, rows=5, tied=True, head_rows=None, **tokenizer):
    """Embeddings of `rows` rows, two columns, each row its number plus a thousandth per letter of the folder's name."""
    save_tokenizer(folder, **tokenizer)
    numbers = (
        np.arange(rows, dtype=np.float32)[:, None] + np.float32(len(folder.name) / 1000) + np.zeros((1, 2), np.float32)
    )
    tensors = {EMBED: numbers} if tied else {EMBED: numbers, HEAD: -numbers[: head_rows or rows]}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps({"tie_word_embeddings": tied, "vocab_size": rows}))
    return Checkpoint(folder)
