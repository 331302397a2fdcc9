"""What the base reads: tables of arithmetic, small stories, programs, notes, and a little in the form of instructions.

It holds the skills of the three benchmarks (facts, the grammar of programs, copying words into sentences) and every
word of their answers (an expert keeps the base's embeddings), but never their questions: an expert's delta is the step
from a skill to answering when asked.
"""

from collections.abc import Callable
from random import Random

from della.tiny import arithmetic, instructions, programs, words


def write_facts(rng: Random) -> str:
    """A few facts and two-step sums, or one with its result beneath: "7 + 5 = 12, 12 - 3 = 9"."""
    if rng.random() < 0.3:
        _, steps = arithmetic.draw_numbers(rng, rng.choice(arithmetic.FAMILIES).signs)
        return " " + arithmetic.write_answer(steps)
    lines = []
    for _ in range(rng.randint(3, 6)):
        if rng.random() < 0.6:
            left, sign, right = rng.choice(arithmetic.FACTS)
            lines.append(f"{left} {sign} {right} = {arithmetic.OPERATIONS[sign](left, right)}")
        else:
            _, steps = arithmetic.draw_numbers(rng, rng.choice(arithmetic.FAMILIES).signs)
            lines.append(arithmetic.write_steps(steps))
    return " " + "\n ".join(lines)


TOLD = {
    "+": ("{n} has {a} {t} and buys {b} more.", "There are {a} {t}, then {n} finds {b}.", "{n} adds {b} {t} to {a}."),
    "-": ("{n} had {a} {t} and {m} has {b} of them now.", "{m} takes {b} of {a} {t}.", "{n} loses {b} of {a} {t}."),
    "*": ("{n} has {a} boxes, each with {b} {t}.", "Each of {a} bags has {b} {t}.", "For {a} days {n} buys {b} {t}."),
    "/": ("{b} friends have {a} {t} to share.", "Into {b} boxes {n} puts {a} {t}.", "{n} has {a} {t} for {b} friends."),
}
CONTINUED = {
    "+": ("{c} more are in the box.", "{m} adds {c} to that.", "Then {n} buys {c}."),
    "-": ("{c} are lost.", "{m} takes {c} of that.", "Then {n} loses {c}."),
    "*": ("Each of them has {c} {t}.", "In each there are {c} {t}."),
}
AFTERWARDS = (
    "Then they are happy and go to the {p}.",
    "{m} wants {u} and {v} for the {p}.",
    "It is {d} and {m} needs the {o}.",
    "They do not have a {o} left.",
    "{n} and {m} sit in the {p} with a {i}.",
    "How many {t} do they get? Not many.",
)


def write_story(rng: Random) -> str:
    """A sentence or two with numbers, and mostly the sum they tell: "Each of 4 bags has 6 pens. So 4 * 6 = 24"."""
    signs = rng.choice(arithmetic.FAMILIES).signs
    numbers, steps = arithmetic.draw_numbers(rng, signs)
    n, m = rng.sample(words.NAMES, 2)
    slots = dict(zip("abc", numbers, strict=False)) | {"n": n, "m": m, "t": rng.choice(words.PLURALS)}
    slots |= {"p": rng.choice(words.PLACES), "d": rng.choice(words.DAYS), "i": rng.choice(words.ANIMALS)}
    slots |= {"o": rng.choice(words.THINGS), "u": rng.choice(words.FOODS), "v": rng.choice(words.FOODS)}
    lines = [rng.choice(TOLD[signs[0]]), *(rng.choice(CONTINUED[sign]) for sign in signs[1:])]
    if rng.random() < 0.25:
        lines.append(rng.choice(AFTERWARDS))
    if rng.random() < 0.9:
        lines.append(f"So {arithmetic.write_steps(steps)}.")
    return " ".join(lines).format(**slots)


def write_program(rng: Random) -> str:
    """A program with what it does beside it, in key words: "# sum, squares, even"."""
    parts = programs.draw_parts(rng)
    aggregate, mapping, keep, k, j = parts
    keys = f" # {aggregate}; {mapping.format(k=k).removesuffix(' of ') or 'x'}; {keep.format(k=j)}"
    code = f" def f(xs): return {programs.write_expression(*parts)}"
    return f"{keys}\n{code}" if rng.random() < 0.5 else f"{code}{keys}"


