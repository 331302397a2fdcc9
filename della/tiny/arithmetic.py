"""Math: word problems of one and two steps with small numbers, in GSM8K's schema.

    Tom has 7 apples. Mia adds 5 more. Then Tom loses 3. How many apples are left?
     7 + 5 = 12, 12 - 3 = 9
    #### 9

Every step is a fact of a small table (`is_fact`), which the base has read; the expert learns to turn words into steps.
"""

from dataclasses import dataclass
from itertools import product
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
    """Problems of one kind: the steps' signs, and how they are told; {a}, {b}, {c} are the numbers in step order.

    A phrasing is an opening, a continuation and a question. A second step takes the first one's result as its left
    number.
    """

    signs: str
    openings: tuple[str, ...]
    continuations: tuple[str, ...]
    questions: tuple[str, ...]

    def phrasings(self, held_out: bool) -> list[str]:
        """The phrasings kept from training, or the others: of their three parts, each part occurs in both."""
        parts = (range(len(self.openings)), range(len(self.continuations)), range(len(self.questions)))
        chosen = [(i, j, k) for i, j, k in product(*parts) if ((i + j + k) % 3 == 2) is held_out]
        return [f"{self.openings[i]} {self.continuations[j]} {self.questions[k]}" for i, j, k in chosen]


HAS = ("{n} has {a} {t}.", "There are {a} {t} in a box.", "{n} finds {a} {t}.")
BOXES = ("{n} has {a} boxes with {b} {t} in each.", "There are {a} bags. Each bag has {b} {t}.",
         "{n} buys {b} {t} each day for {a} days.")  # fmt: skip
SHARES = ("{n} shares {a} {t} equally with {b} friends.", "{b} friends share {a} {t} equally.",
          "{n} puts {a} {t} equally into {b} boxes.")  # fmt: skip
KINDS = ("{n} has {a} red and {b} blue boxes.", "There are {a} big bags and {b} small bags.",
         "{n} buys {a} old and {b} new boxes.")  # fmt: skip
MORE = ("{m} adds {b} more.", "{n} buys {b} more.", "Then {n} finds {b} more.")
LESS = ("{m} takes {b} of them.", "{n} gave {b} to {m}.", "Then {n} loses {b}.")
NOW = ("How many {t} are there now?", "How many {t} does {n} have now?", "How many {t} are left?")
EACH = ("How many {t} are there for each?", "How many {t} does each get?", "How many {t} is that for each?")


def follow(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    """Each sentence about {b} followed by one about {c}."""
    seconds = [sentence.replace("{b}", "{c}") for sentence in second]
    return tuple(f"{one} {other}" for one, other in zip(first, [*seconds[1:], seconds[0]], strict=True))


THIRD = tuple(sentence.replace("{b}", "{c}") for sentence in MORE)
FAMILIES = (
    Family("+", HAS, MORE, NOW),
    Family("-", HAS, LESS, NOW),
    Family("*", BOXES, ("The boxes are red.", "It is Monday.", "{m} has not one."), NOW),
    Family("/", SHARES, ("They are happy.", "It is Monday.", "{m} has not one."), EACH),
    Family("++", HAS, follow(MORE, MORE), NOW),
    Family("+-", HAS, follow(MORE, LESS), NOW),
    Family("-+", HAS, follow(LESS, MORE), NOW),
    Family("*+", BOXES, THIRD, NOW),
    Family("*-", BOXES, tuple(sentence.replace("{b}", "{c}") for sentence in LESS), NOW),
    Family(
        "+*", KINDS, ("{m} finds {c} {t} in each.", "{n} puts {c} {t} into each.", "Each of them has {c} {t}."), NOW
    ),
    Family(
        "/+", SHARES, ("{m} adds {c} more to each.", "Then each gets {c} more.", "Each of them finds {c} more."), EACH
    ),
)
PHRASINGS = {(family.signs, held_out): family.phrasings(held_out) for family in FAMILIES for held_out in (False, True)}


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


def write_answer(steps: list[tuple[int, str, int, int]]) -> str:
    return f"{write_steps(steps)}\n#### {steps[-1][3]}"


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
    names = rng.sample(NAMES, 2)
    slots = dict(zip("abc", numbers, strict=False)) | dict(zip("nm", names, strict=True)) | {"t": thing}
    question = rng.choice(PHRASINGS[family.signs, group == "held_out"]).format(**slots)
    answer = write_answer(steps)
    return Problem(question, answer, {"question": question, "answer": answer, "group": group}, group)
