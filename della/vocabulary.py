"""Tokens and the rows that belong to them: what the experts' tokenizers have more than the base's.

    union = unite(base, {"lm": lm, "math": math})
    union.tokens        # a new row each, after the base's rows

Tokens are matched by their string, as tokenizer.json writes it, never by their row: two experts that each put a token
of their own at row 32000 keep both. A new token always gets a row after the base's, also where an expert put it at one
of the base's padding rows (rows without a token, that round an embedding up), since another expert may have put another
token there. della/tokenizer.py writes the tokenizer that goes with it.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from della.checkpoint import Model
from della.errors import InputError

TOKENIZER = "tokenizer.json"
CONFIG = "tokenizer_config.json"
ADDED = "added_tokens.json"
SPECIAL = "special_tokens_map.json"
LISTS = ("additional_special_tokens", "extra_special_tokens")  # until transformers 4, and since 5
_ROLES = tuple(f"{role}_token" for role in ("bos", "eos", "unk", "pad", "sep", "cls", "mask"))
FLAGS = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}

# How the names of tensors with one row per token end.
OUTPUTS = ("lm_head.weight", "embed_out.weight")
EMBEDDINGS = (
    "embed_tokens.weight",  # Llama, Mistral, Qwen, Gemma, Phi, OPT
    "embed_in.weight",  # GPT-NeoX
    "wte.weight",  # GPT-2, GPT-J, MPT
    "word_embeddings.weight",  # BLOOM, Falcon
    "backbone.embeddings.weight",  # Mamba
    "embed_tokens_per_layer.weight",  # Gemma 3n
)
_BIASES = ("lm_head.bias", "embed_out.bias")


def is_named(name: str, endings: Iterable[str]) -> bool:
    """Whether a tensor's name is one of `endings`, or ends with one after a dot."""
    return any(name == ending or name.endswith(f".{ending}") for ending in endings)


def has_token_rows(name: str) -> bool:
    """Whether the tensor of this name has one row per token."""
    return is_named(name, (*EMBEDDINGS, *OUTPUTS, *_BIASES))


