"""Experts of another base are told from experts of this one, by a sample of values."""

import itertools
import json
import math

import numpy as np
import pytest

from della.checkpoint import Header, MemoryCheckpoint
from della.lineage import FINE, WRONG, adapter_warnings, examine, verdict_of
from della.sample import TENSORS, VALUES, Distance, choose_places, distance, kind_of, take

Q, UP, EMBED, NORM = (
    "model.layers.0.self_attn.q_proj.weight",
    "model.layers.0.mlp.up_proj.weight",
    "model.embed_tokens.weight",
    "model.norm.weight",
)
SHAPES = {Q: (16, 16), UP: (32, 16), EMBED: (40, 16), NORM: (16,)}


def draw(seed: int) -> dict[str, np.ndarray]:
    """Weights as training leaves them: matrices around 0, norms around 1."""
    rng = np.random.default_rng(seed)
    return {
        name: (rng.standard_normal(shape) * 0.02 + (len(shape) == 1)).astype(np.float32)
        for name, shape in SHAPES.items()
    }


def tuned(base: dict[str, np.ndarray], seed: int, ratio: float) -> dict[str, np.ndarray]:
    """The base plus noise of `ratio` times its norm, tensor by tensor."""
    out = {}
    for name, noise in draw(seed).items():
        scale = ratio * np.linalg.norm(base[name]) / np.linalg.norm(noise)
        out[name] = (base[name] + scale * noise).astype(np.float32)
    return out


def held(tensors: dict[str, np.ndarray], label: str = "model") -> MemoryCheckpoint:
    return MemoryCheckpoint(tensors, label)


def test_ratio_and_cosine_are_those_worked_by_hand():
    """b = (3, 4), e = (3, 0): |e - b| = 4 of |b| = 5, so 0.8; e . b = 9 over 3 * 5 is 0.6."""
    apart = distance(np.array([3, 4], np.float32), np.array([3, 0], np.float32))
    assert apart == Distance(16.0, 25.0, 9.0, 9.0, 2)
    assert (apart.ratio, apart.cosine) == (0.8, 0.6)


def test_the_verdict_changes_where_the_documented_numbers_say():
    """With |b| = 1: e = (1 + x) b has ratio x and cosine 1; e at right angles to b has cosine 0."""

    def along(x: float) -> Distance:
        return Distance(x**2, 1.0, (1 + x) ** 2, 1 + x, 100)

    assert verdict_of(along(FINE)) == "fine"
    assert verdict_of(along(FINE + 0.01)) == "doubtful"
    assert verdict_of(along(5.0)) == "doubtful"
    assert verdict_of(Distance(2.0, 1.0, 1.0, 0.0, 100)) == "wrong"
    assert verdict_of(Distance(2 - 2 * WRONG, 1.0, 1.0, WRONG, 100)) == "wrong"
    assert verdict_of(Distance(0.8, 1.0, 1.0, 0.6, 100)) == "doubtful"
    assert verdict_of(Distance(2.0, 1.0, 1.0, 0.0, 63)) == "unknown"
    assert verdict_of(Distance(2.0, 0.0, 2.0, 0.0, 100)) == "unknown"


def test_fine_tuned_experts_are_fine_and_nothing_is_said_of_them():
    base = draw(0)
    found = examine(held(base), {"lm": held(tuned(base, 1, 0.05)), "math": held(tuned(base, 2, 0.2))})
    assert (found.problems, found.warnings) == ((), ())
    for name, ratio in (("lm", 0.05), ("math", 0.2)):
        assert found.lineages[name].verdict == "fine"
        assert found.lineages[name].whole.ratio == pytest.approx(ratio, abs=1e-4)


def test_an_expert_of_another_base_is_a_problem_though_its_norms_are_alike():
    found = examine(held(draw(0), "models/base"), {"lm": held(draw(1), "models/lm")})
    assert found.lineages["lm"].kinds["vectors"].cosine > 0.99
    assert found.lineages["lm"].verdict == "wrong"
    (problem,) = found.problems
    assert "expert lm (models/lm): its " in problem
    assert "the base's (models/base)" in problem
    assert "it comes from another base" in problem


