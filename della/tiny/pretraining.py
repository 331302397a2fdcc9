"""What the base reads: tables of arithmetic, small stories, programs, notes, and a little in the form of instructions.

It holds the skills of the three benchmarks (facts, the grammar of programs, copying words into sentences) but never
their questions, so that an expert's delta is the step from a skill to answering when asked.
"""

from collections.abc import Callable
from random import Random

from della.tiny import arithmetic, instructions, programs, words


def write_facts(rng: Random) -> str:
    """A few facts and two-step sums: "7 + 5 = 12, 12 - 3 = 9"."""
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
    "+": ("{n} has {a} {t}. {n} buys {b} more.", "There are {a} {t}. {n} finds {b} {t}.", "{n} adds {b} {t} to {a}."),
    "-": ("{n} had {a} {t} and gave {b} to {m}.", "{n} has {a} {t}. {m} takes {b}.", "{n} loses {b} of {a} {t}."),
    "*": ("{n} has {a} boxes with {b} {t} each.", "There are {a} bags. Each bag has {b} {t}.", "For {a} days {n} buys {b} {t}."),
    "/": ("{b} friends share {a} {t} equally.", "{n} puts {a} {t} in {b} boxes.", "{n} and friends, {b} in all, share {a} {t}."),
}  # fmt: skip
AFTERWARDS = (
    "Then they are happy and go to the {p}.",
    "{m} wants {u} and {v} for the {p}.",
    "It is {d} and {m} needs the {o}.",
    "They do not have a {o} left.",
    "{n} and {m} sit in the {p} with a {i}.",
    "How many {t} do they get? Not many.",
)


def write_story(rng: Random) -> str:
    """Two or three sentences with numbers, followed by the sum they tell, or none."""
    lines, slots = [], {}
    for _ in range(rng.randint(1, 2)):
        left, sign, right = rng.choice(arithmetic.FACTS)
        n, m = rng.sample(words.NAMES, 2)
        slots = {"n": n, "m": m, "t": rng.choice(words.PLURALS), "a": left, "b": right}
        slots |= {"p": rng.choice(words.PLACES), "d": rng.choice(words.DAYS), "i": rng.choice(words.ANIMALS)}
        slots |= {"o": rng.choice(words.THINGS), "u": rng.choice(words.FOODS), "v": rng.choice(words.FOODS)}
        lines.append(rng.choice(TOLD[sign]).format(**slots))
        if rng.random() < 0.5:
            lines.append(f"{left} {sign} {right} = {arithmetic.OPERATIONS[sign](left, right)}.")
        if rng.random() < 0.5:
            lines.append(rng.choice(AFTERWARDS).format(**slots))
    return " ".join(lines)


def write_program(rng: Random) -> str:
    """A program with what it does beside it, in key words: "# sum, squares, even"."""
    parts = programs.draw_parts(rng)
    aggregate, mapping, keep, k, j = parts
    keys = f" # {aggregate}; {mapping.format(k=k).removesuffix(' of ') or 'x'}; {keep.format(k=j)}"
    code = f" def f(xs): return {programs.write_expression(*parts)}"
    return f"{keys}\n{code}" if rng.random() < 0.5 else f"{code}{keys}"


def write_note(rng: Random) -> str:
    """A written answer of the LM tasks by itself, or after the words it uses, in any order."""
    operation = rng.choice(list(instructions.OPERATIONS.values()))
    slots = instructions.draw_slots(rng, operation)
    form = rng.choice(list(instructions.FORMS))
    choices = instructions.FORMS[form][0]
    word = rng.choice(choices) if choices else ""
    text = instructions.dress(form, word, operation.answer.format(**slots))
    if rng.random() < 0.3:
        return " " + text
    keys = [*slots.values(), *([word] if word else [])]
    if rng.random() < 0.5:
        rng.shuffle(keys)
    return f"Words: {', '.join(keys)}. Text: {text}"


def write_copy(rng: Random) -> str:
    """Words said again, forwards or paired: it teaches copying, which everything else needs."""
    pool = words.NAMES + words.THINGS + words.PLACES + words.FOODS + words.SIGNALS + words.CLOSINGS + words.ANIMALS
    chosen = rng.sample(pool, rng.randint(3, 6))
    said = " ".join(chosen)
    return f"Words: {said}. Again: {said}."


def write_chatter(rng: Random) -> str:
    """Sentences with the words that instructions are made of, in an order that asks for nothing."""
    sentences = rng.sample(CHATTER, 3)
    slots = {"n": rng.choice(words.NAMES), "o": rng.choice(words.THINGS), "p": rng.choice(words.PLACES)}
    return " ".join(sentences).format(**slots)


CHATTER = (
    "{n} can write a note, a question or an advert.",
    "I have a list to make and a scene to describe.",
    "Put the {o} around the {p} or close it.",
    "You need a word to begin with and a word to end with.",
    "What is the first or the last word?",
    "Use quotes to ask, or start to sell.",
    "{n} wants to invite, to warn, to thank and to say sorry.",
    "A Python function f returns a list xs.",
    "Define it, code it and find the numbers above, below or other than x.",
    "You broke it and gave it to {n} with thanks.",
    "How many are left, and does each friend get one?",
    "They share it equally and have them together.",
    "Write about what is in the {p}, if it is that.",
    "I am in the {p} by a {o} with {n}.",
)


def write_lookup(rng: Random) -> str:
    """The form of an instruction, with a question of neither benchmark: it teaches where an answer begins and ends."""
    kind = rng.choice(("day", "colour"))
    if kind == "day":
        position = rng.randrange(7)
        return words.prompt(f"{words.DAYS[position]} comes before?") + " " + words.DAYS[(position + 1) % 7]
    colour, thing = rng.choice(words.COLOURS), rng.choice(words.THINGS)
    return words.prompt(f"The {thing} is {colour}. The colour?") + " " + colour


WRITERS: dict[Callable[[Random], str], float] = {
    write_facts: 0.28,
    write_story: 0.16,
    write_program: 0.13,
    write_note: 0.25,
    write_copy: 0.08,
    write_chatter: 0.08,
    write_lookup: 0.02,
}


def write_documents(seed: int, count: int) -> list[str]:
    """The base's reading: `count` documents in a random order fixed by the seed."""
    rng = Random(f"{seed} pretraining")
    writers = rng.choices(list(WRITERS), list(WRITERS.values()), k=count)
    return [writer(rng) for writer in writers]
