"""Merging in memory: identities, ablations, determinism, golden hashes, bad values."""

import pytest
import torch

from della.checkpoint import MemoryCheckpoint
from della.errors import InputError
from della.merge import merge_tensors
from della.methods import METHODS, make_method
from tests.della.bitwise import make_activations
from tests.della.models import content_hash, philox_family, philox_model, philox_tensor


def merged(name, *, seed=1, experts=("code", "lm", "math"), dtype=None, stored=torch.float32, **options):
    base, models = philox_family(experts, stored)
    activations = make_activations(base, models)
    method = make_method(name, **options)
    parts = merge_tensors(base, models, method, seed, dtype, activations=activations)
    return {m.name: m.tensor for m in parts}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# Identities


def test_della_that_drops_nothing_is_ta_elect():
    assert same(merged("della", drop_rate=0, epsilon=0), merged("ta_elect"))


@pytest.mark.parametrize("options", [{}, {"rescale": "l1"}, {"rescale": "none", "elect": False}, {"fuse": "sum"}])
def test_della_without_a_window_is_dare_elect(options):
    assert same(merged("della", drop_rate=0.4, epsilon=0, **options), merged("dare_elect", drop_rate=0.4, **options))


def test_dare_elect_with_a_sum_is_dare_ties_and_without_elect_it_is_dare():
    assert same(merged("dare_elect", drop_rate=0.4, fuse="sum"), merged("dare_ties", drop_rate=0.4))
    assert same(merged("dare_elect", drop_rate=0.4, fuse="sum", elect=False), merged("dare", drop_rate=0.4))


def test_methods_that_drop_nothing_meet_in_the_plain_sums():
    assert same(merged("dare", drop_rate=0), merged("task_arithmetic"))
    assert same(merged("ties", drop_rate=0), merged("ta_elect"))
    assert same(merged("ta_elect", elect=False), merged("average"))


NOTHING_DROPPED = {
    name: {key: 0 for key in ("drop_rate", "epsilon") if hasattr(make_method(name), key)} for name in METHODS
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16])
def test_one_expert_and_no_drop_returns_the_expert_bit_for_bit_in_16_bits(name, stored):
    """With b the base and e the expert, fl(b + fl(e - b)) is off by at most 2**-24 max(|b|, |e|), which rounds away.

    That needs |e| >= 2**-15 |b| in bfloat16 (half a unit of e is 2**-9 |e|); 2**-12 |b| in float16, or |b| and |e|
    below 1, where float16 values are multiples of 2**-24 and nothing is lost. A zero is returned as +0.
    """
    base = {"w": philox_tensor("w", (64, 65), dtype=stored) + 0.75}
    expert = {"w": (base["w"].float() * (1 + philox_tensor("d", (64, 65), 1.9))).to(stored)}
    expert["w"][0, :20] = 0.0
    method = make_method(name, **NOTHING_DROPPED[name])
    (out,) = merge_tensors(MemoryCheckpoint(base), {"lm": MemoryCheckpoint(expert)}, method, None)
    assert out.tensor.dtype == stored
    assert torch.equal(out.tensor.view(torch.int16), expert["w"].view(torch.int16))
    assert out.realised == {"lm": 0.0}


@pytest.mark.parametrize("name", METHODS)
def test_one_expert_and_no_drop_returns_the_expert_to_one_rounding_in_float32(name):
    base, expert = philox_tensor("w", (64, 65)) + 0.3, philox_tensor("e", (64, 65), 0.7) + 0.2
    method = make_method(name, **NOTHING_DROPPED[name])
    (out,) = merge_tensors(MemoryCheckpoint({"w": base}), {"lm": MemoryCheckpoint({"w": expert})}, method, None)
    error = (out.tensor.double() - expert.double()).abs()
    assert bool((error <= 2.0**-23 * torch.maximum(base.abs(), expert.abs()).double()).all())


