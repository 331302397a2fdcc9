"""Math: word problems of one and two steps with small numbers, in GSM8K's schema.

    Tom has 7 apples. Tom buys 5 more and loses 3. How many apples are left?
     7 + 5 = 12, 12 - 3 = 9
    #### 9

Every step is a fact of a small table (`is_fact`), which the base has read; the expert learns to turn words into steps.
"""

from dataclasses import dataclass
from random import Random

from della.tiny.words import NAMES, PLURALS, Problem, choose_group, split_of

OPERATIONS = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": lambda left, right: left // right,
}


def is_fact(left: int, sign: str, right: int) -> bool:
    """Whether `left sign right` is in the table: sums and differences with 2..20, products and quotients of 2..9."""
    if sign == "+":
        return 2 <= left <= 60 and 2 <= right <= 20
    if sign == "-":
        return 2 <= right <= 20 and 2 <= left - right <= 60
    if sign == "*":
        return 2 <= left <= 9 and 2 <= right <= 9
    return 2 <= right <= 9 and left % right == 0 and 2 <= left // right <= 9


FACTS = [
    (left, sign, right) for sign in OPERATIONS for left in range(2, 82) for right in range(2, 21)
    if is_fact(left, sign, right)
]  # fmt: skip


@dataclass(frozen=True)
class Family:
    """Problems of one kind: the steps' signs, then ways to tell them; {a}, {b}, {c} are the numbers in step order.

    A second step takes the first one's result, `{a} sign {b}`, as its left number. The last phrasing is held out.
    """

    signs: str
    phrasings: tuple[str, ...]


FAMILIES = (
    Family(
        "+",
        (
            "{n} has {a} {t}. {n} buys {b} more. How many {t} does {n} have now?",
            "{n} finds {a} {t} and then {b} more {t}. How many {t} does {n} have?",
            "There are {a} {t} in a box. {n} adds {b} more. How many {t} are in the box now?",
            "{n} has {a} {t} in a box and finds {b} more. How many {t} are there now?",
        ),
    ),
    Family(
        "-",
        (
            "{n} has {a} {t}. {n} loses {b} of them. How many {t} does {n} have left?",
            "There are {a} {t} in a box. {n} takes {b} of them. How many {t} are left?",
            "{n} had {a} {t} and gave {b} to {m}. How many {t} does {n} have now?",
            "{n} has {a} {t} and gave {b} of them to {m}. How many {t} are left?",
        ),
    ),
    Family(
        "*",
        (
            "{n} has {a} boxes with {b} {t} in each. How many {t} does {n} have?",
            "There are {a} bags. Each bag has {b} {t}. How many {t} are there?",
            "{n} buys {b} {t} each day for {a} days. How many {t} does {n} have?",
            "There are {a} boxes. {n} finds {b} {t} in each. How many {t} are there?",
        ),
    ),
    Family(
        "/",
        (
            "{n} shares {a} {t} equally with {b} friends. How many {t} does each friend get?",
            "{n} puts {a} {t} equally into {b} boxes. How many {t} are in each box?",
            "{b} friends share {a} {t} equally. How many {t} does each friend get?",
            "{n} has {a} {t} and shares them equally with {b} friends. How many {t} does each get?",
        ),
    ),
    Family(
        "++",
        (
            "{n} has {a} {t}. {n} buys {b} more and finds {c} more. How many {t} does {n} have now?",
            "{n} has {a} {t}, {m} has {b} and {o} has {c}. How many {t} do they have together?",
            "There are {a} {t} in a box. {n} adds {b} and {m} adds {c} more. How many {t} are in the box now?",
            "{n} finds {a} {t}, then {b} more and then {c} more. How many {t} does {n} have now?",
        ),
    ),
    Family(
        "+-",
        (
            "{n} has {a} {t}. {n} buys {b} more and loses {c}. How many {t} does {n} have left?",
            "{n} finds {a} {t} and then {b} more, then gave {c} to {m}. How many {t} are left?",
            "There are {a} {t} in a box. {n} adds {b} and {m} takes {c}. How many {t} are in the box now?",
            "{n} has {a} {t}, finds {b} more and then gave {c} to {m}. How many {t} does {n} have left?",
        ),
    ),
    Family(
        "-+",
        (
            "{n} has {a} {t}. {n} loses {b} and buys {c} more. How many {t} does {n} have now?",
            "There are {a} {t} in a box. {n} takes {b} and {m} adds {c}. How many {t} are in the box now?",
            "{n} had {a} {t}, gave {b} to {m} and then finds {c} more. How many {t} does {n} have?",
            "{n} has {a} {t}, loses {b} of them and then finds {c} more. How many {t} are there now?",
        ),
    ),
    Family(
        "*+",
        (
            "{n} has {a} boxes with {b} {t} in each and finds {c} more. How many {t} does {n} have?",
            "There are {a} bags. Each bag has {b} {t}. {n} adds {c} more {t}. How many {t} are there now?",
            "{n} buys {b} {t} each day for {a} days, then finds {c} more. How many {t} does {n} have?",
            "There are {a} boxes with {b} {t} in each. {n} buys {c} more. How many {t} are there now?",
        ),
    ),
    Family(
        "*-",
        (
            "{n} has {a} boxes with {b} {t} in each and loses {c} of them. How many {t} are left?",
            "There are {a} bags. Each bag has {b} {t}. {n} takes {c} {t}. How many {t} are left?",
            "{n} buys {b} {t} each day for {a} days, then gave {c} to {m}. How many {t} does {n} have left?",
            "There are {a} boxes with {b} {t} in each. {n} takes {c} of them. How many {t} are left?",
        ),
    ),
    Family(
        "+*",
        (
            "{n} has {a} red and {b} blue boxes with {c} {t} in each. How many {t} does {n} have?",
            "There are {a} big bags and {b} small bags. Each bag has {c} {t}. How many {t} are there?",
            "{n} has {a} boxes and buys {b} more. Each box has {c} {t}. How many {t} are there?",
            "There are {a} red bags and {b} blue bags. {n} finds {c} {t} in each. How many {t} are there?",
        ),
    ),
    Family(
        "/+",
        (
            "{n} shares {a} {t} equally with {b} friends. {m}, one friend, finds {c} more. How many {t} has {m}?",
            "{n} puts {a} {t} equally into {b} boxes and adds {c} more to each. How many {t} are in each box?",
            "{b} friends share {a} {t} equally. Each friend buys {c} more. How many {t} has each friend?",
            "{n} shares {a} {t} equally with {b} friends. Each friend finds {c} more. How many {t} has each friend?",
        ),
    ),
)


