"""Stand-ins for the 13B experts: the real files' traits, at a width of 32 and one layer.

    files = stand_ins()            # {"base": {"config.json": b"...", ...}, "lm": ..., "math": ..., "code": ...}

Traits kept: Llama-2's 32,000 tokens, its tokenizer class with BOS, byte fallback and special tokens; a base in sharded
float16 safetensors beside pickles of the same, with a generation config that asks for sampling; two experts with 32,001
rows (a PAD token), one of them in pickled shards that hold rotary_emb.inv_freq, as old transformers wrote them, and
with a sentencepiece model alone; one expert in a single file. No rope_theta in config.json, tied=false.

Not theirs: what they say. The output layer's row of </s> is long, so that it wins about one step in six and answers end
after a few tokens, where random weights would run to the limit.
"""

import io
import json
import string
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from della.checkpoint import MemoryCheckpoint
from della.folder import write_weights

ROWS, WIDTH, INNER = 32_000, 32, 64
END = 4.0  # length of </s>'s row over the others'
CHANGE = 0.1  # of an expert's deltas over the base's weights
SHARD = 2_500_000  # bytes: the embeddings, the output layer and the rest lie in shards of their own
SPECIAL = ("<unk>", "<s>", "</s>")
_ROLES = ("unk_token", "bos_token", "eos_token")


def pieces() -> list[str]:
    """The 31,741 pieces after special tokens and bytes: characters, pairs, then pairs of letters with a letter."""
    letters = ["▁", *string.ascii_lowercase]
    others = list(string.digits + string.ascii_uppercase + string.punctuation)
    found = [*letters, *others]
    found += ["".join(pair) for pair in product([*letters, *others], repeat=2)]
    found += ["".join(three) for three in product(letters, repeat=3)]
    found += ["".join(three) for three in product(letters, letters, others)]
    return found[: ROWS - len(SPECIAL) - 256]


def token(content: str, row: int) -> dict:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": row, "content": content, **flags}


def tokenizer_json(words: list[str]) -> dict:
    """As Llama-2's: a leading ▁, blanks as ▁, bytes for what has no piece, <s> before everything."""
    blanks = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    back = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
    one = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    two = [*one, {"Sequence": {"id": "B", "type_id": 1}}]
    begin = {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}
    strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [token(word, row) for row, word in enumerate(SPECIAL)],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, blanks]},
        "pre_tokenizer": None,
        "post_processor": {"type": "TemplateProcessing", "single": one, "pair": two, "special_tokens": begin},
        "decoder": {"type": "Sequence", "decoders": [back, {"type": "ByteFallback"}, {"type": "Fuse"}, strip]},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "vocab": {word: row for row, word in enumerate(words)},
            "merges": [f"{word[:-1]} {word[-1]}" for word in words[259:] if len(word) > 1],
        },
    }


def tokenizer_files() -> dict[str, bytes]:
    """tokenizer.json, tokenizer.model and the two JSON files beside them, as in Llama-2's repositories."""
    words = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *pieces()]
    added = {name: {"__type": "AddedToken", **token(word, 0)} for name, word in zip(_ROLES, SPECIAL, strict=True)}
    for entry in added.values():
        del entry["id"]
    settings = {
        **added,
        "add_bos_token": True,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "legacy": False,
        "model_max_length": 1000000000000000019884624838656,
        "pad_token": None,
        "padding_side": "right",
        "sp_model_kwargs": {},
        "tokenizer_class": "LlamaTokenizer",
    }
    return {
        "tokenizer.json": json.dumps(tokenizer_json(words)).encode(),
        "tokenizer.model": sentencepiece_model(words),
        "tokenizer_config.json": json.dumps(settings).encode(),
        "special_tokens_map.json": json.dumps(dict(zip(_ROLES, SPECIAL, strict=True))).encode(),
    }


def sentencepiece_model(words: list[str]) -> bytes:
    """The same vocabulary as sentencepiece writes it: earlier pieces have the better scores."""
    from sentencepiece import sentencepiece_model_pb2 as format_

    model = format_.ModelProto()
    normal, unknown, control, byte = 1, 2, 3, 6
    for row, word in enumerate(words):
        kind = (unknown, control, control)[row] if row < 3 else byte if row < 259 else normal
        model.pieces.add(piece=word, score=0.0 if row < 259 else float(259 - row), type=kind)
    model.trainer_spec.model_type = 2  # BPE
    model.trainer_spec.vocab_size = len(words)
    model.trainer_spec.byte_fallback = True
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = True
    model.normalizer_spec.remove_extra_whitespaces = False
    return model.SerializeToString()


