"""Weights, patterns and overrides: which options each tensor of each expert is merged with."""

import dataclasses

import pytest
import torch

from della.checkpoint import MemoryCheckpoint
from della.errors import InputError
from della.merge import merge_tensors
from della.methods import METHODS, make_method
from della.policy import Policy, unpruned

DELLA = make_method("della", drop_rate=0.5, epsilon=0.2)


def test_options_alone_are_the_policy_of_all_tensors():
    policy = Policy.of(DELLA)
    assert policy.options("any.weight", "lm") is DELLA
    assert policy.weight("any.weight", "lm") == 1.0
    assert Policy.of(policy) is policy


def test_a_weight_belongs_to_an_expert():
    policy = Policy(DELLA, weights={"lm": 0.5, "math": -2})
    assert [policy.weight("w", expert) for expert in ("code", "lm", "math")] == [1.0, 0.5, -2.0]


@pytest.mark.parametrize(
    ("include", "exclude", "pruned"),
    [
        ((), (), {"embed_tokens.weight", "layers.0.norm.weight", "layers.0.q.weight", "layers.10.q.weight"}),
        ((), ("*norm*", "embed_tokens.*"), {"layers.0.q.weight", "layers.10.q.weight"}),
        (("layers.?.*",), (), {"layers.0.norm.weight", "layers.0.q.weight"}),
        (("layers.*",), ("*norm*", "*.10.*"), {"layers.0.q.weight"}),
        (("*.Q.*",), (), set()),  # capitals matter
    ],
)
def test_patterns_choose_the_tensors_that_are_pruned(include, exclude, pruned):
    policy = Policy(DELLA, include=include, exclude=exclude)
    names = ("embed_tokens.weight", "layers.0.norm.weight", "layers.0.q.weight", "layers.10.q.weight")
    assert {name for name in names if policy.prunes(name)} == pruned
    assert {name for name in names if policy.options(name, "lm").is_random} == pruned


@pytest.mark.parametrize("name", METHODS)
def test_a_tensor_that_is_left_unpruned_keeps_everything_and_all_other_options(name):
    """What drops is 0: drop_rate, epsilon, gamma. Every method then keeps all deltas, as its kept count says."""
    method = make_method(name)
    changed = unpruned(method)
    drops = {"drop_rate", "epsilon", "gamma"}
    before, after = dataclasses.asdict(method), dataclasses.asdict(changed)
    assert {key: value for key, value in after.items() if key in drops} == {key: 0.0 for key in before if key in drops}
    assert {k: v for k, v in after.items() if k not in drops} == {k: v for k, v in before.items() if k not in drops}
    base = MemoryCheckpoint({"w": torch.zeros(10, 20)})
    expert = MemoryCheckpoint({"w": torch.arange(200.0).view(10, 20)})
    (merged,) = merge_tensors(base, {"lm": expert}, Policy(method, exclude=("w",)), None)
    assert merged.kept == {"lm": 200}
    assert torch.equal(merged.tensor, expert.tensor("w"))


def test_overrides_change_options_and_weight_of_a_tensor_and_an_expert():
    def overrides(tensor, expert):
        if tensor == "a" and expert == "lm":
            return {"drop_rate": 0.8, "weight": 0.25}
        return {"lambda_": 2.0} if tensor == "b" else {}

    policy = Policy(DELLA, weights={"lm": 3.0}, exclude=("b",), overrides=overrides)
    assert policy.options("a", "lm") == make_method("della", drop_rate=0.8, epsilon=0.2)
    assert policy.weight("a", "lm") == 0.25
    assert policy.options("a", "math") is DELLA
    assert policy.weight("a", "math") == 1.0
    assert policy.weight("c", "lm") == 3.0
    assert policy.options("b", "lm") == make_method("della", drop_rate=0.0, epsilon=0.0, lambda_=2.0)


def test_an_override_is_checked_as_any_option_is():
    policy = Policy(DELLA, overrides=lambda tensor, expert: {"drop_rate": 0.05})
    with pytest.raises(InputError, match=r"drop_rate 0\.05 with epsilon 0\.2 breaks drop_rate - epsilon/2 >= 0"):
        policy.options("w", "lm")


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), 3.5e38, True, "1", None])
def test_a_weight_that_is_no_finite_number_is_refused(weight):
    with pytest.raises(InputError, match=r"weights\.lm is .*; write a finite number"):
        Policy(DELLA, weights={"lm": weight})


def test_weights_and_patterns_that_fit_nothing_are_refused():
    tensors, experts = ["a.weight", "norm.weight"], ["lm", "math"]
    Policy(DELLA, weights={"lm": 0.5}, include=("a*",), exclude=("*norm*",)).check(tensors, experts)
    with pytest.raises(InputError, match=r"weights\.code: there is no such expert; write one of lm, math"):
        Policy(DELLA, weights={"code": 0.5}).check(tensors, experts)
    with pytest.raises(InputError, match=r"include: no tensor matches 'b\*'"):
        Policy(DELLA, include=("a*", "b*")).check(tensors, experts)
    with pytest.raises(InputError, match=r"exclude: no tensor matches 'embed\*'"):
        Policy(DELLA, exclude=("embed*",)).check(tensors, experts)


def test_weighted_mean_and_election_worked_by_hand():
    """Base 0, a = (4, 2, -8), b = (-2, 2, 1), w = (1/2, 2): weighted (2, 1, -4), (-4, 4, 2).

    Sums -2, 5, -2 elect b, both, a: -4 / 2 = -2; 5 / 2.5 = 2; -4 / 0.5 = -8. Without election, over the whole
    weight 2.5: -0.8, 2, -0.8. The sum with election: -4, 5, -4.
    """
    base = MemoryCheckpoint({"w": torch.zeros(3)})
    experts = {"a": [4.0, 2, -8], "b": [-2.0, 2, 1]}
    held = {name: MemoryCheckpoint({"w": torch.tensor(values)}) for name, values in experts.items()}

    def merged(**options):
        policy = Policy(make_method("ta_elect", **options), weights={"a": 0.5, "b": 2})
        (part,) = merge_tensors(base, held, policy, None)
        return part.tensor

    assert merged().tolist() == [-2.0, 2.0, -8.0]
    assert torch.equal(merged(elect=False), torch.tensor([-2.0, 5.0, -2.0]) / 2.5)
    assert merged(fuse="sum").tolist() == [-4.0, 5.0, -4.0]


def test_an_excluded_tensor_is_the_same_under_every_drop_rate():
    """Also where the trim is over the whole expert."""
    tensors = {"a": torch.arange(1.0, 41).view(4, 10), "b": torch.arange(1.0, 9)}
    base = MemoryCheckpoint({name: torch.zeros_like(values) for name, values in tensors.items()})
    for options in ({"trim_over": "tensor"}, {"trim_over": "global"}):
        policy = Policy(make_method("ties", drop_rate=0.9, **options), exclude=("b",))
        parts = {m.name: m for m in merge_tensors(base, {"lm": MemoryCheckpoint(tensors)}, policy, None)}
        assert parts["b"].kept == {"lm": 8}
        assert parts["a"].kept == {"lm": 4}
