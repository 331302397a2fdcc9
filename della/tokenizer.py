"""The tokenizer of a merged folder: copied from the base or an expert, or the base's with the experts' new tokens.

    copy_tokenizer(base.folder, out)
    vocab_size = write_union_tokenizer(out, base, experts)      # with vocab=union

Tokenizers number added tokens without gaps. So padding rows of the base (rows without a token), which lie between its
last token and the first new one, are given a placeholder each, as transformers itself does for gaps.
"""

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from della.checkpoint import TOKENIZER_FILES, Model
from della.errors import InputError
from della.vocabulary import (
    ADDED,
    CONFIG,
    FLAGS,
    LISTS,
    SPECIAL,
    TOKENIZER,
    Union,
    folder_of,
    read_object,
    read_vocabulary,
    token_rows,
    unite,
)

_TEMPLATES = "additional_chat_templates"
_DECODER = "added_tokens_decoder"


def tokenizer_files(folder: Path) -> list[str]:
    """The tokenizer's files in a model folder, chat templates included, as paths within it."""
    templates = sorted(f"{_TEMPLATES}/{file.name}" for file in (folder / _TEMPLATES).glob("*.jinja"))
    return [file for file in TOKENIZER_FILES if (folder / file).is_file()] + templates


def copy_tokenizer(source: Path, folder: Path) -> None:
    """Copy the tokenizer's files of one model folder into another."""
    for file in tokenizer_files(source):
        (folder / file).parent.mkdir(exist_ok=True)
        shutil.copyfile(source / file, folder / file)


def find_tokenizer_problems(source: str, base: Model, experts: Mapping[str, Model], vocab: str) -> list[str]:
    """What keeps tokenizer=SOURCE from being the tokenizer of the merge, one sentence each.

    Args:
        source: "base", or the name of an expert.
        base, experts, vocab: as merged. With vocab=union, the problems of `unite` are not told again.
    """
    if source == "base":
        return []
    if source not in experts:
        return [f"tokenizer={source}: no such expert; write one of {', '.join(('base', *sorted(experts)))}"]
    model = experts[source]
    who = f"tokenizer={source} ({model.label})"
    folder = getattr(model, "folder", None)
    if folder is None or not tokenizer_files(Path(folder)):
        return [f"{who}: has no tokenizer files; write tokenizer=base, or another expert"]
    if not (Path(folder) / TOKENIZER).is_file():  # the other formats' lengths are not in plain sight
        return []
    try:
        theirs = read_vocabulary(Path(folder))
        if vocab == "union":
            union = unite(base, experts)
            known = {theirs.tokens[row] for row in union.kept} | {token.content for token in union.tokens}
            beyond = sorted(theirs.named - known)
        else:
            rows = max(token_rows(base).values(), default=len(theirs.tokens))
            known = set(theirs.tokens.values())
            beyond = [token for row, token in sorted(theirs.tokens.items()) if row >= rows]
            beyond += sorted(theirs.named - known)
    except InputError as error:
        return [] if vocab == "union" else [str(error)]
    if not beyond:
        return []
    hint = "write tokenizer=base" + ("" if vocab == "union" else ", or vocab=union to keep tokens that have a row")
    return [f"{who}: the merged embeddings have no row for its token {beyond[0]!r}; {hint}"]