def test_election_and_mean_worked_by_hand():
    """Base 10, deltas by place: (4, 2, -1) -> sum 5, + : mean(4, 2) = 3; (1, -3, 0) -> -2, - : -3;
    (2, -2, 0) -> 0 elects + : 2; (0, 0, 0) -> 0. lambda = 0.5: 10 + 1.5, 10 - 1.5, 10 + 1, 10."""
    base = MemoryCheckpoint({"w": torch.full((4,), 10.0)})
    deltas = {"a": [4.0, 1, 2, 0], "b": [2.0, -3, -2, 0], "c": [-1.0, 0, 0, 0]}
    experts = {name: MemoryCheckpoint({"w": 10 + torch.tensor(delta)}) for name, delta in deltas.items()}
    (elected,) = merge_tensors(base, experts, make_method("ta_elect", lambda_=0.5), None)
    assert elected.tensor.tolist() == [11.5, 8.5, 11.0, 10.0]
    (summed,) = merge_tensors(base, experts, make_method("ta_elect", lambda_=0.5, fuse="sum"), None)
    assert summed.tensor.tolist() == [13.0, 8.5, 11.0, 10.0]
    (unelected,) = merge_tensors(base, experts, make_method("ta_elect", elect=False, lambda_=3.0), None)
    assert unelected.tensor.tolist() == [15.0, 8.0, 10.0, 10.0]  # every expert counts: 5 / 3, -2 / 3, 0, 0


# Ablations


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("task_arithmetic", {"lambda_": 0.9}),
        ("dare", {"drop_rate": 0.6}),
        ("dare", {"rescale": "l1"}),
        ("dare", {"rescale": "none"}),
        ("dare_ties", {"drop_rate": 0.6}),
        ("dare_ties", {"rescale": "l1"}),
        ("dare_ties", {"rescale": "none"}),
        ("ta_elect", {"elect": False}),
        ("ta_elect", {"fuse": "sum"}),
        ("dare_elect", {"elect": False}),
        ("dare_elect", {"fuse": "sum"}),
        ("dare_elect", {"rescale": "l1"}),
        ("dare_elect", {"rescale": "none"}),
        ("ties", {"drop_rate": 0.5}),
        ("ties", {"trim_over": "global"}),
        ("ties", {"elect": False}),
        ("ties", {"fuse": "sum"}),
        ("linear", {"fuse": "sum"}),
        ("breadcrumbs", {"drop_rate": 0.3}),
        ("breadcrumbs", {"gamma": 0.05}),
        ("breadcrumbs", {"elect": True}),
        ("breadcrumbs", {"fuse": "mean"}),
        ("della", {"epsilon": 0.0}),
        ("della", {"elect": False}),
        ("della", {"fuse": "sum"}),
        ("della", {"rescale": "l1"}),
        ("della", {"rescale": "none"}),
        ("della", {"rank_by": "random"}),
        ("della", {"rank_over": "tensor"}),
        ("della", {"rank_by": "proportional"}),
        ("della", {"rank_by": "wanda"}),
        ("della", {"lambda_": 1.1}),
        ("della", {"lambda_by": "adaptive"}),
        ("ties", {"trim_over": "row"}),
        ("ties", {"rank_by": "wanda"}),
        ("ties", {"lambda_by": "adaptive"}),
        ("dare_elect", {"lambda_by": "adaptive"}),
        ("ta_elect", {"lambda_by": "adaptive"}),
    ],
)
def test_every_switch_changes_the_weights(name, option):
    """The released code's "no elect" row of DELLA still elects, and it ignores options that it does not know."""
    assert not same(merged(name), merged(name, **option))


def test_methods_differ_from_one_another():
    outputs = [merged(name) for name in METHODS]
    assert not any(same(a, b) for i, a in enumerate(outputs) for b in outputs[:i])


# Randomness and determinism


def test_a_mask_does_not_depend_on_the_other_experts():
    """kept counts per tensor, and the merge of experts whose deltas are zero but one, are those of that one alone."""
    base, models = philox_family()
    method = make_method("della")
    alone = list(merge_tensors(base, {"math": models["math"]}, method, 1))
    together = list(merge_tensors(base, models, method, 1))
    assert [m.kept["math"] for m in alone] == [m.kept["math"] for m in together]
    still = {"code": base, "lm": base, "math": models["math"]}
    for one, other in zip(alone, merge_tensors(base, still, method, 1), strict=True):
        assert torch.equal(one.tensor, other.tensor)


def test_the_seed_and_the_name_of_an_expert_change_its_mask():
    base, models = philox_family(["lm"])
    hashes = {
        content_hash(merge_tensors(base, {name: models["lm"]}, make_method("dare"), seed))
        for name, seed in [("lm", 1), ("lm", 2), ("math", 1)]
    }
    assert len(hashes) == 3


