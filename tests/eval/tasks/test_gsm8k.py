"""GSM8K's metrics: the published regexes, the numeric comparison, MergeLM's parser."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_eval.api.metrics import exact_match_hf_evaluate
from lm_eval.filters.extraction import RegexFilter

from eval.tasks.data import read_documents
from eval.tasks.gsm8k import extract_flexible, extract_mergelm, extract_number, extract_strict, score


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
        ("1,319.", 1319),
        ("29.", 29),
        ("(29)", 29),
        ("x=-0.50", "-0.5"),
        ("3/4", 4),  # no fractions, no exponents, no other minus than the ASCII one: they are in the module's header
        ("1e3", 3),
        ("\u22127", 7),
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


SPELLINGS = (
    "{}",
    "{:,}",
    "{}.00",
    "{:,}.0",
    "${}",
    "${:,}.00",
    "{}.",
    "{:,}.",
    "**{}**",
    "{}%",
    "is {:,} eggs.",
    "#### {}",
)


@given(
    value=st.integers(-(10**9), 10**9),
    spelling=st.sampled_from(SPELLINGS),
    before=st.sampled_from(["", "So 3 + ", "x="]),
)
@settings(max_examples=300, deadline=None)
def test_however_a_number_is_spelt_its_value_is_read(value, spelling, before):
    """A minus before the dollar or after it; commas; zero decimals; a period at the end."""
    assert extract_number(before + spelling.format(value)) == value


@given(cents=st.integers(-(10**7), 10**7), places=st.integers(1, 4))
@settings(max_examples=200, deadline=None)
def test_decimals_are_compared_by_value_and_not_by_their_zeros(cents, places):
    value = Decimal(cents).scaleb(-2)
    text = f"{value:,.{places}f}" if places > 1 else f"{value:,.2f}0"
    assert extract_number(f"It costs ${text}.") == value
    assert score([{"answer": f"#### {value}"}], [f"It costs ${text}."])["numeric"] == [1.0]


NUMBERS = st.decimals(-(10**9), 10**9, allow_nan=False, allow_infinity=False, places=3)


@given(value=NUMBERS, other=NUMBERS, zeros=st.integers(0, 4), commas=st.booleans(), dollar=st.booleans())
@settings(max_examples=300, deadline=None)
def test_an_answer_is_right_exactly_if_both_are_the_same_fraction(value, other, zeros, commas, dollar):
    """Written with or without commas, dollar and further zeros, after another number and a sentence."""
    digits = f"{abs(value):,}" if commas else f"{abs(value)}"
    text = f"First {other}; then {'-' if value < 0 else ''}{'$' * dollar}{digits}{'0' * zeros} is what is left."
    for gold in (value, other):
        right = score([{"answer": f"so #### {gold:,}"}], [text])["numeric"] == [1.0]
        assert right is (Fraction(value) == Fraction(gold))


@given(output=st.text(max_size=60))
@settings(max_examples=300, deadline=None)
def test_no_output_whatever_stops_the_scorer(output):
    for text in (output, f"The answer is: {output}"):
        scores = score([{"answer": "#### 5"}], [text], prompts="wizard_13b/dare")
        assert {value for values in scores.values() for value in values} <= {0.0, 1.0}


def test_every_gold_answer_is_right_in_every_spelling(real_data):
    """1,319 answers, two of them negative, in 12 spellings: all right for the numeric metric."""
    documents = read_documents("gsm8k", real_data, "test")
    golds = [int(row["answer"].split("####")[1].replace(",", "")) for row in documents]
    assert min(golds) == -10
    for spelling in SPELLINGS:
        assert sum(score(documents, [spelling.format(gold) for gold in golds])["numeric"]) == 1319


@pytest.mark.parametrize(
    ("output", "number"),
    [
        ("The answer is: 18.", 18),
        ("The answer is: $18", 18),
        ("The answer is: 7. The answer is: 8", 8),
        ("The answer is: 1,319", 1319),
        ("The answer is: 1,234,567", 1234),
        ("The answer is: -7", -7),
        ("The answer is: 3/4", 1),
        ("The answer is: 2.5", 2),  # to the even side
        ("The answer is: 10-3", 10),
        ("The answer is: 5/0", 5),
        ("The answer is: 5/00", None),  # there the released code stops with an error
        ("The answer is: " + "9" * 400, None),  # infinite as a float
        ("The answer is: none", None),
        ("The answer is:18", None),
        ("18", None),
        ("", None),
    ],
)
def test_mergelms_parser_by_hand(output, number):
    """test_released.py compares 2,000 more with what the released function said."""
    assert extract_mergelm(output) == number


def test_mergelms_metric_is_there_with_dares_prompts_alone():
    documents = [{"answer": "It is 29.\n#### 29"}] * 2
    outputs = ["The answer is: 29.3", "29"]
    assert score(documents, outputs, prompts="wizard_13b/dare")["mergelm"] == [1.0, 0.0]
    assert "mergelm" not in score(documents, outputs)
    assert "mergelm" not in score(documents, outputs, prompts="wizard_13b/fixed")


RELEASED_FILTERS = {
    "strict": (extract_strict, {"regex_pattern": "The answer is: (\\-?[0-9\\.\\,]+)."}),
    "flexible": (extract_flexible, {"regex_pattern": "(-?[$0-9.,]{2,})|(-?[0-9]+)", "group_select": -1}),
}
PIECES = st.sampled_from([*"0123456789.,-$ \n#x", "The answer is: ", "the answer is: ", "#### ", "1,319", "-$4.00"])


@pytest.mark.parametrize("metric", RELEASED_FILTERS)
@given(pieces=st.lists(PIECES, max_size=12), gold=st.integers(-30, 3000))
@settings(max_examples=500, deadline=None)
def test_strict_and_flexible_are_lm_evals_own_on_any_output(metric, pieces, gold):
    """The released filters and exact_match options, run by lm-eval, on outputs made of what the patterns look for."""
    extract, options = RELEASED_FILTERS[metric]
    output, answer = "".join(pieces), f"say 18\n#### {gold:,}"
    (theirs,) = RegexFilter(**options).apply([[output]], [{}])[0]
    assert extract(output) == theirs
    ignored = [",", "\\$", "(?s).*#### ", "\\.$"]
    match = exact_match_hf_evaluate([theirs], [answer], regexes_to_ignore=ignored, ignore_case=True)["exact_match"]
    assert score([{"answer": answer}], [output])[metric] == [match]
