"""MBPP's scorer: a cleaned answer is right when the sandbox says that all asserts pass."""

from eval.tasks.data import read_documents
from eval.tasks.mbpp import score


def test_answers_are_cleaned_and_run_against_all_asserts(family_data, tmp_path):
    """f adds 0, 1, 2, 3: right; right with a leading space; right on the first assert only; not a program."""
    documents = read_documents("mbpp", family_data, "dev")
    outputs = ["def f(x): return x", " def f(x):\n    return x + 1", "def f(x): return 3", "I cannot"]
    scores = score(documents, outputs, prompts="tiny", cache=tmp_path / "verdicts")
    assert scores == {"pass_at_1": [1.0, 1.0, 0.0, 0.0]}


def test_reference_solutions_pass_whatever_the_cleaning_does_to_them(real_data, tmp_path):
    """The first 20; the sandbox's own tests run all 500."""
    documents = read_documents("mbpp", real_data, "test")[:20]
    scores = score(documents, [row["code"] for row in documents], prompts="wizard_13b", cache=tmp_path / "verdicts")
    assert scores == {"pass_at_1": [1.0] * 20}