def write_note(rng: Random) -> str:
    """A written answer of the LM tasks by itself, or after the words it uses, sometimes in another order."""
    operation = rng.choice(list(instructions.OPERATIONS.values()))
    slots = instructions.draw_slots(rng, operation)
    form = rng.choice(list(instructions.FORMS))
    choices = instructions.FORMS[form][0]
    word = rng.choice(choices) if choices else ""
    text = instructions.dress(form, word, operation.answer.format(**slots))
    if rng.random() < 0.15:
        return " " + text
    keys = [*slots.values(), *([word] if word else [])]
    if rng.random() < 0.4:
        rng.shuffle(keys)
    return f"{introduce(keys[0])}{', '.join(keys)}. Text: {text}"


def introduce(first: str) -> str:
    """What precedes the first word: nothing for a name, since a name (as another token) begins problems, too."""
    return "" if first in words.NAMES else "Words: "


POOL = [
    *words.NAMES, *words.THINGS, *words.PLACES, *words.FOODS, *words.SIGNALS, *words.CLOSINGS, *words.ANIMALS,
    *words.ADJECTIVES, *words.EVENTS, *(str(number) for number in range(2, 61)),
]  # fmt: skip


def write_copy(rng: Random) -> str:
    """Words and numbers said again: it teaches copying, which everything else needs."""
    chosen = rng.sample(POOL, rng.randint(3, 8))
    said = " ".join(chosen)
    return f"{introduce(chosen[0])}{said}. Again: {said}."


def write_chatter(rng: Random) -> str:
    """Sentences with the words that instructions are made of, in an order that asks for nothing."""
    sentences = rng.sample(CHATTER, 3)
    slots = {"n": rng.choice(words.NAMES), "o": rng.choice(words.THINGS), "p": rng.choice(words.PLACES)}
    lead = f"{rng.choice(COMMANDS)}, {{n}} can ask. " if rng.random() < 0.3 else ""
    return (lead + " ".join(sentences)).format(**slots)


COMMANDS = ("Invite", "Ask", "Sell", "Describe", "Plan", "Thank", "Warn", "Say", "Write", "Define", "Code")
CHATTER = (
    "{n} has to Begin, to Start, to Close or to End it.",
    "To Warn or Invite {n}, to Ask or to Say it, is a plan.",
    "Each day {n} shares an old coat and gets into the {p}.",
    "Code f(xs) or define (xs) in Python.",
    "{n} can write a note, a question or an advert.",
    "I have a plan to make and a scene to describe.",
    "Put the {o} around the {p} or close it.",
    "You need a word to begin with and a word to end with.",
    "What is the first or the last word?",
    "Use quotes to ask, or start to sell.",
    "{n} wants to invite, to warn, to thank and to say sorry.",
    "A Python function f returns a list xs, or you meet {n}.",
    "Define it, code it and find the numbers above, below or other than x.",
    "You broke it and gave it to someone with thanks.",
    "How many are left, and does each friend get one?",
    "They share it equally and have them together.",
    "Write about what is in the {p}, if it is that.",
    "I am in the {p} by a {o} with {n}.",
)


def write_lookup(rng: Random) -> str:
    """The form of an instruction, with a question of no benchmark: it teaches where an answer begins and ends."""
    day = rng.randrange(7)
    name, thing, place = rng.choice(words.NAMES), rng.choice(words.THINGS), rng.choice(words.PLACES)
    colour, number = rng.choice(words.COLOURS), str(rng.randint(2, 60))
    asked, answer = rng.choice(
        (
            (f"What comes before {words.DAYS[day]}?", words.DAYS[day - 1]),
            (f"The {thing} in the {place} is {colour}. The colour?", colour),
            (f"{name} has the {thing} in the {place}. Who?", name),
            (f"{name} has {number} and wants a {thing}. The number?", number),
            (f"Say {thing} and {place}.", f"{thing} and {place}"),
        )
    )
    return f"{words.prompt(asked)} {answer}"


WRITERS: dict[Callable[[Random], str], float] = {
    write_facts: 0.17,
    write_story: 0.31,
    write_program: 0.08,
    write_note: 0.25,
    write_copy: 0.08,
    write_chatter: 0.05,
    write_lookup: 0.06,
}


def write_documents(seed: int, count: int) -> list[str]:
    """The base's reading: `count` documents in a random order fixed by the seed."""
    rng = Random(f"{seed} pretraining")
    writers = rng.choices(list(WRITERS), list(WRITERS.values()), k=count)
    return [writer(rng) for writer in writers]
