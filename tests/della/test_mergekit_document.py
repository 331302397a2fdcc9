"""What is wrong with a mergekit file: all of it in one line that says where and what to write."""

import pytest

from della.errors import InputError
from della.mergekit import read_mergekit
from tests.della.mergekit_files import recipe, refusal, save_models


@pytest.fixture
def root(tmp_path):
    return save_models(tmp_path)


def test_every_problem_of_a_file_is_in_one_line(root):
    content = recipe(root, "tiess", lm={"densty": 0.5}, math={"density": "half"}, dtype="int4", chat_template="auto")
    content |= {"basemodel": "x", "base_model": str(root / "nowhere"), "tokenizer": {"tokens": {"a": {}}}}
    content["models"][0]["model"] = "some/model@a@b"
    message = refusal(root, content)
    for problem in (
        "basemodel: no such key; did you mean base_model?",
        "merge_method: tiess is not supported; write one of ",
        "chat_template: cannot be honoured",
        "base_model: "
        + str(root / "nowhere")
        + " is no folder and not in the local hub cache; write the model's folder",
        "models[0].model: is 'some/model@a@b'; write a folder or hub id",
        "models[1].parameters.density: is 'half'; write a finite number",
        "dtype: is 'int4'; write one of float32, bfloat16, float16",
        "tokenizer.tokens: cannot be honoured",
    ):
        assert problem in message


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"models": []}, "models: write one of models, slices, modules, and only one"),
        ({"slices": [1]}, "slices: write one of models, slices, modules, and only one"),
        ({"base_model": None}, "base_model: is missing"),
        ({"merge_method": "slerp"}, "merge_method: slerp is not supported"),
        ({"merge_method": None}, "merge_method: is None"),
        ({"parameters": [1]}, "parameters: is [1]; write NAME: VALUE lines"),
        ({"parameters": {"t": 0.5}}, "parameters.t: no such key"),
        ({"parameters": {"density": None}}, "parameters.density: has no value"),
        ({"parameters": {"density": -0.5}}, "density is -0.5; write a number from 0 to 1"),
        ({"parameters": {"density": [0.5, ".inf"]}}, "parameters.density: is [0.5, '.inf']; write a finite number"),
        ({"parameters": {"normalize": "maybe"}}, "parameters.normalize: is 'maybe'; write true or false"),
        (
            {"parameters": {"density": [{"filter": "mlp"}]}},
            "parameters.density[0]: is {'filter': 'mlp'}; write {",
        ),
        ({"parameters": {"density": {"filter": 3, "value": 1}}}, "parameters.density: the filter is 3"),
        ({"tokenizer_source": "/x"}, "tokenizer_source: /x is none of the models merged"),
        ({"tokenizer": {"pad_to_multiple_of": 8}}, "tokenizer.pad_to_multiple_of: cannot be honoured"),
        ({"tokenizer": "base"}, "tokenizer: is 'base'; write tokenizer_source: base, union or a model"),
        ({"tokenizer": {}, "tokenizer_source": "base"}, "tokenizer: and tokenizer_source are both written"),
    ],
)
def test_what_cannot_be_honoured_is_named(root, change, problem):
    assert problem in refusal(root, recipe(root) | change)


def test_a_model_twice_or_without_a_weight_or_of_a_wrong_form_is_named(root):
    content = recipe(root)
    content["models"] += [content["models"][0], "lm", {"model": 3}, {"model": str(root / "base"), "weight": 1}]
    content["models"][1] = {"model": str(root / "math"), "parameters": {"weight": [{"filter": "mlp", "value": 1}]}}
    message = refusal(root, content)
    assert f"models[2].model: {root / 'lm'} is merged twice" in message
    assert "models[3]: is 'lm'; write model: FOLDER" in message
    assert "models[4].model: is 3; write a folder or hub id" in message
    assert "models[5].weight: no such key" in message
    expected = (
        "models[1]: weight is not given; write parameters: {weight: 1.0} (1 tensors, the first is model.norm.weight)"
    )
    assert expected in message


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- a", "holds no keys"),
        ("", "holds no keys"),
        ("a: [", "line 1: no YAML: expected the node content"),
        ("a: 1\n---\nb: 2", "no YAML: holds several documents; write one merge in a file"),
    ],
)
def test_a_file_that_is_no_mapping_is_one_line(tmp_path, text, problem):
    file = tmp_path / "config.yml"
    file.write_text(text)
    with pytest.raises(InputError, match=r"config\.yml") as caught:
        read_mergekit(file)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"none\.yml: no such file; write --mergekit FILE"):
        read_mergekit(tmp_path / "none.yml")
