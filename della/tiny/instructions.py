"""LM: short writing tasks whose answers a program can verify, in AlpacaEval's schema with a rule for each.

    Thank Mia for the lamp. Begin with the word News.
     News: Dear Mia, thank you for the lamp.

An operation says what to write with which words, a form how to begin or to end. The rule (`eval.rules`) asks for the
words, the frame of the operation and the form, not for the exact answer trained on.
"""

from dataclasses import dataclass
from random import Random

from della.tiny.words import (
    ADJECTIVES,
    ANIMALS,
    CLOSINGS,
    COLOURS,
    DAYS,
    EVENTS,
    FOODS,
    NAMES,
    PLACES,
    SIGNALS,
    THINGS,
    Problem,
    choose_group,
    split_of,
)  # fmt: skip


@dataclass(frozen=True)
class Operation:
    """What to write: its slots' words, the answer, the part of it the rule wants, and phrasings (the last is held out).

    `frame` holds the words that must occur in this order; a slot written {a}, {b} or {c} stands for its word.
    """

    slots: tuple[list[str], ...]
    answer: str
    frame: str
    phrasings: tuple[str, ...]


OPERATIONS = {
    "thank": Operation(
        (NAMES, THINGS),
        "Dear {a}, thank you for the {b}.",
        "Dear {a} thank {b}",
        (
            "Thank {a} for the {b}.",
            "Write a note to thank {a} for the {b}.",
            "{a} gave you the {b}. Write a note of thanks.",
            "Write to thank {a} for the {b}.",
        ),
    ),
    "invite": Operation(
        (NAMES, EVENTS, DAYS),
        "Dear {a}, please come to the {b} on {c}.",
        "Dear {a} come {b} on {c}",
        (
            "Invite {a} to the {b} on {c}.",
            "Write a note to invite {a} to a {b} on {c}.",
            "There is a {b} on {c}. Invite {a}.",
            "There is a {b} on {c}. Write to invite {a}.",
        ),
    ),
    "regret": Operation(
        (NAMES, THINGS),
        "Dear {a}, I am sorry about the {b}.",
        "Dear {a} sorry {b}",
        (
            "Say sorry to {a} about the {b}.",
            "Write a note to say sorry to {a} for the {b}.",
            "You broke the {b}. Say sorry to {a}.",
            "Say sorry to {a}: you broke the {b}.",
        ),
    ),
    "sell": Operation(
        (ADJECTIVES, COLOURS, THINGS),
        "For sale: a {a} {b} {c}, come and see!",
        "sale {a} {b} {c}",
        (
            "Write an advert for a {a} {b} {c}.",
            "Sell a {b} {c} that is {a}.",
            "You have a {a} {b} {c}. Write an advert for it.",
            "Write an advert to sell a {a} {b} {c}.",
        ),
    ),
    "scene": Operation(
        (PLACES, ANIMALS, THINGS),
        "In the {a} a {b} sits by a {c}.",
        "In {a} {b} sits {c}",
        (
            "Describe a {a} with a {b} and a {c}.",
            "Write a scene with a {b} and a {c} in a {a}.",
            "Describe a scene in the {a} with a {b} by a {c}.",
            "Write about a {a} with a {b} and a {c}.",
        ),
    ),
    "meet": Operation(
        (PLACES, DAYS, FOODS),
        "Meet me in the {a} on {b} and bring {c}.",
        "Meet in {a} on {b} bring {c}",
        (
            "Plan to meet in the {a} on {b} with {c}.",
            "Ask someone to bring {c} and meet you in the {a} on {b}.",
            "You meet in the {a} on {b}. Write that you need {c}.",
            "Ask someone to meet you in the {a} on {b} with {c}.",
        ),
    ),
    "ask": Operation(
        (NAMES, THINGS, PLACES),
        "{a}, is the {b} in the {c}?",
        "{a} is {b} in {c}",
        (
            "Ask {a} if the {b} is in the {c}.",
            "Write a question to {a}: is the {b} in the {c} or not.",
            "You need the {b}. Ask {a} about the {c}.",
            "Write to ask {a} if the {b} is in the {c}.",
        ),
    ),
    "warn": Operation(
        (NAMES, ANIMALS, PLACES),
        "Watch out, {a}, there is a {b} in the {c}!",
        "Watch out {a} {b} in {c}",
        (
            "Warn {a} about a {b} in the {c}.",
            "There is a {b} in the {c}. Warn {a}.",
            "Write a note to warn {a} of the {b} in the {c}.",
            "Write to warn {a}: there is a {b} in the {c}.",
        ),
    ),
}

# How to begin or end; {w} is a word of the list. The last phrasing is held out.
FORMS = {
    "plain": ((), ("",)),
    "begin": (
        SIGNALS,
        (" Begin with the word {w}.", " The first word is {w}.", " Start with {w}.", " Begin with {w}."),
    ),
    "end": (
        CLOSINGS,
        (" End with the word {w}.", " The last word is {w}.", " Close with {w}.", " End with {w}."),
    ),
    "quote": ((), (" Use quotes.", " Put it in quotes.", " Write it in quotes.", " Put quotes around it.")),
}


def dress(form: str, word: str, answer: str) -> str:
    """The answer in its form."""
    if form == "begin":
        return f"{word}: {answer}"
    if form == "end":
        return f"{answer} {word}."
    return f'"{answer}"' if form == "quote" else answer


def write_rule(operation: Operation, form: str, word: str, slots: dict[str, str]) -> dict:
    """The rule an output must satisfy: the frame's words in order, the form, and no more than 20 words."""
    rules: list[dict] = [{"kind": "in_order", "words": operation.frame.format(**slots).split()}]
    if form == "begin":
        rules.append({"kind": "starts", "text": word})
    elif form == "end":
        rules.append({"kind": "ends", "text": word})
    elif form == "quote":
        rules += [{"kind": "starts", "text": '"'}, {"kind": "ends", "text": '"'}]
    else:
        rules.append({"kind": "starts", "text": operation.answer.format(**slots).split()[0].rstrip(",:.")})
    return {"kind": "all", "rules": [*rules, {"kind": "max_words", "count": 20}]}


def draw_slots(rng: Random, operation: Operation) -> dict[str, str]:
    while True:
        words = [rng.choice(choices) for choices in operation.slots]
        if len(set(words)) == len(words):
            return dict(zip("abc", words, strict=False))


def draw_problem(rng: Random, split: str) -> Problem | None:
    """A random problem, or None when its words belong to another split."""
    name = rng.choice(list(OPERATIONS))
    operation, slots = OPERATIONS[name], draw_slots(rng, OPERATIONS[name])
    if split_of((name, *slots.values())) != split:
        return None
    form = rng.choice(list(FORMS))
    words, endings = FORMS[form]
    word = rng.choice(words) if words else ""
    group = choose_group(rng, split)
    held_out = group == "held_out"
    phrasing = operation.phrasings[-1] if held_out else rng.choice(operation.phrasings[:-1])
    ending = endings[-1] if held_out else rng.choice(endings[:-1] or endings)
    instruction = phrasing.format(**slots) + ending.format(w=word)
    document = {
        "instruction": instruction,
        "output": "",
        "generator": "tiny_base",
        "dataset": "tiny",
        "rule": write_rule(operation, form, word, slots),
        "group": group,
    }
    return Problem(instruction, dress(form, word, operation.answer.format(**slots)), document, group)
