"""Merges beside mergekit 0.1.5's, on real folders: the same weights from the same file.

Deterministic methods are compared as they are; the random ones with rescale=l1, mergekit drawing the masks that ours
draws. All in float32, where sums in another order differ by some 1e-7. No two deltas of a row have the same magnitude
(a test below), since mergekit ranks equal ones in no particular order. mergekit has an environment of its own
(mergekit_env.py).
"""

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from della.checkpoint import Checkpoint
from della.lora import open_expert
from della.merge import merge_tensors
from della.mergekit import read_mergekit
from della.methods import METHODS, Site, make_method
from della.prune import drop_probabilities, magnitude_bits, ranks
from tests.della.mergekit_env import EXPERTS, ask_mergekit, models, save_adapter, save_family
from tests.della.mergekit_files import write_yaml

SEED = 3
METHOD_CASES = {
    "average": (make_method("average"), "linear", {}, {}),
    "sum": (make_method("task_arithmetic"), "task_arithmetic", {}, {}),
    "scaled sum": (make_method("task_arithmetic", lambda_=0.4), "task_arithmetic", {"lambda": 0.4}, {}),
    "ties of half": (make_method("ties", drop_rate=0.5), "ties", {}, {"density": 0.5}),
    "ties of a quarter": (make_method("ties", drop_rate=0.75, lambda_=1.3), "ties", {"lambda": 1.3}, {"density": 0.25}),
}


def method_recipes(root):
    """The recipes whose values are the same for all tensors and models, with weights of 1."""
    return {
        name: recipe(root, method, parameters, **{expert: {"weight": 1.0} | own for expert in EXPERTS})
        for name, (_, method, parameters, own) in METHOD_CASES.items()
    }


def recipe(root, method, parameters, **own):
    base = {} if method == "linear" else {"base_model": str(root / "base")}
    settings = {"merge_method": method, "dtype": "float32", "parameters": parameters}
    return base | settings | {"models": models(root, **own)}


def exact_recipes(root):
    """Deterministic recipes with weights, gradients, filters, densities that cut within a count, normalize or not."""
    weights = {"code": {"weight": 0.5}, "lm": {"weight": -0.25}, "math": {"weight": 1.5}}
    gradients = {"code": {"weight": [0, 1]}, "lm": {"weight": [1.2, 0.3, 0.7]}, "math": {"weight": 0.4}}
    attention = [{"filter": "self_attn", "value": [0.29, 0.8]}, {"value": 0.57}]
    filtered = {
        "code": {"weight": [{"filter": "mlp", "value": 0.3}, {"value": [1, -0.5]}], "density": attention},
        "lm": {"weight": 0.8, "density": [0.07, 1.1]},
        "math": {"weight": 1, "density": 0.58},
    }
    crumbs = {name: own | {"density": 0.57, "gamma": 0.29} for name, own in gradients.items()}
    beside = recipe(root, "linear", {"weight": 2}, **gradients) | {"base_model": str(root / "base")}
    return {
        "linear": recipe(root, "linear", {"normalize": False}, **weights),
        "linear, normalized": recipe(root, "linear", {}, **gradients),
        "linear, base beside": beside,
        "arithmetic": recipe(root, "task_arithmetic", {"lambda": [0.4, 1.3]}, **gradients),
        "arithmetic, normalized": recipe(root, "task_arithmetic", {"normalize": True, "lambda": 0.7}, **weights),
        "ties": recipe(root, "ties", {"normalize": False, "int8_mask": True}, **filtered),
        "ties, normalized": recipe(root, "ties", {"lambda": [{"filter": "norm", "value": 0.5}]}, **filtered),
        "ties, partly normalized": recipe(root, "ties", {"normalize": [True, False]}, **filtered),
        "ties, nothing kept": recipe(root, "ties", {}, **filtered | {"lm": {"weight": 3, "density": 0}}),
        "breadcrumbs": recipe(root, "breadcrumbs", {"normalize": True}, **crumbs),
        "breadcrumbs_ties": recipe(root, "breadcrumbs_ties", {"lambda": 1.1}, **crumbs),
        "model_stock": recipe(root, "model_stock", {}),
        "an adapter": with_adapter(recipe(root, "ties", {"weight": 0.6, "density": 0.7}), root),
    }


def with_adapter(recipe, root):
    return recipe | {"models": [*recipe["models"], {"model": f"{root / 'base'}+{root / 'adapter'}"}]}


def random_recipes(root):
    own = {
        "code": {"weight": [0.5, 1], "density": [{"filter": "mlp", "value": [0.3, 0.7]}, {"value": 0.5}]},
        "lm": {"weight": 1, "density": 0.45},
        "math": {"weight": [{"filter": "self_attn", "value": -0.4}, {"value": 0.9}], "density": [0.6, 1]},
    }
    magprune = {"epsilon": [{"filter": "norm", "value": 0.1}, {"value": 0.2}], "lambda": 1.2}
    edges = {name: {"weight": 1, "density": 0.5, "epsilon": 0.49} for name in EXPERTS}
    own_magprune = own | {"math": own["math"] | {"density": [0.6, 0.7]}}
    return {
        "della": recipe(root, "della", magprune, **own_magprune),
        "della, sum": recipe(root, "della", {"normalize": False}, **edges),
        "della_linear": recipe(root, "della_linear", magprune, **own_magprune),
        "della, not rescaled": recipe(root, "della", magprune | {"rescale": False}, **own_magprune),
        "dare_linear": recipe(root, "dare_linear", {"lambda": 0.8}, **own),
        "dare_linear, normalized": recipe(root, "dare_linear", {"normalize": True}, **own),
        "dare_ties": recipe(root, "dare_ties", {}, **own),
        "dare_ties, normalized": recipe(root, "dare_ties", {"normalize": True}, **own),
    }


