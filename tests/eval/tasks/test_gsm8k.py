"""GSM8K's three metrics: the published regexes and the numeric comparison."""

from decimal import Decimal

import pytest
from lm_eval.api.metrics import exact_match_hf_evaluate
from lm_eval.filters.extraction import RegexFilter

from eval.tasks.data import read_documents
from eval.tasks.gsm8k import extract_flexible, extract_number, extract_strict, score


def test_every_gold_answer_scores_as_a_generation(real_data):
    documents = read_documents("gsm8k", real_data, "test")
    scores = score(documents, [document["answer"] for document in documents])
    assert sum(scores["flexible"]) == sum(scores["numeric"]) == len(documents) == 1319


@pytest.mark.parametrize(
    ("output", "value"),
    [
        ("29.00", 29),
        ("The answer is $29.00.", 29),
        ("#### 1,234,567", 1234567),
        ("it costs $1,000.50!", "1000.5"),
        ("-7", -7),
        ("-$7", -7),
        ("$-7", -7),
        ("a range of 10-3", 3),  # a minus after a digit is no sign
        ("x = .5", "0.5"),
        ("so...5", 5),
        ("3, 4, 12", 12),
        ("1,23", 23),  # not a thousands comma
        ("007", 7),
        ("20%", 20),
        ("-$-7", -7),
    ],
)
def test_the_numeric_metric_reads_the_value_of_the_last_number(output, value):
    assert extract_number(output) == Decimal(value)


@pytest.mark.parametrize("output", ["", "none at all", "$", "-", ".", "..."])
def test_an_output_without_a_number_is_wrong_and_no_error(output):
    assert extract_number(output) is None
    assert score([{"answer": "#### 5"}], [output]) == {"flexible": [0.0], "strict": [0.0], "numeric": [0.0]}


def test_text_metrics_compare_text_and_the_numeric_one_compares_values():
    """29.00 is 29 in value only; strict needs the sentence "The answer is: N" and one more character after it."""
    documents = [{"answer": "It is 29.\n#### 29"}] * 3
    scores = score(documents, ["costs 29.00", "The answer is: 29. I think", "so 28"])
    assert scores == {"flexible": [0.0, 1.0, 0.0], "strict": [0.0, 1.0, 0.0], "numeric": [1.0, 1.0, 0.0]}


OUTPUTS = [
    "The answer is: 18.",
    "The answer is: $18",
    "18 dollars",
    "1,8",
    "-18.",
    "The answer is: 18",
    "x 18 y 3.",
    "",
]


@pytest.mark.parametrize(
    ("extract", "settings"),
    [
        (extract_strict, {"regex_pattern": "The answer is: (\\-?[0-9\\.\\,]+)."}),
        (extract_flexible, {"regex_pattern": "(-?[$0-9.,]{2,})|(-?[0-9]+)", "group_select": -1}),
    ],
)
def test_extraction_and_comparison_are_lm_evals_under_the_released_settings(extract, settings):
    """The released task file's filters and exact_match options, run by lm-eval itself."""
    ignored = [",", "\\$", "(?s).*#### ", "\\.$"]
    for output in OUTPUTS:
        (theirs,) = RegexFilter(**settings).apply([[output]], [{}])[0]
        assert extract(output) == theirs
        match = exact_match_hf_evaluate([theirs], ["say 18\n#### 18"], regexes_to_ignore=ignored, ignore_case=True)
        name = "strict" if extract is extract_strict else "flexible"
        assert score([{"answer": "say 18\n#### 18"}], [output])[name] == [match["exact_match"]]