def write_union_tokenizer(folder: Path, base: Model, experts: Mapping[str, Model], source: str = "base") -> int:
    """Write the tokenizer of a merge with vocab=union: all tokens of `unite`, each at its row.

    Args:
        folder: an existing folder.
        base, experts: as merged, so that the tokens' rows are those that `check_family` added.
        source: whose files say the rest: "base", or an expert's name. That is how text is split and normalised, which
            token ends a text or pads it, and the chat template.

    Returns:
        The rows of the merged embeddings: vocab_size in config.json.

    Raises:
        InputError: as `unite`, or the tokenizer numbers added tokens in a way of its own.
    """
    union = unite(base, experts)
    origin = folder_of(base if source == "base" else experts[source], source)
    copy_tokenizer(origin, folder)
    if source == "base" and not union.tokens:
        return union.vocab_size
    rows = _new_entries(union, set(read_vocabulary(origin).tokens.values()))
    _write_tokenizer(folder / TOKENIZER, union, rows)
    listed = [token.content for token in union.tokens if token.listed]
    config = read_object(folder / CONFIG)
    if _DECODER in config:
        kept = {row: entry for row, entry in config[_DECODER].items() if int(row) in union.kept}
        config[_DECODER] = kept | {str(row): entry for row, entry in rows.items()}
    _list_tokens(config, listed, LISTS[0] if _DECODER in config else LISTS[1])
    _write_object(folder / CONFIG, config)
    if (folder / ADDED).is_file():
        kept = {token: row for token, row in read_object(folder / ADDED).items() if row in union.kept}
        _write_object(folder / ADDED, kept | {entry["content"]: row for row, entry in rows.items()})
    if (folder / SPECIAL).is_file():
        special = read_object(folder / SPECIAL)
        _list_tokens(special, listed, LISTS[0])
        _write_object(folder / SPECIAL, special)
    _check_rows(folder / TOKENIZER, origin, {entry["content"]: row for row, entry in rows.items()})
    return union.vocab_size


def _new_entries(union: Union, taken: Iterable[str]) -> dict[int, dict[str, Any]]:
    """Row -> what tokenizer.json says of its token, for placeholders and new tokens."""
    taken = {*taken, *(token.content for token in union.tokens)}
    entries: dict[int, dict[str, Any]] = {}
    for row in range(max(union.kept, default=-1) + 1, union.base_rows) if union.tokens else ():
        content = f"<|reserved_token_{row}|>"
        while content in taken:
            content = f"<{content}>"
        entries[row] = {
            "content": content,
            **FLAGS,
            "normalized": False,
            "special": True,
        }  # special: decoded to nothing
    return entries | {union.base_rows + i: {"content": t.content, **t.flags} for i, t in enumerate(union.tokens)}


def _write_tokenizer(file: Path, union: Union, rows: Mapping[int, Mapping[str, Any]]) -> None:
    content = read_object(file)
    kept = [entry for entry in content.get("added_tokens", []) if int(entry["id"]) in union.kept]
    content["added_tokens"] = kept + [{"id": row, **entry} for row, entry in rows.items()]
    row_of = {entry["content"]: row for row, entry in rows.items()}
    padding = content.get("padding")
    if isinstance(padding, dict):
        padding["pad_id"] = row_of.get(padding.get("pad_token"), padding.get("pad_id"))
    _move_rows(content.get("post_processor"), row_of)
    _write_object(file, content)


def _move_rows(processor: Any, row_of: Mapping[str, int]) -> None:
    """What a tokenizer puts around a text is written with its rows, which may be new ones."""
    for part in (processor or {}).get("processors", []):
        _move_rows(part, row_of)
    templates = (processor or {}).get("special_tokens")
    for entry in templates.values() if isinstance(templates, dict) else ():
        entry["ids"] = [row_of.get(token, row) for token, row in zip(entry["tokens"], entry["ids"], strict=True)]


def _list_tokens(config: dict[str, Any], tokens: Iterable[str], key: str) -> None:
    """Append to the list of further special tokens, under the key that the file has, else under `key`."""
    key = next((name for name in LISTS if name in config), key)
    there = config.get(key) or []
    names = [token["content"] if isinstance(token, dict) else token for token in there]
    if (new := [token for token in tokens if token not in names]) and isinstance(there, list):
        config[key] = [*there, *new]


def _check_rows(file: Path, origin: Path, row_of: Mapping[str, int]) -> None:
    """The library that reads the file decides the rows itself."""
    from tokenizers import Tokenizer

    opened = Tokenizer.from_file(str(file))
    for token, row in row_of.items():
        if (found := opened.token_to_id(token)) != row:
            raise InputError(
                f"{origin / TOKENIZER}: leaves rows out, so that {token!r} would be read as row {found}, not {row}; "
                "write vocab=base_rows"
            )


def _write_object(file: Path, content: Mapping[str, Any]) -> None:
    """JSON in the order of its keys, as the tokenizers library writes it."""
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
