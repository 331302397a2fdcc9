"""The tiny problems: right answers, splits that share nothing, rules and asserts that tell right from wrong."""

import itertools
from random import Random

import pytest

from della.tiny import arithmetic, instructions, programs
from della.tiny.family import draw_problems
from della.tiny.words import split_of
from eval.rules import satisfies

SPLITS = ("train", "dev", "test")


@pytest.fixture(scope="module")
def problems():
    """500 problems of each split of each expert's benchmark."""
    return {(expert, split): draw_problems(expert, split, 500, seed=0) for expert in DRAWERS for split in SPLITS}


DRAWERS = ("lm", "math", "code")


@pytest.mark.parametrize("expert", DRAWERS)
def test_no_instruction_occurs_in_two_splits(problems, expert):
    texts = {split: {problem.instruction for problem in problems[expert, split]} for split in SPLITS}
    assert all(len(found) == 500 for found in texts.values())
    for one, other in itertools.combinations(SPLITS, 2):
        assert not texts[one] & texts[other]


def test_the_splits_are_the_same_for_every_seed():
    """An instruction of seed 1's test split is never in seed 0's training split, which is 8 times as large."""
    train = {problem.instruction for problem in draw_problems("math", "train", 4000, seed=0)}
    test = {problem.instruction for problem in draw_problems("math", "test", 500, seed=1)}
    assert not train & test


def test_another_seed_draws_other_problems():
    first, second = (draw_problems("code", "test", 50, seed) for seed in (0, 1))
    assert [problem.instruction for problem in first] != [problem.instruction for problem in second]


@pytest.mark.parametrize("expert", DRAWERS)
def test_held_out_phrasings_occur_in_a_third_of_dev_and_test_and_never_in_training(problems, expert):
    """Of 500 problems a third is 167; the standard deviation of the count is 10.5."""
    assert {problem.group for problem in problems[expert, "train"]} == {"seen"}
    for split in ("dev", "test"):
        assert 125 < sum(problem.group == "held_out" for problem in problems[expert, split]) < 210


def test_about_seventy_of_a_hundred_contents_are_for_training():
    """The standard deviation of the share of 4,000 is 0.7 points for training and 0.6 for the others."""
    shares = [sum(split_of(("key", i)) == split for i in range(4000)) / 4000 for split in SPLITS]
    assert shares == pytest.approx([0.70, 0.15, 0.15], abs=0.03)


def test_every_sum_written_in_an_answer_is_right_and_the_last_result_is_the_answer(problems):
    for split in SPLITS:
        for problem in problems["math", split]:
            working, answer = problem.answer.split("\n#### ")
            for step in working.split(", "):
                expression, result = step.split(" = ")
                assert eval(expression) == int(result)
            assert result == answer
            assert problem.document["answer"] == problem.answer


def test_a_two_step_problem_is_solved_step_by_step():
    """(7 + 5) - 3: 12, then 9; 7 - 5 = 2 is in the table, 2 - 3 is not."""
    assert arithmetic.solve("+-", (7, 5, 3)) == [(7, "+", 5, 12), (12, "-", 3, 9)]
    assert arithmetic.solve("--", (7, 5, 3)) is None


@pytest.mark.parametrize(
    ("fact", "expected"),
    [
        ((60, "+", 20), True), ((61, "+", 20), False), ((9, "-", 7), True), ((9, "-", 8), False),
        ((9, "*", 9), True), ((10, "*", 9), False), ((81, "/", 9), True), ((80, "/", 9), False),
    ],
)  # fmt: skip
def test_the_table_of_facts_has_its_bounds(fact, expected):
    assert arithmetic.is_fact(*fact) is expected


@pytest.mark.parametrize("split", SPLITS)
def test_every_program_passes_its_three_asserts(problems, split):
    for problem in problems["code", split]:
        scope = {}
        exec(problem.document["code"], scope)
        assert len(problem.document["test_list"]) == 3
        for test in problem.document["test_list"]:
            exec(test, scope)


def test_a_near_miss_fails_an_assert_of_every_test_problem(problems):
    """The filter dropped from, or another aggregate put into, each program."""
    for problem in problems["code", "test"][:200]:
        code = problem.document["code"]
        head, _, call = code.partition("return ")
        aggregate, _, rest = call.partition("(")
        mutants = [f"{head}return {other}({rest}" for other in programs.AGGREGATES.values() if other != aggregate]
        if " if " in code:
            mutants.append(code.split(" if ")[0] + ")")
        for mutant in mutants:
            scope = {}
            exec(mutant, scope)
            assert any(_fails(test, scope) for test in problem.document["test_list"]), mutant


def _fails(test, scope):
    try:
        exec(test, dict(scope))
    except (AssertionError, ValueError):
        return True
    return False


@pytest.mark.parametrize("split", SPLITS)
def test_every_written_answer_satisfies_its_rule_and_no_other_answer_of_its_operation_does(problems, split):
    for problem in problems["lm", split]:
        assert satisfies(problem.document["rule"], " " + problem.answer), problem
    for problem, other in itertools.pairwise(problems["lm", split]):
        if problem.answer not in (other.answer, other.answer.strip('"')):
            assert not satisfies(problem.document["rule"], other.answer), (problem, other)


def test_an_answer_in_the_wrong_form_breaks_the_rule():
    operation = instructions.OPERATIONS["thank"]
    slots = {"a": "Mia", "b": "lamp"}
    answer = "Dear Mia, thank you for the lamp."
    for form, word in (("plain", ""), ("begin", "News"), ("end", "Bye"), ("quote", "")):
        rule = instructions.write_rule(operation, form, word, slots)
        for other, other_word in (("plain", ""), ("begin", "News"), ("end", "Bye"), ("quote", "")):
            right = other == form or (form, other) == ("plain", "quote") or (form, other) == ("plain", "end")
            assert satisfies(rule, instructions.dress(other, other_word, answer)) is right, (form, other)


def test_a_problem_of_another_split_is_not_drawn():
    rng = Random(0)
    drawn = [arithmetic.draw_problem(rng, "test") for _ in range(300)]
    assert 10 < sum(problem is not None for problem in drawn) < 90
