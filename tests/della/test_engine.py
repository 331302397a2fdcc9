"""The CPU engine against the torch reference: every method, dtype, shape and awkward value, bits and kept counts."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from della.checkpoint import MemoryCheckpoint
from della.lora import LowRank, open_expert
from della.merge import merge_tensors
from della.methods import METHODS, make_method
from della.options import FUSE, LAMBDA_BY, RANK_BY, RANK_OVER, RESCALE, TRIM_BY, TRIM_OVER
from della.policy import Policy
from tests.della import adapters
from tests.della.bitwise import (
    KINDS,
    SHAPES,
    MemoryAdapter,
    check,
    draw,
    make_activations,
    make_adapter,
    make_family,
)
from tests.della.cases import CASES

# stored as, experts stored as, merged into
DTYPES = [
    ("float32", "float32", None),
    ("bfloat16", "bfloat16", None),
    ("float16", "float16", "float32"),
    ("float16", "bfloat16", "bfloat16"),
    ("float32", "bfloat16", "float16"),
    ("float64", "float32", None),
    ("float32", "float64", "bfloat16"),
]
WEIGHTS = [
    {"code": 0.3, "lm": 0.7},
    {"code": -1.0, "lm": -0.5, "math": -2.0},
    {"code": 1.0, "lm": -1.0, "math": 0.0},  # the sum is 0
    {"code": 1e-9, "lm": 0.0, "math": 0.0},
    {"code": 1e-8, "lm": 1e-8, "math": 0.0},
]


def policy(name, options, **changed):
    return Policy(make_method(name, **options), **changed)


def test_every_method_and_every_option_is_compared():
    assert {name for name, _ in CASES} == set(METHODS)
    options = {
        "fuse": FUSE,
        "lambda_by": LAMBDA_BY,
        "rank_by": RANK_BY,
        "rank_over": RANK_OVER,
        "rescale": RESCALE,
        "trim_over": TRIM_OVER,
    }
    for option, choices in options.items():
        assert {getattr(make_method(name, **given), option, None) for name, given in CASES} >= set(choices)


@pytest.mark.parametrize(("stored", "theirs", "output"), DTYPES)
@pytest.mark.parametrize(("name", "options"), CASES)
def test_every_method_of_every_dtype(name, options, stored, theirs, output):
    """Blocks of 128 elements: most tensors have several."""
    kinds = KINDS if (stored, output) == ("float32", None) else ("normal", "ties")
    for kind in kinds:
        check(*make_family(kind, stored, theirs), make_method(name, **options), output, block_elements=128, threads=2)


@pytest.mark.full
@pytest.mark.parametrize(
    ("stored", "theirs"), itertools.product(["float32", "bfloat16", "float16", "float64"], repeat=2)
)
@pytest.mark.parametrize(("name", "options"), CASES)
def test_every_method_of_every_dtype_kind_and_weight(name, options, stored, theirs):
    """Three outliers of 20,000 overflow float16 when they are added; bad results have tests of their own."""
    for kind in KINDS if stored != "float16" else KINDS[:-1]:
        check(*make_family(kind, stored, theirs), make_method(name, **options), block_elements=128)
    for output in ("float32", "bfloat16", "float16"):
        check(*make_family("normal", stored, theirs), make_method(name, **options), output, block_elements=128)
    for weights in WEIGHTS:
        check(*make_family("ties", stored, theirs), policy(name, options, weights=weights), block_elements=128)


@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
@pytest.mark.parametrize(("name", "options"), CASES)
def test_weights(name, options, weights):
    """A weighted zero may be -0; sums of 0 and of 1e-9 divide by 1 (below 1e-8), others by what they are."""
    check(*make_family("ties"), policy(name, options, weights=weights), block_elements=128)
    check(*make_family("denormal"), policy(name, options, weights=weights), "bfloat16", block_elements=1000)


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("fuse", FUSE)
@pytest.mark.parametrize("name", ["ta_elect", "ties", "della"])
def test_any_number_of_experts(name, fuse, number):
    """Two to four are elected and fused in one loop, others in one each; an unpruned expert among pruned ones too."""
    for kind in ("normal", "ties"):
        base, experts = make_family(kind, names=[f"expert {t}" for t in range(number)])
        weights = {expert: 0.1 + 0.3 * t for t, expert in enumerate(experts)}
        check(base, experts, make_method(name, fuse=fuse), block_elements=1000)
        check(base, experts, policy(name, {"fuse": fuse}, weights=weights), "bfloat16")
    if name == "della":
        unpruned = {"drop_rate": 0.0, "epsilon": 0.0}
        check(base, experts, policy(name, {}, overrides=lambda tensor, expert: unpruned if expert[-1] == "1" else {}))


@pytest.mark.parametrize(("name", "options"), CASES)
def test_tensors_that_are_left_unpruned(name, options):
    for chosen in ({"exclude": ("rows", "o*")}, {"include": ("rows", "long"), "exclude": ("long",)}):
        check(*make_family("ties"), policy(name, options, **chosen), block_elements=500)


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        ({}, {"drop_rate": 0.7, "epsilon": 0.1, "weight": 0.3}),
        ({}, {"drop_rate": 0.0, "epsilon": 0.0}),
        ({}, {"rescale": "l1"}),
        ({}, {"rank_by": "random"}),
        ({}, {"rank_over": "tensor"}),
        ({"rank_over": "tensor"}, {"drop_rate": 0.0, "epsilon": 0.0}),
        ({"rank_over": "tensor"}, {"rank_over": "row"}),
        ({"rank_by": "random"}, {"drop_rate": 0.2, "epsilon": 0.4, "rescale": "none"}),
        ({}, {"rank_by": "wanda"}),
        ({"rank_by": "wanda"}, {"drop_rate": 0.0, "epsilon": 0.0}),
        ({"rank_by": "proportional"}, {"rank_over": "tensor"}),
        ({"rank_by": "proportional", "rescale": "l1"}, {"drop_rate": 0.2, "epsilon": 0.1}),
    ],
)
def test_options_that_change_with_the_expert_and_the_tensor(options, changed):
    def by_expert(tensor, expert):
        return changed if expert == "lm" else {"lambda_": 0.5} if tensor == "rows" else {}

    for kind in ("normal", "ties"):
        check(*make_family(kind), policy("della", options, overrides=by_expert), block_elements=128)


@pytest.mark.parametrize("rank_by", TRIM_BY)
@pytest.mark.parametrize("trim_over", TRIM_OVER)
def test_ties_with_another_drop_rate_for_some_tensors(trim_over, rank_by):
    def by_tensor(tensor, expert):
        return {"drop_rate": 0.0 if tensor == "rows" else 0.3} if expert == "math" else {}

    for drop_rate, kind in itertools.product((0.0, 0.5), ("normal", "zeros")):
        options = {"drop_rate": drop_rate, "trim_over": trim_over, "rank_by": rank_by}
        check(*make_family(kind), policy("ties", options, overrides=by_tensor), block_elements=128)


# Experts that are not whole models


@pytest.mark.parametrize(("name", "options"), CASES)
def test_adapters_and_tensors_that_an_expert_lacks(name, options):
    """Three adapters, one of which holds a tensor in full, and none of which has the others: their delta is 0."""
    base, experts = make_family("normal")
    held = MemoryAdapter(make_adapter(base, ["few"], seed=3).low_rank, {"rows": experts["lm"].tensor("rows")})
    mixed = {**experts, "adapter": make_adapter(base, ["rows", "few", "one column"]), "held": held}
    for members in (mixed, {"a": mixed["adapter"], "b": held}):
        check(base, members, make_method(name, **options), block_elements=130, threads=2)


def test_a_linear_merge_of_an_adapter_is_that_of_the_model_it_makes():
    """(base + delta, base): with weights 1 and 1 the mean of base + delta and the base, here 2 + 1/2 and 2."""
    base = MemoryCheckpoint({"w": torch.full((2, 3), 2.0), "v": torch.ones(3)})
    low_rank = LowRank(np.full((2, 1), 0.5, np.float32), np.ones((1, 3), np.float32), 1.0)
    experts = {"lora": MemoryAdapter({"w": low_rank}), "same": base}
    check(base, experts, make_method("linear"))
    out = {m.name: m.tensor.flatten().tolist() for m in merge_tensors(base, experts, make_method("linear"), None)}
    assert out == {"v": [1.0] * 3, "w": [2.25] * 6}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_adapter_from_a_folder(tmp_path, dtype):
    base = MemoryCheckpoint({f"l.{m}.weight": torch.randn(9, 6).to(dtype) for m in "ab"}, "base")
    for number in (1, 2):
        torch.manual_seed(number)
        pairs = {key: torch.randn(value.shape).to(dtype) for key, value in adapters.pair("l.a", 9, 6).items()}
        adapters.write(tmp_path / str(number), pairs)
    experts = {str(number): open_expert(tmp_path / str(number), base) for number in (1, 2)}
    for name in ("della", "ties", "dare_ties", "linear"):
        check(base, experts, make_method(name), block_elements=12)


# Shapes


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("della", {}),
        ("della", {"rank_over": "tensor"}),
        ("della", {"rescale": "l1"}),
        ("dare_ties", {}),
        ("ties", {}),
        ("della", {"rank_by": "wanda", "lambda_by": "adaptive"}),
        ("della", {"rank_by": "wanda", "rank_over": "tensor"}),
        ("della", {"rank_by": "proportional"}),
        ("ties", {"rank_by": "wanda"}),
        ("ties", {"trim_over": "row"}),
    ],
)
def test_long_rows_and_many_blocks(name, options):
    """Rows over 65,536 are ranked in three passes; about 8,192 elements are worked on at once."""
    shapes = {"a": (3, 70_001), "b": (70_000,), "c": (5, 4097), "d": (3, 8192), "e": (20_000, 1), "f": (700, 48)}
    for kind, theirs in (("normal", "bfloat16"), ("ties", "float32")):
        family = make_family(kind, "bfloat16", theirs, shapes, ("lm", "math"))
        check(*family, make_method(name, **options), block_elements=50_000, threads=2)


@given(
    shape=st.lists(st.integers(0, 40), min_size=0, max_size=3).map(tuple),
    kind=st.sampled_from(KINDS),
    case=st.sampled_from(CASES),
    drop_rate=st.sampled_from([0.0, 0.1, 0.5, 0.85, 0.999]),
    width=st.sampled_from([0.0, 0.5, 1.0]),
    elements=st.integers(1, 600),
    weight=st.floats(-2, 2, width=32),
    stored=st.sampled_from(["float32", "bfloat16", "float16"]),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_any_tensor(shape, kind, case, drop_rate, width, elements, weight, stored):
    """epsilon is a part of the widest window that fits."""
    name, options = case
    fields = make_method(name).__dict__
    if "epsilon" in fields:
        widest = min(2 * drop_rate, 2 * (1 - drop_rate) - 1e-6)
        options = options | {"drop_rate": drop_rate, "epsilon": round(width * widest, 9)}
    elif "drop_rate" in fields:
        options = options | {"drop_rate": drop_rate}
    base, experts = make_family(kind, stored, stored, {"v": (3, 5), "w": shape}, ("lm", "math"))
    check(base, experts, policy(name, options, weights={"lm": weight}), block_elements=elements)


def test_a_tensor_of_which_an_expert_has_more_rows():
    """vocab=base_rows: the first rows count, here 5 of 7."""
    rng = np.random.default_rng(0)
    base = {"model.embed_tokens.weight": draw(rng, (5, 6), "normal")}
    more = {"model.embed_tokens.weight": draw(rng, (7, 6), "normal")}
    cut = {key: value[:5] for key, value in more.items()}
    held = MemoryCheckpoint(base)
    for name, options in CASES:
        ours, theirs = (
            merge_tensors(
                held,
                {"lm": MemoryCheckpoint(of)},
                make_method(name, **options),
                1,
                vocab="base_rows",
                activations=make_activations(held, ["lm"]),
            )
            for of in (more, cut)
        )
        for one, other in zip(ours, theirs, strict=True):
            assert torch.equal(one.tensor, other.tensor)
            assert one.kept == other.kept


def test_the_shapes_of_the_tests_are_the_awkward_ones():
    sizes = {len(shape) for shape in SHAPES.values()}
    assert sizes == {0, 1, 2, 3}
    assert any(0 in shape for shape in SHAPES.values())
    assert any(shape[-1:] == (1,) and len(shape) > 1 for shape in SHAPES.values())