@pytest.mark.parametrize("name", METHODS)
def test_the_order_of_the_experts_changes_nothing(name):
    assert same(merged(name, experts=("code", "lm", "math")), merged(name, experts=("math", "code", "lm")))


@pytest.mark.parametrize(
    ("name", "options"),
    [("della", {"rescale": "l1"}), ("ties", {"trim_over": "global"}), ("dare", {}), ("model_stock", {})],
)
def test_threads_of_the_engine_and_of_torch_change_nothing(name, options):
    """90,000 values are enough for torch to split them between threads, for a method without a kernel."""
    shapes = {"w": (300, 300)}
    base = MemoryCheckpoint(philox_model("base", shapes))
    experts = {name: MemoryCheckpoint(philox_model(name, shapes, 0.9)) for name in ("lm", "math")}
    before = torch.get_num_threads()
    hashes = set()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            merge = merge_tensors(base, experts, make_method(name, **options), 1, threads=threads, block_elements=9000)
            hashes.add(content_hash(merge))
    finally:
        torch.set_num_threads(before)
    assert len(hashes) == 1


def test_the_realised_drop_rate_is_counted():
    """Bernoulli with p = 0.5 over 240 parameters: standard error 0.032; TIES with p = 0.8 keeps 48 of 240 exactly."""
    base, models = philox_family(["lm"])
    realised = {m.name: m.realised["lm"] for m in merge_tensors(base, models, make_method("dare"), 1)}
    assert abs(realised["a.weight"] - 0.5) < 0.17
    trimmed = {m.name: m.realised["lm"] for m in merge_tensors(base, models, make_method("ties"), None)}
    assert trimmed["a.weight"] == 1 - 48 / 240


# Output dtype and bad input


def test_the_output_dtype_rounds_once():
    for name, torch_dtype in (("bfloat16", torch.bfloat16), ("float16", torch.float16)):
        exact = merged("della")
        assert same(merged("della", dtype=name), {key: value.to(torch_dtype) for key, value in exact.items()})


def test_integers_and_rotary_constants_are_the_bases():
    base = {"w": torch.ones(2, 2), "ids": torch.arange(3), "x.rotary_emb.inv_freq": torch.tensor([1.0, 0.5])}
    expert = {"w": torch.zeros(2, 2), "ids": torch.arange(3) + 1}
    parts = merge_tensors(MemoryCheckpoint(base), {"lm": MemoryCheckpoint(expert)}, make_method("average"), None)
    out = {part.name: part for part in parts}
    assert list(out) == ["ids", "w", "x.rotary_emb.inv_freq"]
    assert out["ids"].tensor.tolist() == [0, 1, 2]
    assert out["x.rotary_emb.inv_freq"].tensor.tolist() == [1.0, 0.5]
    assert out["ids"].kept == {}


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(("where", "culprit"), [("base", "the base"), ("lm", "expert lm")])
def test_nan_and_inf_are_refused_by_tensor_and_model(bad, where, culprit):
    base, experts = philox_family(["lm", "math"])
    models = {"base": base, **experts}
    tensors = {name: models[where].tensor(name) for name in base.headers}
    tensors["b.weight"][1, 0] = bad
    models[where] = MemoryCheckpoint(tensors, where)
    with pytest.raises(InputError, match=rf"{culprit} \({where}\): b.weight holds NaN or Inf"):
        list(merge_tensors(models.pop("base"), models, make_method("average"), None))


def test_an_overflow_of_the_output_is_refused():
    base = MemoryCheckpoint({"w": torch.zeros(2)})
    expert = MemoryCheckpoint({"w": torch.tensor([1.0, 60000.0])})
    with pytest.raises(InputError, match=r"the merged w overflows float16; write dtype=bfloat16"):
        list(merge_tensors(base, {"lm": expert}, make_method("task_arithmetic", lambda_=2.0), None, "float16"))


@pytest.mark.parametrize("seed", [None, "1", 1.0, True])
def test_a_random_method_without_a_whole_number_as_seed_is_refused_at_once(seed):
    base, models = philox_family(["lm"])
    with pytest.raises(InputError, match="write seed=1"):
        merge_tensors(base, models, make_method("dare"), seed)


def test_an_unknown_dtype_is_refused_at_once():
    base, models = philox_family(["lm"])
    with pytest.raises(InputError, match="dtype is 'fp16'; write one of float32, bfloat16, float16"):
        merge_tensors(base, models, make_method("average"), None, "fp16")
