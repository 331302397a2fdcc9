"""Whether an output satisfies a rule: the judge of instructions that a program can verify.

A rule is a dictionary with a `kind` and its arguments, as the tiny family's alpaca_eval documents carry:

    {"kind": "all", "rules": [{"kind": "starts", "text": "Note"}, {"kind": "in_order", "words": ["Dear", "Mia"]}]}

Pure Python that imports nothing else of the repository.
"""

import re
from collections.abc import Callable

from eval.errors import InputError

# A word: letters and digits, with inner apostrophes and hyphens.
WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def find_words(text: str) -> list[str]:
    """The words of a text, in lower case, without punctuation."""
    return [word.lower() for word in WORD.findall(text)]


def _starts(output: str, text: str) -> bool:
    wanted = find_words(text)
    return find_words(output)[: len(wanted)] == wanted if wanted else output.strip().startswith(text)


def _ends(output: str, text: str) -> bool:
    wanted = find_words(text)
    return find_words(output)[-len(wanted) :] == wanted if wanted else output.strip().endswith(text)


def _in_order(output: str, words: list[str]) -> bool:
    """Each word occurs, after the one before it; others may stand between."""
    remaining = iter(find_words(output))
    return all(word.lower() in remaining for word in words)


def _excludes(output: str, words: list[str]) -> bool:
    present = set(find_words(output))
    return not any(word.lower() in present for word in words)


def _max_words(output: str, count: int) -> bool:
    return len(find_words(output)) <= count


def _all(output: str, rules: list[dict]) -> bool:
    return all(satisfies(rule, output) for rule in rules)


KINDS: dict[str, Callable[..., bool]] = {
    "all": _all,
    "starts": _starts,
    "ends": _ends,
    "in_order": _in_order,
    "excludes": _excludes,
    "max_words": _max_words,
}


def satisfies(rule: dict, output: str) -> bool:
    """Whether `output` satisfies `rule`; upper and lower case are not told apart, blanks around the output are dropped.

    Kinds: `all` (rules), `starts` and `ends` (text: whole words, or punctuation to the character), `in_order` (words,
    in this order), `excludes` (words), `max_words` (count).

    Raises:
        InputError: the rule has no `kind` of these, or not that kind's arguments.
    """
    kind = rule.get("kind")
    if kind not in KINDS:
        raise InputError(f"rule {rule}: its kind is {kind!r}; write one of {', '.join(sorted(KINDS))}")
    arguments = {key: value for key, value in rule.items() if key != "kind"}
    try:
        return KINDS[kind](output, **arguments)
    except TypeError as error:
        raise InputError(f"rule {rule}: {error}") from error
