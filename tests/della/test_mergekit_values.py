"""The weight, density, epsilon, lambda, normalize and rescale of every tensor and model: as mergekit's own resolver.

mergekit plans each recipe over a Llama of four layers, in its own environment, and every value it would merge with is
compared with ours: gradients, filters and the order of the scopes come out the same or some value differs.
"""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from della.checkpoint import Checkpoint
from della.mergekit import read_mergekit
from della.prune import kept_count
from tests.della.mergekit_env import EXPERTS, ask_mergekit, models, save_family
from tests.della.mergekit_files import write_yaml

ATTENTION_FIRST = [{"filter": "self_attn", "value": [0.2, 0.9]}, {"filter": "mlp", "value": 0.6}]


def model_settings(root):
    """The experts with plain weights, with gradients over the layers, and with filters."""
    scalar = models(root, code={"weight": 0.5}, lm={"weight": -0.25}, math={"weight": "1e-1"})
    gradients = models(
        root,
        code={"weight": [0, 1], "density": [0.3, 0.7, 0.55]},
        lm={"weight": [0.1, 0.9, 0.4, 0.2, 1.3], "density": [0.5]},
        math={"weight": 1, "density": 0.45},
    )
    filtered = models(
        root,
        code={"weight": [*ATTENTION_FIRST, {"value": 0.4}]},
        lm={"weight": [{"filter": "layers.2.", "value": [0.1, 0.5]}, {"filter": "*", "value": [1, 0]}]},
        math={"weight": {"filter": "mlp", "value": 0.3}},  # others: the weight of the whole merge
    )
    return scalar, gradients, filtered


def recipes(root):
    base = {"base_model": str(root / "base")}
    scalar, gradients, filtered = model_settings(root)
    layers = {"layer_range": [0, 4]}
    sources = [{"model": str(root / "base")} | layers] + [entry | layers for entry in filtered]
    lists = {"normalize": [True, False, True], "lambda": [{"filter": "norm", "value": 1.5}, {"value": [0.5, 1]}]}
    slices = [{"sources": sources, "parameters": {"weight": [0.7, 0.8], "lambda": {"filter": "mlp", "value": 2}}}]
    inner = {"models": scalar, "parameters": {"density": [0.1, 0.9], "lambda": 0.8}}
    return {
        "linear": {"merge_method": "linear", "models": scalar, "parameters": {"normalize": "no"}},
        "linear, base beside": {"merge_method": "linear", "models": gradients, "parameters": {"weight": 2}} | base,
        "linear, filters": {"merge_method": "linear", "models": filtered, "parameters": {"weight": [1, 3]}},
        "arithmetic": {"merge_method": "task_arithmetic", "models": scalar, "parameters": {"lambda": 0.7}} | base,
        "arithmetic, filters": {
            "merge_method": "task_arithmetic",
            "models": filtered,
            "parameters": {"weight": [0, 2]} | lists,
        }
        | base,
        "ties": {"merge_method": "ties", "models": gradients, "parameters": lists} | base,
        "ties, densities": {
            "merge_method": "ties",
            "models": filtered,
            "parameters": {"weight": 1, "density": [{"filter": "q_proj", "value": 1.2}, {"value": [0.1, 0.77]}]},
        }
        | base,
        "ties, slices": {"merge_method": "ties", "slices": slices, "parameters": {"weight": 9, "density": 0.35}} | base,
        "ties, modules": {
            "merge_method": "ties",
            "modules": {"default": inner},
            "parameters": {"density": 0.2, "lambda": 3, "normalize": 0},
        }
        | base,
        "dare_linear": {"merge_method": "dare_linear", "models": gradients, "parameters": {"rescale": "off"}} | base,
        "dare_ties": {"merge_method": "dare_ties", "models": gradients, "parameters": {"normalize": 1.0}} | base,
        "della": {"merge_method": "della", "models": gradients, "parameters": {"epsilon": [0.1, 0.05]}} | base,
        "della, filters": {
            "merge_method": "della",
            "models": filtered,
            "parameters": {"weight": 1, "density": [0.6, 0.45], "epsilon": [{"filter": "mlp", "value": 0.2}]},
        }
        | base,
        "della_linear": {"merge_method": "della_linear", "models": scalar, "parameters": {"density": 0.7}} | base,
        "breadcrumbs": {"merge_method": "breadcrumbs", "models": gradients, "parameters": {"gamma": [0.01, 0.1]}}
        | base,
        "breadcrumbs_ties": {"merge_method": "breadcrumbs_ties", "models": scalar, "parameters": {"density": 0.9}}
        | base,
    }


NAMES = list(recipes(Path("root")))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return save_family(tmp_path_factory.mktemp("values"))


@pytest.fixture(scope="module")
def theirs(root):
    return json.loads(ask_mergekit("values", recipes(root), root / "values.json").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_every_value_of_every_tensor_is_mergekits(root, theirs, name):
    recipe = read_mergekit(write_yaml(root / f"{name}.yml", recipes(root)[name]))
    headers = Checkpoint(root / "base").headers
    assert set(theirs[name]) == set(headers)
    merged = {*EXPERTS, "base"} if name == "linear, base beside" else set(EXPERTS)
    assert set(recipe.models) == merged
    for tensor, values in theirs[name].items():
        for expert in sorted(merged):
            same(recipe.policy, tensor, expert, values, headers[tensor].numel, str(root / expert))


def same(policy, tensor, expert, values, n, model):
    """Weights, lambda, normalize equal; density and epsilon but for the rounding of 1 - density and 2 epsilon."""
    options, own, shared = policy.options(tensor, expert), values["models"][model], values["shared"]
    where = f"{tensor}, {expert}"
    assert policy.weight(tensor, expert) == own["weight"], where
    assert options.lambda_ == shared.get("lambda", 1.0), where
    assert options.fuse == ("mean" if shared["normalize"] else "sum"), where
    if options.name in ("ties", "breadcrumbs"):  # the count is what counts
        kept = min(n, max(1, int(own["density"] * n)))
        assert kept_count(n, options.drop_rate) == kept, where
        if "gamma" in own and kept < n:
            assert min(n - kept, int(n * Decimal(str(options.gamma)))) == min(n - kept, int(n * own["gamma"])), where
    elif hasattr(options, "drop_rate"):
        assert 1 - options.drop_rate == pytest.approx(min(1, own["density"]), abs=1e-15), where
    if "epsilon" in own:
        assert options.epsilon == pytest.approx(2 * own["epsilon"] if own["density"] < 1 else 0, abs=1e-15), where
    if hasattr(options, "rescale"):
        assert options.rescale == ("per_parameter" if shared["rescale"] else "none"), where