def test_one_kind_of_another_base_is_enough():
    base = draw(0)
    other = tuned(base, 1, 0.05) | {EMBED: draw(2)[EMBED]}
    found = examine(held(base), {"lm": held(other)})
    assert (found.lineages["lm"].verdict, found.lineages["lm"].worst) == ("wrong", "embeddings")


def test_a_large_delta_is_a_warning_that_says_how_large():
    base = draw(0)
    found = examine(held(base), {"lm": held(tuned(base, 1, 0.5))})
    assert found.problems == ()
    assert "weights are 0.5" in found.warnings[0]
    assert "check that it was tuned from this base" in found.warnings[0]


def test_a_tensor_trained_anew_is_named():
    base = {f"model.layers.{i}.mlp.up_proj.weight": draw(i)[UP] for i in range(40)}
    expert = dict(base, **{"model.layers.7.mlp.up_proj.weight": draw(99)[UP]})
    found = examine(held(base), {"lm": held(expert)})
    assert found.lineages["lm"].verdict == "fine"
    assert "model.layers.7.mlp.up_proj.weight" in found.warnings[0]


def test_an_expert_that_equals_the_base_and_experts_that_are_equal_are_told():
    base = draw(0)
    lm = tuned(base, 1, 0.1)
    found = examine(held(base), {"a": held(lm), "b": held(lm), "c": held(base, "models/c")})
    values = sum(math.prod(shape) for shape in SHAPES.values())
    assert found.problems == ()
    assert found.warnings == (
        f"expert c (models/c): equals the base in all {values:,} values looked at and adds nothing; check the folder",
        f"experts a and b are equal in all {values:,} values looked at; leave one out",
    )


def test_for_a_mean_of_weights_another_base_is_no_problem_and_siblings_of_it_are_not_its_hint():
    other = draw(5)
    experts = {"lm": held(tuned(other, 1, 0.1)), "math": held(tuned(other, 2, 0.1))}
    of_weights, of_deltas = (examine(held(draw(0)), experts, deltas=deltas) for deltas in (False, True))
    assert of_weights.problems == ()
    assert [warning.split(":")[0] for warning in of_weights.warnings] == ["expert lm (model)", "expert math (model)"]
    assert len(of_deltas.problems) == 2
    assert not any("nearer" in warning for warning in of_deltas.warnings)


def test_a_mean_of_weights_may_have_its_base_among_the_experts():
    base = draw(0)
    experts = {"base": held(base), "lm": held(tuned(base, 1, 0.1)), "math": held(tuned(base, 2, 0.1))}
    assert examine(held(base), experts, deltas=False).warnings == ()
    assert len(examine(held(base), experts).warnings) == 1


def test_the_expert_that_is_the_others_base_is_named():
    """lm and math are 0.1 from x; the base that is named is one more of them: sqrt(0.1^2 + 0.1^2) = 0.14 away."""
    base = draw(0)
    models = {"lm": held(tuned(base, 1, 0.1)), "math": held(tuned(base, 2, 0.1)), "x": held(base, "models/x")}
    found = examine(held(tuned(base, 3, 0.1), "models/code"), models)
    assert found.problems == ()
    (warning,) = found.warnings
    assert warning.startswith("expert x (models/x) is nearer than the base (models/code) to lm (0.1")
    assert "math (0.1" in warning
    assert "write experts.base=models/x" in warning


def test_nan_and_infinity_are_problems_that_name_the_tensor():
    base = draw(0)
    expert = tuned(base, 1, 0.1)
    expert[Q][3, 3] = np.nan
    expert[UP][0, 0] = np.inf
    found = examine(held(base), {"lm": held(expert, "models/lm")})
    assert found.problems == (f"expert lm (models/lm): {UP}, {Q} hold NaN or Inf; replace the file by a whole one",)


def test_tensors_of_another_shape_are_left_out_and_added_rows_are_not_looked_at():
    base = draw(0)
    more = np.concatenate([base[EMBED], np.full((3, 16), 1e9, np.float32)])
    expert = {**base, EMBED: more, UP: np.ones((32, 17), np.float32)}
    found = examine(held(base), {"lm": held(expert)})
    assert sorted(found.lineages["lm"].kinds) == ["attention", "embeddings", "vectors"]
    assert found.lineages["lm"].whole.apart == 0


