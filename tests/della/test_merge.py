"""Merging in memory: identities, ablations, determinism, golden hashes, bad values."""

import pytest
import torch

from della.checkpoint import MemoryCheckpoint
from della.errors import InputError
from della.merge import MERGE_VERSION, merge_tensors
from della.methods import METHODS, make_method
from della.policy import Policy
from tests.della.models import content_hash, philox_family, philox_model, philox_tensor


def merged(name, *, seed=1, experts=("code", "lm", "math"), dtype=None, stored=torch.float32, **options):
    base, models = philox_family(experts, stored)
    return {m.name: m.tensor for m in merge_tensors(base, models, make_method(name, **options), seed, dtype)}


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
        ("della", {"lambda_": 1.1}),
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


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", METHODS)
def test_a_gpu_gives_the_same_bytes(name):
    base, models = philox_family()
    theirs = merge_tensors(base, models, make_method(name), 1, device="cuda")
    assert content_hash(theirs) == GOLDEN[name, "float32"]


# Bytes that only a new MERGE_VERSION may change

GOLDEN_VERSION = 1
GOLDEN = {
    ("average", "float32"): "3f55de34a13b9f2a0d8cfaef2fa8ef492f6061a865b369e597bd31042531fb1c",
    ("average", "bfloat16"): "9089b0ebfa70917ec2dd97457465e3d04cb828f3c26f121df10fee5871b8e3fc",
    ("task_arithmetic", "float32"): "d0196e5ce742738c251def7b6567942e040b166c9d1dda896a06212aa1ba5329",
    ("task_arithmetic", "bfloat16"): "cf43972fcf52e03267ae9d27392de7ccadc37b3de5aebb2635960f5d14b8a028",
    ("dare", "float32"): "9458504f2090901ff27d76b103765ecbe341e9ec44b1cfd0cb2b7e4838c31141",
    ("dare", "bfloat16"): "72f44d7e2c6f463d600f7cce5fcd25e2647cd3bd8da58677ca6ec4276806d307",
    ("dare_ties", "float32"): "69531705566c1f14d8bf98a56c2ff84231639ccd3b8cd4dfa13c0ee8daf12c05",
    ("dare_ties", "bfloat16"): "0190039b6675d799dea6abaeed6dabbab5e543fcf9a86b2dbcf6a004ae511357",
    ("ta_elect", "float32"): "25d9153a2043b5226ecefb7d662410d785a93c6276d90951c9d42903d7d87112",
    ("ta_elect", "bfloat16"): "b06f92878d4494167841082a17cb8fbdcdf800547c6543614918ecf7c048113a",
    ("dare_elect", "float32"): "1c6818dd8d75b464d61869c870b0fdb09a0e5d0a940b6439420e329c4d78aca8",
    ("dare_elect", "bfloat16"): "527184d5b753f824c33741c103ca9e5ca3094ba193391b45b347002a4576dee0",
    ("ties", "float32"): "4f83f1b7493915f81776b9bc23023c2cc9c2237f966e62f0b80bedde83d6d708",
    ("ties", "bfloat16"): "645e29616ea75b2b402a96452698e9d8bc856a7045f4d94f79462527d914ed10",
    ("della", "float32"): "fcdc2cdc4a64b6d0d927ee904e3e0302d2cba0f3e5a1bb858ec35addd2bc6e7f",
    ("della", "bfloat16"): "73086633a2934578cd2f24866513656332d643a7edcc312a8fb56ff3659483ed",
    ("linear", "float32"): "587d012cf8aebdf69d73d76a0d3fe29f0b191f55b27ccb226a6f8e6ca0dcaa05",
    ("linear", "bfloat16"): "9089b0ebfa70917ec2dd97457465e3d04cb828f3c26f121df10fee5871b8e3fc",
    ("breadcrumbs", "float32"): "e4445f37ad570e0f2f015311b93e1792304c4cbb57875858ccfe1557c50e8c13",
    ("breadcrumbs", "bfloat16"): "9fe263429b69edf7379aa53449d36e6563dac4214d805cf986594c327b0cf58c",
    ("model_stock", "float32"): "e41dcafa385da1a29ba1415e4a3a6bbf65082d2cf971166fc243348f6da41e6d",
    ("model_stock", "bfloat16"): "92d2b3add4e86e48582dc96bbf01d8eaa95908c4857371c6f60fe03f6a8bad0c",
}


