"""Code: one-line functions over a list of numbers, in MBPP's schema: an aggregate of a map over a filter.

    Write a function f to find the sum of the squares of the even numbers in xs.
     def f(xs): return sum(x * x for x in xs if x % 2 == 0)

Dev and test ask for combinations that training never shows. Of MBPP's prompt only the text is used: three asserts
would be ten times as long as the text, which fully says what f does.
"""

from random import Random

from della.tiny.words import Problem, choose_group, split_of

AGGREGATES = {
    "sum": "sum",
    "largest": "max",
    "smallest": "min",
    "list": "list",
    "sorted list": "sorted",
    "set": "set",
    "tuple": "tuple",
}
MAPS = {
    "": "x",
    "the squares of ": "x * x",
    "the negatives of ": "-x",
    "the halves of ": "x // 2",
    "{k} more than ": "x + {k}",
    "{k} less than ": "x - {k}",
    "{k} times ": "x * {k}",
    "the remainders by {k} of ": "x % {k}",
}
FILTERS = {
    "the numbers": "",
    "the even numbers": " if x % 2 == 0",
    "the odd numbers": " if x % 2 == 1",
    "the positive numbers": " if x > 0",
    "the negative numbers": " if x < 0",
    "the numbers above {k}": " if x > {k}",
    "the numbers below {k}": " if x < {k}",
    "the numbers divisible by {k}": " if x % {k} == 0",
    "the numbers other than {k}": " if x != {k}",
}
PHRASINGS = (
    "Write a function f to find the {what} in xs.",
    "Write a Python function f that returns the {what} in xs.",
    "Define f(xs), the {what} in xs.",
    "Code a function f for the {what} in xs.",
)
HELD_OUT = ("Write f(xs) to find the {what} in xs.", "Define a Python function f for the {what} in xs.")


def draw_parts(rng: Random) -> tuple[str, str, str, int, int]:
    """An aggregate, a map, a filter and the numbers k (3..9) of the map and of the filter."""
    parts = (rng.choice(list(AGGREGATES)), rng.choice(list(MAPS)), rng.choice(list(FILTERS)))
    return *parts, rng.randint(3, 9), rng.randint(3, 9)


def describe(aggregate: str, mapping: str, keep: str, k: int, j: int) -> str:
    return f"{aggregate} of {mapping.format(k=k)}{keep.format(k=j)}"


def write_expression(aggregate: str, mapping: str, keep: str, k: int, j: int) -> str:
    return f"{AGGREGATES[aggregate]}({MAPS[mapping].format(k=k)} for x in xs{FILTERS[keep].format(k=j)})"


def write_mutants(aggregate: str, mapping: str, keep: str, k: int, j: int) -> list[str]:
    """The expressions of near misses: another aggregate, no map, no filter."""
    near = [(other, mapping, keep) for other in AGGREGATES] + [
        (aggregate, "", keep),
        (aggregate, mapping, "the numbers"),
    ]
    own = write_expression(aggregate, mapping, keep, k, j)
    return [text for text in (write_expression(*parts, k, j) for parts in near) if text != own]


def draw_lists(rng: Random, j: int) -> list[list[int]]:
    """Three lists of 8 numbers, j among them and sometimes the largest."""
    return [[*rng.sample(range(-9, rng.choice([j + 1, 12, 31])), 7), j] for _ in range(3)]


def evaluate(expression: str, lists: list[list[int]]) -> list[object]:
    """The values on each list; None where there is none (the largest of no numbers)."""
    code = compile(expression, "<expression>", "eval")
    values: list[object] = []
    for xs in lists:
        try:
            values.append(eval(code, {"xs": xs}))
        except ValueError:
            values.append(None)
    return values


def draw_tests(rng: Random, parts: tuple[str, str, str, int, int], strict: bool) -> list[str] | None:
    """Three asserts that the program passes and, if `strict`, each of its near misses fails; None if none is found."""
    expression = write_expression(*parts)
    mutants = write_mutants(*parts) if strict else []
    for _ in range(30):
        lists = draw_lists(rng, parts[4])
        values = evaluate(expression, lists)
        if None not in values and all(evaluate(mutant, lists) != values for mutant in mutants):
            return [f"assert f({xs}) == {value!r}" for xs, value in zip(lists, values, strict=True)]
    return None


def draw_problem(rng: Random, split: str) -> Problem | None:
    """A random problem; None if its combination is of another split or no asserts tell it from its near misses."""
    parts = draw_parts(rng)
    what, expression = describe(*parts), write_expression(*parts)
    if split_of(what) != split:
        return None
    tests = draw_tests(rng, parts, strict=split != "train")
    if tests is None:
        return None
    group = choose_group(rng, split)
    text = rng.choice(HELD_OUT if group == "held_out" else PHRASINGS).format(what=what)
    code = f"def f(xs): return {expression}"
    document = {
        "text": text,
        "code": code,
        "test_list": tests,
        "test_setup_code": "",
        "challenge_test_list": [],
        "group": group,
    }
    return Problem(text, code, document, group)
