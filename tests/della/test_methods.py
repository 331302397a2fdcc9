"""The rows and their options: strict, checked before anything loads, composable by Hydra."""

import dataclasses
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ValidationError

from della.errors import InputError
from della.files import canonical
from della.methods import METHODS, describe, make_method, undescribed
from della.record import read_compact


def test_a_window_that_ends_at_one_in_floats_alone_is_refused():
    """0.9 + 0.19999999999999996 / 2 is below 1 as decimals and 1.0 as floats: the last rank would never be kept."""
    assert 0.9 + 0.19999999999999996 / 2 == 1.0
    with pytest.raises(InputError, match=r"breaks drop_rate \+ epsilon/2 < 1"):
        make_method("della", drop_rate=0.9, epsilon=0.19999999999999996)


@pytest.mark.parametrize("name", METHODS)
def test_a_row_and_its_options_carry_the_same_name(name):
    assert make_method(name).name == name
    assert METHODS[name].summary
    assert METHODS[name].paper


@pytest.mark.parametrize("name", METHODS)
def test_omegaconf_composes_every_options_class(name):
    method = OmegaConf.to_object(OmegaConf.structured(METHODS[name].options))
    assert method == make_method(name)
    with pytest.raises(ConfigAttributeError):
        OmegaConf.structured(METHODS[name].options).window_size = 1


def test_omegaconf_overrides_are_typed_and_checked():
    options = OmegaConf.structured(METHODS["della"].options)
    options.drop_rate, options.epsilon, options.elect = 0.05, 0.2, "false"
    with pytest.raises(ValidationError):
        options.drop_rate = "half"
    with pytest.raises(InputError, match="drop_rate - epsilon/2 >= 0"):
        OmegaConf.to_object(options)


@pytest.mark.parametrize("name", METHODS)
def test_every_option_says_what_it_is(name):
    assert all(option.metadata["help"] for option in dataclasses.fields(METHODS[name].options))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("delta", {}, "there is no method 'delta'; write one of average, linear"),
        ("ties", {"epsilon": 0.1}, "method ties has no option 'epsilon'; its options are drop_rate, trim_over"),
        ("average", {"lambda_": 0.5}, "method average has no option 'lambda_'; it has none"),
        ("della", {"window_size": 0.1}, "no option 'window_size'"),
        ("task_arithmetic", {"rescale": "none"}, "no option 'rescale'"),
        ("dare", {"elect": True}, "no option 'elect'"),
        ("dare", {"drop_rate": 1.0}, "drop_rate is 1; write a number >= 0 and < 1"),
        ("ties", {"drop_rate": -0.1}, "drop_rate is -0.1; write a number >= 0 and < 1"),
        ("dare", {"drop_rate": "0.5"}, "drop_rate is '0.5'; write a finite number"),
        ("dare", {"drop_rate": True}, "drop_rate is True; write a finite number"),
        ("dare", {"lambda_": float("nan")}, "lambda_ is nan; write a finite number"),
        ("dare", {"lambda_": -3.5e38}, "lambda_ is -3.5e+38; write a finite number"),
        ("ta_elect", {"elect": 1}, "elect is 1; write true or false"),
        ("della", {"rescale": "l2"}, "rescale is 'l2'; write one of per_parameter, l1, none"),
        ("della", {"rank_by": "wander"}, "rank_by is 'wander'; write one of magnitude, random, wanda, proportional"),
        ("ties", {"rank_by": "random"}, "rank_by is 'random'; write one of magnitude, wanda"),
        ("della", {"lambda_by": "ada_row"}, "lambda_by is 'ada_row'; write one of constant, adaptive"),
        (
            "della",
            {"lambda_by": "adaptive", "elect": False},
            "lambda_by=adaptive counts what is elected, and elect is false; write elect=true",
        ),
        (
            "ties",
            {"lambda_by": "adaptive", "lambda_": 1.1},
            "lambda_by=adaptive takes lambda's place, and lambda_ is 1.1; leave lambda_ at 1",
        ),
        ("dare", {"lambda_by": "adaptive"}, "method dare has no option 'lambda_by'"),
        ("della", {"epsilon": -0.1}, "epsilon is -0.1; write a number >= 0"),
        (
            "della",
            {"drop_rate": 0.05, "epsilon": 0.2},
            "drop_rate 0.05 with epsilon 0.2 breaks drop_rate - epsilon/2 >= 0; "
            "write an epsilon of at most 0.1 or a drop_rate of at least 0.1",
        ),
        (
            "della",
            {"drop_rate": 0.9, "epsilon": 0.2},
            "drop_rate 0.9 with epsilon 0.2 breaks drop_rate + epsilon/2 < 1; "
            "write an epsilon below 0.2 or a drop_rate below 0.9",
        ),
        ("della", {"drop_rate": 0}, "drop_rate 0 with epsilon 0.14 breaks drop_rate - epsilon/2 >= 0"),
    ],
)
def test_a_wrong_option_is_one_line_that_says_what_to_write(name, options, message):
    with pytest.raises(InputError) as caught:
        make_method(name, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("drop_rate", "epsilon"), [(0, 0), (0.1, 0.2), (0.07, 0.14), (0.9, 0.19), (0.93, 0.13), (0.5, 0.99)]
)
def test_options_on_the_bounds_are_accepted(drop_rate, epsilon):
    assert make_method("della", drop_rate=drop_rate, epsilon=epsilon).drop_rate == drop_rate


def test_only_a_method_that_drops_at_random_needs_a_seed():
    is_random = {name for name in METHODS if make_method(name).is_random}
    assert is_random == {"dare", "dare_ties", "dare_elect", "della"}
    assert not make_method("della", drop_rate=0, epsilon=0).is_random
    assert not make_method("dare", drop_rate=0).is_random


def test_a_description_names_the_method_and_every_option_with_one_spelling():
    assert describe(make_method("ties", drop_rate=0)) == {
        "name": "ties",
        "drop_rate": 0.0,
        "trim_over": "tensor",
        "elect": True,
        "fuse": "mean",
        "lambda_": 1.0,
    }
    assert describe(make_method("average")) == {"name": "average"}


def test_options_that_came_later_are_described_where_they_are_not_at_their_defaults():
    """So a merge that was described before they were there is still the same run."""
    assert "lambda_by" not in describe(make_method("della"))
    assert describe(make_method("della", lambda_by="adaptive"))["lambda_by"] == "adaptive"
    changed = describe(make_method("ties", rank_by="wanda"))
    assert (changed["rank_by"], "lambda_by" in changed) == ("wanda", False)
    assert undescribed("ties") == {"rank_by": "magnitude", "lambda_by": "constant"}
    assert undescribed("unmerged") == undescribed("dare") == {}


RECORDS = sorted((Path(__file__).parents[2] / "results" / "tiny").glob("*.jsonl"))


@pytest.mark.parametrize("file", RECORDS, ids=lambda file: file.stem)
def test_committed_records_describe_their_methods_as_they_would_be_described_now(file):
    """The description is part of a run's identity: were it another, every run would count as not yet done."""
    methods = {canonical(r["config"]["method"]): r["config"]["method"] for r in read_compact(file)}
    for method in (method for method in methods.values() if method["name"] in METHODS):
        options = {name: value for name, value in method.items() if name != "name"}
        assert describe(make_method(method["name"], **options)) == method