def token_rows(model: Model) -> dict[str, int]:
    """Name of each tensor with one row per token -> its rows."""
    return {name: model.headers[name].shape[0] for name in sorted(model.headers) if has_token_rows(name)}


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of one tokenizer.

    tokens: row -> the token's string.
    flags: string of an added token -> its flags, as tokenizer.json writes them.
    listed: strings that the tokenizer lists as further special tokens.
    named: these, and the tokens with a role (end, padding, ...); transformers adds those that have no row at the end.
    """

    tokens: Mapping[int, str]
    flags: Mapping[str, Mapping[str, bool]]
    listed: frozenset[str]
    named: frozenset[str]


@dataclass(frozen=True)
class NewToken:
    """A token that experts have and the base has not.

    listed: whether its expert lists it as a further special token.
    sources: the experts that have a row for it, sorted, each with that row.
    """

    content: str
    flags: Mapping[str, bool]
    listed: bool
    sources: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Union:
    """The vocabulary of a merge with vocab=union: token i of `tokens` has row `base_rows` + i.

    kept: the base's rows that stand for a token.
    """

    base_rows: int
    kept: frozenset[int]
    tokens: tuple[NewToken, ...]

    @property
    def vocab_size(self) -> int:
        """Rows of the merged embeddings, for config.json."""
        return self.base_rows + len(self.tokens)


def read_vocabulary(folder: Path) -> Vocabulary:
    """The tokens of a model folder.

    Raises:
        InputError: there is no tokenizer.json, or it is not one.
    """
    file = folder / TOKENIZER
    if not file.is_file():
        raise InputError(
            f"{folder}: has no {TOKENIZER}, where tokens are looked up; open its tokenizer with transformers' "
            "AutoTokenizer and save it there once, or write vocab=base_rows and tokenizer=base"
        )
    content, config, special = (read_object(folder / name) for name in (TOKENIZER, CONFIG, SPECIAL))
    try:
        known = content["model"]["vocab"]
        pairs = known.items() if isinstance(known, dict) else ((entry[0], row) for row, entry in enumerate(known))
        entries = {int(row): {"content": str(token)} for token, row in read_object(folder / ADDED).items()}
        entries |= {int(row): dict(entry) for row, entry in config.get("added_tokens_decoder", {}).items()}
        entries |= {int(entry["id"]): entry for entry in content.get("added_tokens", [])}
        tokens = {int(row): str(token) for token, row in pairs}
        tokens |= {row: str(entry["content"]) for row, entry in entries.items()}
        flags = {
            tokens[row]: {key: bool(entry.get(key, FLAGS[key])) for key in FLAGS} for row, entry in entries.items()
        }
        listed = {token for place in (config, special) for key in LISTS for token in _contents(place.get(key))}
        roles = {token for place in (config, special) for key in _ROLES for token in _contents([place.get(key)])}
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(f"{file}: not what the tokenizers library writes; download it again") from error
    return Vocabulary(tokens, flags, frozenset(listed), frozenset(listed | roles))


def unite(base: Model, experts: Mapping[str, Model]) -> Union:
    """The base's vocabulary, and after it the tokens that only experts have, by expert and then by row.

    A token that several experts have is there once, with all their rows. A token that its expert has no row for (a
    tokenizer may be larger than the embeddings) is left out, and so are rows without a token.

    Raises:
        InputError: one line with every problem: a tokenizer cannot be read, is not the base's over the base's rows, or
            has new tokens that are not added tokens.
    """
    counts = token_rows(base)
    if len(set(counts.values())) != 1:
        text = ", ".join(f"{name} {rows}" for name, rows in counts.items()) or "no tensor with a row per token"
        raise InputError(f"the base ({base.label}): has {text}, so vocab=union has no place; write vocab=base_rows")
    rows = next(iter(counts.values()))
    ours = read_vocabulary(folder_of(base, "the base"))
    if beyond := sorted(row for row in ours.tokens if row >= rows):
        raise InputError(
            f"the base ({base.label}): its tokenizer has {ours.tokens[beyond[0]]!r} at {beyond[0]} where its "
            f"embeddings have {rows} rows; resize these to its tokenizer's length first, or write vocab=base_rows"
        )
    problems: list[str] = []
    sources: dict[str, list[tuple[str, int]]] = {}
    first: dict[str, Vocabulary] = {}
    for name in sorted(experts):
        try:
            theirs = _expert_vocabulary(name, experts[name])
            if theirs is None:
                continue
            for row in _new_rows(name, experts[name], ours, theirs, rows):
                sources.setdefault(theirs.tokens[row], []).append((name, row))
                first.setdefault(theirs.tokens[row], theirs)
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError("; ".join(problems))
    tokens = (
        NewToken(token, first[token].flags[token], token in first[token].listed, tuple(pairs))
        for token, pairs in sources.items()
    )
    return Union(rows, frozenset(ours.tokens), tuple(tokens))


def _expert_vocabulary(name: str, model: Model) -> Vocabulary | None:
    """None for an adapter without a tokenizer and without a whole tensor of token rows: it adds no token."""
    folder = getattr(model, "folder", None)
    if not token_rows(model) and (folder is None or not (Path(folder) / TOKENIZER).is_file()):
        return None
    return read_vocabulary(folder_of(model, f"expert {name}"))


def _new_rows(name: str, model: Model, ours: Vocabulary, theirs: Vocabulary, rows: int) -> list[int]:
    """The expert's rows whose tokens the base does not have."""
    who = f"expert {name} ({model.label})"
    for row in sorted(ours.tokens):
        if theirs.tokens.get(row) != ours.tokens[row]:
            found = repr(theirs.tokens[row]) if row in theirs.tokens else "none"
            raise InputError(
                f"{who}: token {row} is {found} where the base has {ours.tokens[row]!r}, so their tokenizers differ; "
                "name experts that kept the base's tokens"
            )
    own = max(token_rows(model).values(), default=0)
    new = [row for row in sorted(theirs.tokens) if row not in ours.tokens and row < own]
    if learned := [theirs.tokens[row] for row in new if theirs.tokens[row] not in theirs.flags]:
        raise InputError(
            f"{who}: its tokenizer learned {len(learned)} tokens more than the base's, as {learned[0]!r}, which change "
            "how text is split and so cannot be united; write vocab=base_rows"
        )
    seen = set(ours.tokens.values())
    for row in new:
        if theirs.tokens[row] in seen:
            raise InputError(f"{who}: {theirs.tokens[row]!r} is there twice, again at {row}; save its tokenizer again")
        seen.add(theirs.tokens[row])
    return new


def folder_of(model: Model, who: str) -> Path:
    """The folder of a model that is on disk.

    Raises:
        InputError: it is not.
    """
    folder = getattr(model, "folder", None)
    if folder is None:
        raise InputError(f"{who} ({model.label}): held in memory without its tokenizer; write vocab=base_rows")
    return Path(folder)


def read_object(file: Path) -> dict[str, Any]:
    """A JSON file's object; empty where there is no file.

    Raises:
        InputError: it is not JSON, or not an object.
    """
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{file}: not valid JSON ({error}); download it again") from error
    if not isinstance(content, dict):
        raise InputError(f"{file}: not a JSON object; download it again")
    return content


def _contents(tokens: Any) -> list[str]:
    """A list's tokens, each written as a string or with its flags; a dict (names of an image's tokens) lists none."""
    if not isinstance(tokens, list):
        return []
    return [str(token["content"]) if isinstance(token, dict) else str(token) for token in tokens if token is not None]
