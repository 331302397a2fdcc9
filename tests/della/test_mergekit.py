"""Reading mergekit files: what becomes of methods, values, names, tokenizers, slices and dtypes."""

import subprocess
import sys

import numpy as np
import pytest

from della.prune import kept_count
from tests.della.mergekit_files import SHAPES, read, recipe, refusal, save_model, save_models

MLP = "model.layers.1.mlp.weight"


@pytest.fixture
def root(tmp_path):
    return save_models(tmp_path)


@pytest.mark.parametrize(
    ("method", "parameters", "name", "elect", "fuse"),
    [
        ("task_arithmetic", {}, "task_arithmetic", False, "sum"),
        ("task_arithmetic", {"normalize": True}, "ta_elect", False, "mean"),
        ("ties", {}, "ties", True, "mean"),
        ("ties", {"normalize": False}, "ties", True, "sum"),
        ("dare_linear", {}, "dare", False, "sum"),
        ("dare_linear", {"normalize": True}, "dare_elect", False, "mean"),
        ("dare_ties", {}, "dare_ties", True, "sum"),
        ("dare_ties", {"normalize": True}, "dare_elect", True, "mean"),
        ("della", {"epsilon": 0.1}, "della", True, "mean"),
        ("della", {"epsilon": 0.1, "normalize": False}, "della", True, "sum"),
        ("della_linear", {"epsilon": 0.1}, "della", False, "sum"),
    ],
)
def test_each_method_has_the_election_and_the_fusing_that_mergekit_gives_it(
    root, method, parameters, name, elect, fuse
):
    made = read(root, recipe(root, method, parameters={"density": 0.5} | parameters)).policy.method
    assert (made.name, made.elect, made.fuse) == (name, elect, fuse)


def test_density_and_epsilon_are_turned_into_decimals_of_ours(root):
    """1 - 0.7 is 0.30000000000000004 in floats; twice the half-width 0.15 is 0.3."""
    method = read(root, recipe(root, "della", parameters={"density": 0.7, "epsilon": 0.15})).policy.method
    assert (method.drop_rate, method.epsilon) == (0.3, 0.3)


@pytest.mark.parametrize("density", [0.29, 0.57, 0.58, 0.07, 0.28])
def test_ties_keeps_as_many_parameters_as_mergekit(root, density):
    """0.29 * 100 is 28.999999999999996 in floats, so mergekit keeps 28 of 100 parameters, and ours would keep 29."""
    policy = read(root, recipe(root, parameters={"density": density})).policy
    for tensor, shape in SHAPES.items():
        n = int(np.prod(shape))
        assert kept_count(n, policy.options(tensor, "lm").drop_rate) == max(1, int(density * n))


def test_a_density_of_1_and_more_drops_nothing(root):
    policy = read(root, recipe(root, "della", lm={"density": 1.5}, math={"density": 0.5})).policy
    assert (policy.options(MLP, "lm").drop_rate, policy.options(MLP, "lm").epsilon) == (0, 0)
    assert (policy.options(MLP, "math").drop_rate, policy.options(MLP, "math").epsilon) == (0.5, 0.3)


def test_density_0_is_weight_0_where_that_is_the_same(root):
    assert read(root, recipe(root, lm={"density": 0})).policy.weight(MLP, "lm") == 0
    content = recipe(root, "dare_linear", lm={"density": 0}, parameters={"normalize": True})
    assert "models[0]: density 0, which keeps nothing, cannot be honoured with normalize" in refusal(root, content)


@pytest.mark.parametrize(("density", "epsilon"), [(0.9, 0.2), (0.1, 0.2), (0.85, 0.15), (0.15, 0.15), (0.5, -0.1)])
def test_a_window_that_mergekit_refuses_is_refused(root, density, epsilon):
    """density - epsilon > 0 and density + epsilon < 1, the bounds themselves excluded."""
    content = recipe(root, "della", parameters={"density": density, "epsilon": epsilon})
    assert f"density {density:g} with epsilon {epsilon:g} leaves (0, 1)" in refusal(root, content)


def test_a_window_that_is_left_in_one_layer_names_the_tensors(root):
    """The gradient [0.5, 0.99] gives layer 1 a density of 0.99, and the norm outside the layers 0.5."""
    message = refusal(root, recipe(root, "della", lm={"density": [0.5, 0.99]}, math={"density": 0.5}))
    expected = "models[0]: density 0.99 with epsilon 0.15 leaves (0, 1); write an epsilon below 0.01"
    assert message.endswith(f"{expected} (1 tensors, the first is {MLP})")


def test_rescale_is_the_papers_unless_l1_is_asked_for_or_the_file_says_none(root):
    content = recipe(root, "dare_linear", parameters={"density": 0.5})
    assert read(root, content).policy.method.rescale == "per_parameter"
    assert any(note.startswith("rescale: ") for note in read(root, content).notes)
    assert read(root, content, rescale="l1").policy.method.rescale == "l1"
    none = recipe(root, "dare_linear", parameters={"density": 0.5, "rescale": False})
    assert read(root, none, rescale="l1").policy.method.rescale == "none"
    assert "rescale=l2: write per_parameter or l1" in refusal(root, content, rescale="l2")
    trimmed = recipe(root, parameters={"density": 0.5, "rescale": True})
    assert "rescale: true cannot be honoured with a method that trims" in refusal(root, trimmed)


