"""Options that differ between experts and layers, as plain data."""

import pytest

from della.errors import InputError
from della.layers import Rule, count_layers, layer_groups, layer_of, overrides_of
from della.methods import make_method
from della.policy import Policy


def test_the_layer_is_the_number_between_dots_and_what_is_outside_goes_with_the_first():
    assert layer_of("model.layers.12.mlp.up_proj.weight") == 12
    assert layer_of("model.embed_tokens.weight") == layer_of("lm_head.weight") == 0
    assert count_layers(["model.layers.0.a", "model.layers.11.b", "lm_head.weight"]) == 12
    assert count_layers(["lm_head.weight"]) == 0


def test_layers_are_cut_into_groups_of_equal_size_to_within_one():
    assert layer_groups(4, 2) == [(0, 2), (2, 4)]
    assert layer_groups(3, 0) == [(0, 1), (1, 2), (2, 3)]
    assert layer_groups(5, 2) == [(0, 2), (2, 5)]
    with pytest.raises(InputError, match=r"groups=4: the model has 3 layers; write a number from 1 to 3"):
        layer_groups(3, 4)


def test_rules_become_a_policys_overrides_and_plain_data():
    rules = [
        Rule("lm", (0, 2), (("drop_rate", 0.25), ("weight", 0.5))),
        Rule("math", None, (("drop_rate", 0.75),)),
        Rule(None, (2, 3), (("lambda_", 2.0),)),
    ]
    assert rules[0].plain() == {"expert": "lm", "layers": [0, 2], "drop_rate": 0.25, "weight": 0.5}
    policy = Policy(make_method("dare"), overrides=overrides_of(rules))
    assert policy.options("model.layers.1.x", "lm").drop_rate == 0.25
    assert policy.options("lm_head.weight", "lm").drop_rate == 0.25
    assert policy.options("model.layers.2.x", "lm") == make_method("dare", lambda_=2.0)
    assert policy.options("model.layers.2.x", "math") == make_method("dare", drop_rate=0.75, lambda_=2.0)
    assert [policy.weight(f"model.layers.{n}.x", "lm") for n in (1, 2)] == [0.5, 1.0]