ANYWHERE = Path("models")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = save_family(tmp_path_factory.mktemp("parity"))
    save_adapter(root / "adapter", root / "base")
    return root


@pytest.fixture(scope="module")
def theirs(root):
    """The deterministic merges of mergekit: a folder of folders."""
    return ask_mergekit("merge", method_recipes(root) | exact_recipes(root), root / "exact")


@pytest.fixture(scope="module")
def masked(root):
    """The random merges of mergekit under our masks."""
    recipes = random_recipes(root)
    masks = root / "masks"
    masks.mkdir()
    for name in recipes:
        save_file(our_masks(root, read(root, name, recipes[name])), masks / f"{name}.safetensors")
    return ask_mergekit("masked", recipes, root / "masked", masks)


def read(root, name, content):
    return read_mergekit(write_yaml(root / f"{name}.yml", content), rescale="l1")


def deltas(root, recipe):
    """(expert, tensor) -> delta."""
    base, experts = Checkpoint(recipe.base), {name: Checkpoint(path) for name, path in recipe.models.items()}
    return {(e, t): experts[e].tensor(t) - base.tensor(t) for e in sorted(experts) for t in sorted(base.headers)}


def our_masks(root, recipe):
    """EXPERT/TENSOR -> 1 where our pruning keeps a delta: of its own random words, unscaled."""
    masks = {}
    for (expert, tensor), delta in deltas(root, recipe).items():
        options = dataclasses.replace(recipe.policy.options(tensor, expert), rescale="none")
        kept = METHODS[options.name].prune(delta, options, Site(SEED, expert, tensor)).delta
        masks[f"{expert}/{tensor}"] = (kept != 0).to(torch.float32)
    return masks


def compare(base, experts, method, folder):
    """Every tensor of a merge is within 1e-6 of mergekit's, and there is no other."""
    expected = Checkpoint(folder)
    names = []
    for merged in merge_tensors(base, experts, method, SEED):
        torch.testing.assert_close(merged.tensor, expected.tensor(merged.name), rtol=0, atol=1e-6)
        names.append(merged.name)
    assert sorted(names) == sorted(expected.headers)


def compare_file(root, name, content, folder):
    recipe = read(root, name, content)
    base = Checkpoint(recipe.base)
    compare(base, {name: open_expert(path, base) for name, path in recipe.models.items()}, recipe.policy, folder / name)


@pytest.mark.parametrize("name", METHOD_CASES)
def test_a_method_merges_as_mergekit_does(root, theirs, name):
    experts = {name: Checkpoint(root / name) for name in EXPERTS}
    compare(Checkpoint(root / "base"), experts, METHOD_CASES[name][0], theirs / name)


@pytest.mark.parametrize("name", exact_recipes(ANYWHERE))
def test_a_file_of_a_deterministic_method_gives_mergekits_weights(root, theirs, name):
    compare_file(root, name, exact_recipes(root)[name], theirs)


@pytest.mark.parametrize("name", random_recipes(ANYWHERE))
def test_a_file_of_a_random_method_gives_mergekits_weights_under_l1_and_the_same_masks(root, masked, name):
    compare_file(root, name, random_recipes(root)[name], masked)


@pytest.mark.parametrize("name", random_recipes(ANYWHERE))
def test_the_probabilities_that_mergekit_draws_with_are_ours(root, masked, name):
    """mergekit: (density - e) + 2e (r - 1)/(n - 1), r = 1 for the smallest; ours: 1 - p_i, r = 0 for the largest."""
    asked = load_file(masked / name / "probabilities.safetensors")
    recipe = read(root, name, random_recipes(root)[name])
    drawn = 0
    for (expert, tensor), delta in deltas(root, recipe).items():
        options = recipe.policy.options(tensor, expert)
        if options.drop_rate == 0:
            assert f"{expert}/{tensor}" not in asked
            continue
        drawn += 1
        rows = delta.reshape(-1, delta.shape[-1])
        keep = 1 - drop_probabilities(rows.shape[-1], options.drop_rate, getattr(options, "epsilon", 0.0))
        expected = keep[ranks(magnitude_bits(rows))].to(torch.float32)
        actual = asked[f"{expert}/{tensor}"].view(rows.shape)
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)
    assert drawn == len(asked) > 0


def test_no_two_deltas_of_a_row_have_the_same_magnitude(root):
    recipe = read(root, "ties", exact_recipes(root)["ties"])
    for place, delta in deltas(root, recipe).items():
        ranked = magnitude_bits(delta.reshape(-1, delta.shape[-1])).sort(-1).values
        assert bool((ranked.diff(dim=-1) > 0).all()), place