@pytest.mark.parametrize("stored", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", METHODS)
def test_merged_bytes_are_those_of_this_merge_version(name, stored):
    """If this fails and the change is meant: raise MERGE_VERSION and GOLDEN_VERSION, and renew the hashes."""
    assert MERGE_VERSION == GOLDEN_VERSION
    base, models = philox_family(dtype=getattr(torch, stored))
    assert content_hash(merge_tensors(base, models, make_method(name), 1)) == GOLDEN[name, stored]


VARIANTS = {  # what they are -> method, its options, the policy's
    "della rescale=l1": ("della", {"rescale": "l1"}, {}),
    "della rescale=none": ("della", {"rescale": "none"}, {}),
    "della rank_by=random": ("della", {"rank_by": "random"}, {}),
    "della rank_over=tensor": ("della", {"rank_over": "tensor"}, {}),
    "della elect=false fuse=sum": ("della", {"elect": False, "fuse": "sum", "lambda_": 0.7}, {}),
    "della with weights": ("della", {"drop_rate": 0.7}, {"weights": {"lm": 0.3, "math": -1.5}}),
    "della without its matrices": ("della", {}, {"exclude": ("*.weight",)}),
    "dare rescale=l1": ("dare", {"rescale": "l1"}, {}),
    "ties trim_over=global": ("ties", {"trim_over": "global"}, {}),
    "linear fuse=sum with weights": ("linear", {"fuse": "sum"}, {"weights": {"lm": 0.3}}),
}
GOLDEN_VARIANTS = {
    "della rescale=l1": "b6ca798648ef78434f5034d1bf60dc5106fcd890fbcbef3ed7971b9ca7a34dc1",
    "della rescale=none": "fe7f37200465c9c23048a769dcaa14e93b92700e2b0328a5e3f4b86d4e1d8575",
    "della rank_by=random": "a70bd8f0f3bb1b156e6d1f77db9e00fdf6e8fa3d85c86eae0298a57d4c2e1680",
    "della rank_over=tensor": "46dde9e0a326b8f09f7a6ed3b930cb5df6dfdfbc1142e84f215f5d4e189f9538",
    "della elect=false fuse=sum": "40ddbd5e0815cf957f7ed71624ad4bf8048c65537c4f8fb792f316c57ae7eacd",
    "della with weights": "98d4f24ae295768ea5c89f3b09c924f1e04cba3c952d9b0932098646854eb282",
    "della without its matrices": "c6ed94081941d471b27552fec2dcb09e8046197925f8b15d0c3bcb0cd8c31a18",
    "dare rescale=l1": "85549bd56240f08ded9e980df24f8ef489e8b5384c56240711be1c5662c1ea7c",
    "ties trim_over=global": "950ceb8eac49a73f6e51ca661b9fa8763ebc1e6621f1b4565924e66ed5bc8d05",
    "linear fuse=sum with weights": "23b1fd4031e07d35f529eddcfa0db79d140d75b4689b58eff2b05ee9f9dd5cb0",
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_so_are_those_of_other_options(variant):
    name, options, policy = VARIANTS[variant]
    base, models = philox_family()
    method = Policy(make_method(name, **options), **policy)
    assert content_hash(merge_tensors(base, models, method, 1)) == GOLDEN_VARIANTS[variant]
    assert GOLDEN_VARIANTS[variant] not in GOLDEN.values()


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
