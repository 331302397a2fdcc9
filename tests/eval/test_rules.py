"""Rules: which outputs satisfy them, and what a malformed rule is answered."""

import pytest

from eval.errors import InputError
from eval.rules import find_words, satisfies

THANKS = {
    "kind": "all",
    "rules": [
        {"kind": "in_order", "words": ["Dear", "Mia", "thank", "lamp"]},
        {"kind": "starts", "text": "News"},
        {"kind": "max_words", "count": 10},
    ],
}


@pytest.mark.parametrize(
    ("rule", "output", "expected"),
    [
        ({"kind": "starts", "text": "Note"}, " Note: a dog", True),
        ({"kind": "starts", "text": "Note"}, "note, a dog", True),
        ({"kind": "starts", "text": "Note"}, "Notes of a dog", False),
        ({"kind": "starts", "text": "Note"}, "A note", False),
        ({"kind": "starts", "text": "Dear Mia"}, "Dear, Mia!", True),
        ({"kind": "starts", "text": '"'}, ' "Hello."', True),
        ({"kind": "ends", "text": "Bye"}, "Hello. Bye.\n", True),
        ({"kind": "ends", "text": "Bye"}, "Hello. Goodbye.", False),
        ({"kind": "ends", "text": '"'}, '"Hello."', True),
        ({"kind": "ends", "text": '"'}, '"Hello".', False),
        ({"kind": "in_order", "words": ["red", "kite"]}, "A RED and small kite.", True),
        ({"kind": "in_order", "words": ["red", "kite"]}, "A kite, red.", False),
        ({"kind": "in_order", "words": ["no", "no"]}, "No, thanks.", False),
        ({"kind": "in_order", "words": []}, "", True),
        ({"kind": "excludes", "words": ["bad"]}, "Not a badge.", True),
        ({"kind": "excludes", "words": ["bad"]}, "Bad!", False),
        ({"kind": "max_words", "count": 3}, "one, two - three.", True),
        ({"kind": "max_words", "count": 3}, "one two three four", False),
        ({"kind": "all", "rules": []}, "anything", True),
        (THANKS, " News: Dear Mia, thank you for the lamp.", True),
        (THANKS, " Dear Mia, thank you for the lamp.", False),
        (THANKS, " News: Dear Mia, thank you very much for the old and lovely lamp.", False),
        (THANKS, "", False),
    ],
)
def test_a_rule_holds_for_the_outputs_it_describes(rule, output, expected):
    assert satisfies(rule, output) is expected


def test_words_are_lower_case_without_punctuation_and_keep_inner_apostrophes():
    assert find_words("Don't stop: a well-known, 2nd DOG!") == ["don't", "stop", "a", "well-known", "2nd", "dog"]


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"kind": "rhymes"}, "write one of all, ends"),
        ({}, "its kind is None"),
        ({"kind": "starts"}, "text"),
        ({"kind": "starts", "text": "a", "words": []}, "words"),
    ],
)
def test_a_malformed_rule_is_refused_by_name(rule, says):
    with pytest.raises(InputError, match=says):
        satisfies(rule, "output")