def test_equal_values_everywhere_need_no_look_ups(root):
    policy = read(root, recipe(root, lm={"weight": 0.25, "density": 0.5}, math={"density": 0.5})).policy
    assert policy.weights == {"lm": 0.25, "math": 1.0}
    assert policy.overrides is None


def test_an_expert_is_named_by_the_last_part_of_its_path_and_by_more_where_two_share_it(root):
    for folder in ("one/tuned", "two/tuned", "two/other"):
        save_model(root / folder)
    models = [
        {"model": str(root / folder), "parameters": {"weight": 1}} for folder in ("two/tuned", "one/tuned", "two/other")
    ]
    assert list(read(root, recipe(root) | {"models": models}).models) == ["two-tuned", "one-tuned", "other"]


def test_the_base_among_the_models_is_no_expert(root):
    content = recipe(root)
    content["models"].append({"model": str(root / "base"), "parameters": {"weight": 0.3}})
    made = read(root, content)
    assert list(made.models) == ["lm", "math"]
    assert any(note.startswith("models[2].parameters: change nothing") for note in made.notes)


def test_what_has_no_effect_in_mergekit_is_noted(root):
    content = recipe(
        root, lm={"lambda": 0.5}, parameters={"epsilon": 0.1, "int8_mask": True}, dtype="bfloat16", name="x"
    )
    notes = read(root, content).notes
    starts = [note.split(" ")[0] for note in notes]
    assert starts == ["name:", "models[0].parameters.lambda:", "parameters.epsilon:", "dtype:"]


def test_slices_count_where_they_are_the_whole_model(root):
    def sliced(*slices):
        return {"merge_method": "ties", "base_model": str(root / "base"), "slices": list(slices)}

    def whole(layers):
        names = ("base", "lm")
        sources = [{"model": str(root / name), "layer_range": layers} for name in names]
        return {"sources": sources, "parameters": {"weight": [0, 1]}}

    policy = read(root, sliced(whole([0, 2]))).policy
    assert [policy.weight(tensor, "lm") for tensor in SHAPES] == [0, 1, 0]
    assert "layer_range: is [0, 1]; only all layers, [0, 2], can be honoured" in refusal(root, sliced(whole([0, 1])))
    assert "layer_range: is None; write all layers" in refusal(root, sliced(whole(None)))
    assert "slices: 2 slices; layers cannot be restacked" in refusal(root, sliced(whole([0, 1]), whole([1, 2])))


@pytest.mark.parametrize(
    ("source", "expected"),
    [(None, ("base", "error")), ("base", ("base", "base_rows")), ("union", ("base", "union")), ("lm", ("lm", "error"))],
)
def test_tokenizers_are_the_bases_an_experts_or_the_union(root, source, expected):
    written = str(root / source) if source == "lm" else source
    for content in ({"tokenizer_source": written}, {"tokenizer": {"source": written}} if source else {}):
        made = read(root, recipe(root) | content)
        assert (made.tokenizer, made.vocab) == expected


def test_an_adapter_on_the_base_is_an_expert_and_on_another_model_is_refused(root):
    (root / "adapter").mkdir()
    content = recipe(root)
    content["models"][0]["model"] = f"{root / 'base'}+{root / 'adapter'}"
    assert dict(read(root, content).models) == {"adapter": root / "adapter", "math": root / "math"}
    content["models"][0]["model"] = {"model": str(root / "lm"), "lora": {"path": str(root / "adapter")}}
    assert f"{root / 'lm'}+{root / 'adapter'}: an adapter is merged as a delta of base_model alone" in refusal(
        root, content
    )


def test_a_hub_id_is_looked_up_in_the_local_cache_and_never_downloaded(root, monkeypatch):
    commit = "0" * 40
    stored = save_model(root / f"hub/models--org--tuned/snapshots/{commit}")
    (root / "hub/models--org--tuned/refs").mkdir()
    (root / "hub/models--org--tuned/refs/v1").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(root / "hub"))
    content = recipe(root)
    content["models"][0]["model"] = "org/tuned@v1"
    assert read(root, content).models["tuned"] == stored
    content["models"][0]["model"] = "org/other@v1"
    expected = "models[0].model: org/other@v1 is no folder and not in the local hub cache; write its folder, or run"
    assert f"{expected} hf download org/other --revision v1" in refusal(root, content)


def test_without_a_dtype_the_widest_of_the_inputs_is_the_outputs(root):
    assert read(root, recipe(root)).output_dtype is None
    save_model(root / "half", np.float16)
    content = recipe(root) | {"base_model": str(root / "half")}
    assert read(root, content).output_dtype == "float32"
    assert read(root, content | {"dtype": "float32", "out_dtype": "torch.bfloat16"}).output_dtype == "bfloat16"


def test_reading_a_file_imports_no_torch():
    program = "import sys, della.mergekit; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
