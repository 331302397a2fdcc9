"""Measuring input activations: against activations worked out without hooks, resumed, refused."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from della import calibration
from della.calibration import measure
from della.errors import InputError
from tests.della import adapters
from tests.della.models import save_llama
from tests.della.test_activations import FACTS

TEXTS = [[3, 4, 5, 6], [7, 8], [], [9, 10, 11, 12, 13]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_llama(tmp_path_factory.mktemp("model") / "lm", 1)


def test_the_norms_are_those_of_the_inputs_of_each_layer(folder):
    """The first attention layer reads the normed embeddings, the output layer what the last norm gives.

    Both are worked out here by the model's parts, text by text, and summed over all 11 tokens in float64.
    """
    held = measure(folder, TEXTS, FACTS)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    first, last = torch.zeros(32, dtype=torch.float64), torch.zeros(32, dtype=torch.float64)
    with torch.no_grad():
        for text in filter(None, TEXTS):
            ids = torch.tensor([text])
            normed = model.model.layers[0].input_layernorm(model.model.embed_tokens(ids))
            first += normed.double().square().sum((0, 1))
            last += model.model(input_ids=ids).last_hidden_state.double().square().sum((0, 1))
    for name, expected in (("model.layers.0.self_attn.q_proj.weight", first), ("lm_head.weight", last)):
        np.testing.assert_array_equal(held.norms[name], expected.sqrt().float().numpy())
    assert held.facts == FACTS | {"tokens": "11"}


def test_there_is_a_norm_for_every_input_feature_of_every_matrix_but_the_embeddings(folder):
    held = measure(folder, TEXTS, FACTS)
    stored = load_file(folder / "model.safetensors")
    matrices = {name: tensor for name, tensor in stored.items() if tensor.ndim == 2 and "embed" not in name}
    assert {name: values.size for name, values in held.norms.items() if name != "lm_head.weight"} == {
        name: tensor.shape[1] for name, tensor in matrices.items()
    }
    assert all(values.dtype == np.float32 and (values > 0).all() for values in held.norms.values())


def test_a_stopped_measurement_goes_on_where_it_was(folder, tmp_path, monkeypatch):
    """Stopped after the second text: the third and fourth are left, and the norms are the same to the bit."""
    monkeypatch.setattr(calibration, "SAVE_SECONDS", 0.0)
    whole, seen = measure(folder, TEXTS, FACTS), []

    def stop(texts: int) -> None:
        seen.append(texts)
        if sum(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(folder, TEXTS, FACTS, unfinished=tmp_path / "x.partial", progress=stop)
    again: list[int] = []
    held = measure(folder, TEXTS, FACTS, unfinished=tmp_path / "x.partial", progress=again.append)
    assert again == [2, 1, 1]
    assert held.sha256 == whole.sha256
    assert list(tmp_path.iterdir()) == []


def test_sums_of_another_measurement_are_not_taken_up(folder, tmp_path):
    for spoilt in ({"key": "other", "texts done": "3"}, None):
        save_file({"lm_head.weight": torch.ones(32)}, tmp_path / "x", spoilt)
        steps: list[int] = []
        assert measure(folder, TEXTS, FACTS, unfinished=tmp_path / "x", progress=steps.append).norms
        assert steps[0] == 0
    (tmp_path / "x").write_bytes(b"cut short")
    assert measure(folder, TEXTS, FACTS, unfinished=tmp_path / "x").norms


def test_an_activation_that_is_not_finite_is_refused_by_name(folder, tmp_path):
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    weights = load_file(broken / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"][0, 0] = float("inf")
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"an input of model\.layers\.0\.mlp\.down_proj\.weight is NaN or infinite"):
        measure(broken, TEXTS, FACTS)


def test_a_model_without_linear_layers_is_refused_but_gpt2_has_its_output_layer(tmp_path):
    """GPT-2's matrices are Conv1D, stored (in, out): they have no norms and are ranked by magnitude."""
    held = measure(adapters.save_gpt2(tmp_path / "gpt2"), [[1, 2, 3]], FACTS)
    assert list(held.norms) == ["lm_head.weight"]