def solve(signs: str, numbers: tuple[int, ...]) -> list[tuple[int, str, int, int]] | None:
    """The steps (left, sign, right, result) of a problem; None when one of them is not a fact of the table."""
    steps, left = [], numbers[0]
    for sign, right in zip(signs, numbers[1:], strict=True):
        if not is_fact(left, sign, right):
            return None
        result = OPERATIONS[sign](left, right)
        steps.append((left, sign, right, result))
        left = result
    return steps


def write_steps(steps: list[tuple[int, str, int, int]]) -> str:
    return ", ".join(f"{left} {sign} {right} = {result}" for left, sign, right, result in steps)


def draw_numbers(rng: Random, signs: str) -> tuple[tuple[int, ...], list[tuple[int, str, int, int]]]:
    """Numbers of a solvable problem, every first step of the table equally likely, and its steps."""
    starts = STARTS[signs]
    while True:
        left, _, right = rng.choice(starts)
        numbers = (left, right, *(rng.randint(2, 20 if sign in "+-" else 9) for sign in signs[1:]))
        steps = solve(signs, numbers)
        if steps is not None:
            return numbers, steps


STARTS = {
    family.signs: [
        fact for fact in FACTS
        if fact[1] == family.signs[0] and (family.signs != "+*" or fact[0] + fact[2] <= 9)
    ]
    for family in FAMILIES
}  # fmt: skip


def draw_problem(rng: Random, split: str) -> Problem | None:
    """A random problem, or None when its numbers belong to another split."""
    family = rng.choice(FAMILIES)
    numbers, steps = draw_numbers(rng, family.signs)
    thing = rng.choice(PLURALS)
    # A product of 2..9 has too few pairs of numbers to be told apart by them alone.
    if split_of((family.signs, numbers, thing)) != split:
        return None
    group = choose_group(rng, split)
    phrasing = family.phrasings[-1] if group == "held_out" else rng.choice(family.phrasings[:-1])
    names = rng.sample(NAMES, 3)
    slots = dict(zip("abc", numbers, strict=False)) | dict(zip("nmo", names, strict=True)) | {"t": thing}
    question = phrasing.format(**slots)
    answer = f"{write_steps(steps)}\n#### {steps[-1][3]}"
    return Problem(question, answer, {"question": question, "answer": answer, "group": group}, group)
