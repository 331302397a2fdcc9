"""The vectorised code against the one-parameter-at-a-time reference, bit for bit."""

import dataclasses

import numpy as np
import pytest
import torch

from della.checkpoint import MemoryCheckpoint
from della.merge import merge_tensors
from della.methods import METHODS, make_method
from della.policy import Policy
from tests.della import reference
from tests.della.bitwise import make_activations

CASES = [
    ("average", {}),
    ("breadcrumbs", {}),
    ("breadcrumbs", {"drop_rate": 0.5, "gamma": 0.2, "elect": True, "fuse": "mean", "lambda_": 0.6}),
    ("breadcrumbs", {"drop_rate": 0.1, "gamma": 0.9}),
    ("linear", {}),
    ("linear", {"fuse": "sum"}),
    ("model_stock", {}),
    ("task_arithmetic", {"lambda_": 0.3}),
    ("dare", {"drop_rate": 0.3}),
    ("dare", {"drop_rate": 0.9, "rescale": "l1", "lambda_": 0.7}),
    ("dare_ties", {"drop_rate": 0.6, "rescale": "none"}),
    ("ta_elect", {}),
    ("ta_elect", {"elect": False, "fuse": "sum", "lambda_": -0.4}),
    ("dare_elect", {"drop_rate": 0.5, "lambda_": 1.1}),
    ("dare_elect", {"drop_rate": 0.1, "elect": False}),
    ("ties", {}),
    ("ties", {"drop_rate": 0.9, "fuse": "sum"}),
    ("ties", {"drop_rate": 0.3, "elect": False}),
    ("della", {}),
    ("della", {"drop_rate": 0.7, "epsilon": 0.3, "lambda_": 1.3}),
    ("della", {"drop_rate": 0.3, "epsilon": 0.6, "rank_over": "tensor", "rescale": "l1"}),
    ("della", {"drop_rate": 0.5, "epsilon": 0.9, "rank_by": "random", "fuse": "sum"}),
    ("della", {"rank_by": "random", "rank_over": "tensor", "elect": False, "rescale": "none"}),
    ("della", {"rank_by": "proportional", "epsilon": 0.8}),
    ("della", {"rank_by": "proportional", "rank_over": "tensor", "drop_rate": 0.3, "rescale": "l1"}),
    ("della", {"rank_by": "wanda", "epsilon": 0.8}),
    ("della", {"rank_by": "wanda", "rank_over": "tensor"}),
    ("della", {"lambda_by": "adaptive"}),
    ("ta_elect", {"lambda_by": "adaptive", "fuse": "sum"}),
    ("dare_elect", {"lambda_by": "adaptive", "rescale": "none"}),
    ("ties", {"lambda_by": "adaptive", "trim_over": "row"}),
    ("ties", {"rank_by": "wanda", "drop_rate": 0.5}),
    ("ties", {"rank_by": "wanda", "trim_over": "row", "drop_rate": 0.3}),
]
SHAPES = [(), (0,), (4, 0), (1,), (5, 1), (1, 7), (9,), (4, 6), (2, 3, 4), (3, 400)]


def values(rng: np.random.Generator, shape: tuple[int, ...], kind: str) -> np.ndarray:
    if kind == "ties":  # few values, many zeros
        return rng.integers(-2, 3, shape).astype(np.float32)
    return rng.normal(0, 0.02, shape).astype(np.float32)


def checkpoint(arrays: dict[str, np.ndarray]) -> MemoryCheckpoint:
    return MemoryCheckpoint({key: torch.from_numpy(np.array(array)) for key, array in arrays.items()})


def assert_equal(name: str, given: dict, kind: str, shapes: list[tuple[int, ...]], weights: dict[str, float]) -> None:
    """The merge of three experts against the reference, tensor by tensor."""
    rng = np.random.default_rng(len(name) + len(given))
    base = {f"t{k}": values(rng, shape, kind) for k, shape in enumerate(shapes)}
    experts = {
        expert: {key: (value + values(rng, value.shape, kind)).astype(np.float32) for key, value in base.items()}
        for expert in ("lm", "math", "code")
    }
    method = make_method(name, **given)
    options = {"elect": method.elect, "fuse": method.fuse, "lambda_": method.lambda_, **dataclasses.asdict(method)}
    held = {n: checkpoint(e) for n, e in experts.items()}
    activations = make_activations(checkpoint(base), experts)
    policy = Policy(method, weights=weights)
    for merged in merge_tensors(checkpoint(base), held, policy, seed=4, activations=activations):
        of = {n: e[merged.name] for n, e in experts.items()}
        norms = {n: activations[n].norms[merged.name] for n in experts if merged.name in activations[n].norms}
        expected = reference.merge(name, options, base[merged.name], of, 4, merged.name, weights, norms)
        assert merged.tensor.numpy().tobytes() == expected.tobytes(), f"{merged.name}: {base[merged.name].shape}"


@pytest.mark.parametrize("kind", ["ties", "normal"])
@pytest.mark.parametrize(("name", "given"), CASES)
def test_the_merge_equals_the_reference_bit_for_bit(name, given, kind):
    assert_equal(name, given, kind, SHAPES, {})


@pytest.mark.parametrize(
    "weights",
    [
        {"lm": 0.3, "math": 0.7},
        {"code": -0.5, "lm": -2.0, "math": -1.1},
        {"code": 1.0, "lm": -1.0, "math": 0.0},
        {"code": 1e-9, "lm": 0.0, "math": 0.0},
    ],
    ids=str,
)
@pytest.mark.parametrize(("name", "given"), CASES)
def test_weights_equal_the_reference_bit_for_bit(name, given, weights):
    for kind in ("ties", "normal"):
        assert_equal(name, given, kind, [(), (9,), (4, 6), (2, 3, 4)], weights)


def test_every_method_is_compared_with_the_reference():
    assert {name for name, _ in CASES} == set(METHODS)


def test_trimming_over_the_whole_expert_equals_the_reference_on_one_long_tensor():
    """TIES's own trim: all tensors end to end in name order, cut once; ties go to the earlier tensor."""
    rng = np.random.default_rng(0)
    shapes = {"a": (4, 5), "b": (0,), "c": (7,), "d": (3, 1)}
    base = {key: values(rng, shape, "ties") for key, shape in shapes.items()}
    expert = {key: value + values(rng, value.shape, "ties") for key, value in base.items()}
    method = make_method("ties", drop_rate=0.6, trim_over="global")
    options = {"elect": True, "fuse": "mean", "lambda_": 1.0, "drop_rate": 0.6}

    merged = merge_tensors(checkpoint(base), {"lm": checkpoint(expert)}, method, None)
    flat = np.concatenate([part.tensor.numpy().reshape(-1) for part in merged])
    flat_base, flat_expert = (np.concatenate([m[key].reshape(-1) for key in shapes]) for m in (base, expert))
    assert flat.tobytes() == reference.merge("ties", options, flat_base, {"lm": flat_expert}, 0, "x").tobytes()