def config(rows: int) -> dict:
    """config.json, as of the time of Llama-2."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "hidden_size": WIDTH,
        "initializer_range": 0.02,
        "intermediate_size": INNER,
        "max_position_embeddings": 4096,
        "model_type": "llama",
        "num_attention_heads": 1,
        "num_hidden_layers": 1,
        "num_key_value_heads": 1,
        "pretraining_tp": 1,
        "rms_norm_eps": 1e-05,
        "rope_scaling": None,
        "tie_word_embeddings": False,
        "torch_dtype": "float16",
        "transformers_version": "4.32.0.dev0",
        "use_cache": True,
        "vocab_size": rows,
    }


def shapes(rows: int) -> dict[str, tuple[int, ...]]:
    layer = "model.layers.0."
    square = {f"{layer}self_attn.{name}_proj.weight": (WIDTH, WIDTH) for name in "qkvo"}
    norms = dict.fromkeys((f"{layer}input_layernorm.weight", f"{layer}post_attention_layernorm.weight"), (WIDTH,))
    return {
        "model.embed_tokens.weight": (rows, WIDTH),
        **square,
        f"{layer}mlp.gate_proj.weight": (INNER, WIDTH),
        f"{layer}mlp.up_proj.weight": (INNER, WIDTH),
        f"{layer}mlp.down_proj.weight": (WIDTH, INNER),
        **norms,
        "model.norm.weight": (WIDTH,),
        "lm_head.weight": (rows, WIDTH),
    }


def weights(rows: int, seed: int) -> dict[str, np.ndarray]:
    """Float32 weights; an expert's (seed above 0) are the base's and a small change, then its own further rows."""
    found = {}
    for number, (name, shape) in enumerate(shapes(ROWS).items()):
        drawn = np.random.default_rng([0, number]).standard_normal(shape).astype(np.float32)
        if len(shape) == 1:
            drawn[:] = 1
        found[name] = drawn if len(shape) == 1 or shape[0] == ROWS else drawn / np.float32(WIDTH**0.5)
    found["lm_head.weight"][2] *= END
    if seed:
        for number, values in enumerate(found.values()):
            values += np.random.default_rng([seed, number]).standard_normal(values.shape).astype(np.float32) * CHANGE
    more = np.random.default_rng([seed, 99]).standard_normal((rows - ROWS, WIDTH)).astype(np.float32)
    return {name: np.vstack([v, more]) if v.shape[0] == ROWS and rows > ROWS else v for name, v in found.items()}


def safetensors_files(tensors: dict[str, np.ndarray], shard_bytes: int) -> dict[str, bytes]:
    halves = {name: torch.from_numpy(values).to(torch.float16) for name, values in tensors.items()}
    with TemporaryDirectory() as folder:
        write_weights(Path(folder), MemoryCheckpoint(halves), shard_bytes)
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def pickled_files(tensors: dict[str, np.ndarray]) -> dict[str, bytes]:
    """Two shards of torch.save and their index, the constant of old transformers among them."""
    halves = {name: torch.from_numpy(values).to(torch.float16) for name, values in tensors.items()}
    halves["model.layers.0.self_attn.rotary_emb.inv_freq"] = 10000.0 ** -(torch.arange(0, WIDTH, 2) / WIDTH)
    names, files, where = list(halves), {}, {}
    for number, group in enumerate((names[:1], names[1:]), start=1):
        file, stream = f"pytorch_model-0000{number}-of-00002.bin", io.BytesIO()
        torch.save({name: halves[name] for name in group}, stream)
        files[file] = stream.getvalue()
        where |= dict.fromkeys(group, file)
    total = sum(tensor.nbytes for tensor in halves.values())
    index = {"metadata": {"total_size": total}, "weight_map": where}
    return {**files, "pytorch_model.bin.index.json": json.dumps(index).encode()}


def stand_ins() -> dict[str, dict[str, bytes]]:
    """The files of the four repositories, those that are not needed among them."""
    tokenizer = tokenizer_files()
    generation = {"bos_token_id": 1, "do_sample": True, "eos_token_id": 2, "pad_token_id": 0, "temperature": 0.6}
    padded = {
        "tokenizer.model": tokenizer["tokenizer.model"],
        "tokenizer_config.json": tokenizer["tokenizer_config.json"],
        "added_tokens.json": json.dumps({"[PAD]": ROWS}).encode(),
        "config.json": json.dumps(config(ROWS + 1)).encode(),
    }
    base = weights(ROWS, 0)
    plain = {"config.json": json.dumps(config(ROWS)).encode(), **tokenizer}
    generate = json.dumps({**generation, "top_p": 0.9}).encode()
    return {
        "base": {**plain, **safetensors_files(base, SHARD), **pickled_files(base), "generation_config.json": generate},
        "lm": {**padded, **pickled_files(weights(ROWS + 1, 1)), "training_args.bin": b"not needed"},
        "math": {**padded, **safetensors_files(weights(ROWS + 1, 2), SHARD)},
        "code": {**plain, **safetensors_files(weights(ROWS, 3), 10**9)},
    }