def test_models_without_a_common_matrix_are_unknown():
    found = examine(held({NORM: np.ones(100, np.float32)}), {"lm": held({NORM: -np.ones(100, np.float32)})})
    assert (found.lineages["lm"].verdict, found.problems) == ("unknown", ())


def test_bfloat16_and_float16_are_read_as_the_values_they_stand_for():
    """0x3f80 is 1 and 0xc040 is -3 in bfloat16."""
    model = held({"a": np.array([0x3F80, 0xC040], np.uint16), "b": np.array([0.5, -3], np.float16)})
    sample, broken = take(model, model.headers, choose_places(model.headers))
    assert broken == []
    assert sample["a"].tolist() == [1.0, -3.0]
    assert sample["b"].tolist() == [0.5, -3.0]


def test_the_largest_magnitudes_are_of_the_base_and_of_the_deltas():
    found = examine(held({Q: np.full((8, 8), -5, np.float32)}), {"lm": held({Q: np.full((8, 8), -7.5, np.float32)})})
    assert (found.base_largest, found.delta_largest) == (5.0, {"lm": 2.5})


def test_the_sample_of_a_large_model_is_small_and_spread_over_kinds_layers_and_tensors():
    """80 layers of 7 matrices and 2 norms, as Llama 2 70B has them."""
    parts = [f"self_attn.{part}_proj" for part in "qkvo"] + [f"mlp.{part}_proj" for part in ("gate", "up", "down")]
    headers = {f"model.layers.{i}.{part}.weight": Header((8192, 8192), "bfloat16") for i in range(80) for part in parts}
    headers |= {f"model.layers.{i}.input_layernorm.weight": Header((8192,), "bfloat16") for i in range(80)}
    headers |= {EMBED: Header((32000, 8192), "bfloat16"), "lm_head.weight": Header((32000, 8192), "bfloat16")}
    places = choose_places(headers)
    assert places == choose_places(dict(reversed(headers.items())))
    assert len(places) <= TENSORS
    assert sum(run.stop - run.start for runs in places.values() for run in runs) <= VALUES
    for part in parts:
        layers = {int(name.split(".")[2]) for name in places if part in name}
        assert len(layers) >= 8, part
    assert {EMBED, "lm_head.weight"} <= places.keys()
    for name, runs in places.items():
        assert runs[0].start == 0
        assert runs[-1].stop == headers[name].numel
        assert all(first.stop <= second.start for first, second in itertools.pairwise(runs))


def test_kinds_are_found_in_the_names_that_architectures_use():
    names = {
        "transformer.h.0.attn.c_attn.weight": "attention",
        "gpt_neox.layers.0.attention.dense.weight": "attention",
        "gpt_neox.layers.0.mlp.dense_h_to_4h.weight": "mlp",
        "gpt_neox.embed_in.weight": "embeddings",
        "transformer.wte.weight": "embeddings",
        "lm_head.weight": "embeddings",
        "model.layers.0.block_sparse_moe.experts.3.w1.weight": "mlp",
        "model.layers.0.mixer.in_proj.weight": "other",
    }
    assert {name: kind_of(name, (2, 2)) for name in names} == names
    assert kind_of("model.layers.0.self_attn.q_proj.bias", (2,)) == "vectors"


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("meta-llama/Llama-2-13b-hf", None),
        ("/elsewhere/llama-2-13b-hf/", None),
        ("models/tuned-from", None),
        ("meta-llama/Llama-3-8B", "was trained for the base meta-llama/Llama-3-8B"),
        (None, "names no base"),
    ],
)
def test_an_adapter_names_its_base(named, said, tmp_path):
    """The base lies in a hub cache; its config says what it was saved from."""
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": named}))
    label = "/cache/models--meta-llama--Llama-2-13b-hf/snapshots/abc"
    base = MemoryCheckpoint({}, label, {"_name_or_path": "org/tuned-from"})
    warnings = adapter_warnings("lm", tmp_path, base)
    assert len(warnings) == (said is not None)
    assert not said or said in warnings[0]


def test_an_adapter_without_a_readable_configuration_is_told(tmp_path):
    assert "names no base" in adapter_warnings("lm", tmp_path, held({}))[0]
