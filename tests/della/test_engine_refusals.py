"""NaN, Inf and overflows: the engine says what the reference says, wherever they are, and comes to an end."""

import itertools
import threading

import pytest
import torch

from della.checkpoint import MemoryCheckpoint
from della.errors import InputError
from della.merge import merge_points, merge_tensors
from della.methods import make_method
from tests.della.bitwise import MemoryAdapter, by_engine, by_reference, make_adapter, make_family
from tests.della.cases import CASES

SHAPES = {"a": (40, 64), "b": (300,), "c": (3, 5, 7), "d": (30, 64)}
PLACES = [("a", 0), ("a", 2559), ("b", 150), ("c", 104), ("d", 1000)]  # first and later blocks, later tensors
NAN, INF = float("nan"), float("inf")


@pytest.fixture(autouse=True)
def _nothing_hangs():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def with_values(model: MemoryCheckpoint, *values: tuple[str, int, float]) -> MemoryCheckpoint:
    tensors = {name: model.tensor(name) for name in model.headers}
    for name, place, value in values:
        tensors[name].view(-1)[place] = value
    return MemoryCheckpoint(tensors, model.label)


def spoilt(which: str, *values: tuple[str, int, float]):
    """The family with values in the base or an expert."""
    base, experts = make_family("normal", shapes=SHAPES)
    if which == "base":
        return with_values(base, *values), experts
    return base, {**experts, which: with_values(experts[which], *values)}


def refusal(merge, *args, **how) -> str:
    with pytest.raises(InputError) as error:
        merge(*args, **how)
    return str(error.value)


def assert_same_refusal(base, experts, method, dtype=None) -> str:
    theirs = refusal(by_reference, base, experts, method, dtype=dtype)
    for threads, elements in ((1, 1 << 20), (2, 128)):
        assert (
            refusal(by_engine, base, experts, method, dtype=dtype, threads=threads, block_elements=elements) == theirs
        )
    return theirs


@pytest.mark.parametrize(("name", "options"), [case for case in CASES if "trim_over" not in case[1]])
def test_a_bad_value_is_named_by_model_and_tensor(name, options):
    """For a linear merge the base does not matter: it is merged."""
    method = make_method(name, **options)
    for (tensor, place), value, which in itertools.product(PLACES[1::2], (NAN, -INF), ("base", "lm")):
        base, experts = spoilt(which, (tensor, place, value))
        if which == "base" and name == "linear":
            by_engine(base, experts, method)
            continue
        said = assert_same_refusal(base, experts, method)
        assert said.startswith(
            f"{'the base (base)' if which == 'base' else 'expert lm (lm)'}: {tensor} holds NaN or Inf"
        )


@pytest.mark.parametrize(("tensor", "place"), PLACES)
def test_a_bad_value_in_any_place(tensor, place):
    for which in ("base", "math"):
        assert tensor in assert_same_refusal(*spoilt(which, (tensor, place, NAN)), make_method("della"))


def test_a_bad_value_under_a_trim_over_the_whole_expert():
    method = make_method("ties", trim_over="global")
    for (tensor, place), which in itertools.product(PLACES, ("base", "lm")):
        said = assert_same_refusal(*spoilt(which, (tensor, place, NAN)), method)
        assert f": {tensor} holds NaN or Inf" in said


def test_of_several_bad_values_the_first_expert_is_named_whichever_block_fails_first():
    """Expert math in the first block, code in the last, and a sum that overflows between: code is named."""
    base, experts = make_family("normal", shapes=SHAPES)
    experts["code"] = with_values(experts["code"], ("a", 2559, NAN), ("a", 200, 3e38))
    experts["lm"] = with_values(experts["lm"], ("a", 200, 3e38))
    experts["math"] = with_values(experts["math"], ("a", 0, INF))
    for name in ("task_arithmetic", "della", "ties"):
        assert assert_same_refusal(base, experts, make_method(name)).startswith("expert code (code): a")
    worse = with_values(base, ("a", 2558, INF))
    assert assert_same_refusal(worse, experts, make_method("della")).startswith("the base (base): a")


def test_a_delta_that_overflows_is_refused_although_both_sides_are_finite():
    base, experts = spoilt("lm", ("b", 7, 3e38))
    said = assert_same_refusal(with_values(base, ("b", 7, -3e38)), experts, make_method("average"))
    assert said.startswith("expert lm (lm): b holds NaN or Inf, or its delta does")


def test_a_float64_that_is_too_large_for_float32_counts_as_bad():
    base, experts = make_family("normal", "float64", shapes=SHAPES)
    said = assert_same_refusal(with_values(base, ("b", 7, 1e300)), experts, make_method("della"))
    assert said.startswith("the base (base): b")


@pytest.mark.parametrize(
    ("name", "options"),
    [("task_arithmetic", {}), ("dare", {}), ("della", {"rank_over": "tensor"}), ("linear", {"fuse": "sum"})],
)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_result_that_overflows_is_refused(name, options, dtype):
    """Three of 3e38 overflow every dtype; seed 1 keeps at least two of these seven, or one divided by 1/2 overflows."""
    base, experts = make_family("normal", shapes=SHAPES)
    huge = {expert: with_values(model, *[("d", 1000 + i, 3e38) for i in range(7)]) for expert, model in experts.items()}
    said = assert_same_refusal(base, huge, make_method(name, **options), dtype)
    assert said == f"the merged d overflows {dtype}; write dtype=bfloat16 or float32, or a smaller lambda_"


@pytest.mark.parametrize("stored", ["float16", "bfloat16"])
def test_the_dtype_of_the_base_may_overflow_too(stored):
    """60,000 * 2 in float16, 3e38 * 2 in bfloat16."""
    base = MemoryCheckpoint({"w": torch.zeros(500, dtype=getattr(torch, stored))})
    value = 60_000.0 if stored == "float16" else 3e38
    expert = with_values(MemoryCheckpoint({"w": torch.zeros(500)}), ("w", 400, value))
    said = assert_same_refusal(base, {"lm": expert}, make_method("task_arithmetic", lambda_=2.0))
    assert said.startswith(f"the merged w overflows {stored}")


def test_a_bad_base_that_only_adapters_change_is_named():
    """The delta of an adapter does not contain the base: the base is found in the result."""
    base, _ = make_family("normal", shapes=SHAPES)
    bad = with_values(base, ("a", 2000, NAN))
    for name in ("della", "task_arithmetic", "linear"):
        experts = {"lora": make_adapter(base, ["a"]), "other": MemoryAdapter({})}
        said = assert_same_refusal(bad, experts, make_method(name))
        assert "a holds NaN or Inf" in said
        assert said.startswith("the base (base)")


def test_a_bad_adapter_is_named():
    base, experts = make_family("normal", shapes=SHAPES)
    adapter = make_adapter(base, ["a", "d"])
    adapter.low_rank["d"].left[20, 1] = INF
    for name in ("della", "ties", "linear"):
        said = assert_same_refusal(base, {**experts, "lora": adapter}, make_method(name))
        assert said.startswith("expert lora (adapter): d holds NaN or Inf")


def test_a_point_of_a_sweep_that_overflows_is_refused():
    base, experts = spoilt("lm", ("c", 3, 3e38))
    methods = [make_method("task_arithmetic", lambda_=lambda_) for lambda_ in (0.1, 0.5, 2.0)]
    said = refusal(lambda: list(merge_points(base, experts, methods, None)))
    assert said.startswith("the merged c overflows float32")


def test_what_is_refused_comes_after_the_tensors_before_it():
    """Tensor d is bad: a is handed out first, as by the reference."""
    base, experts = spoilt("math", ("d", 0, NAN))
    merged = merge_tensors(base, experts, make_method("della"), 1, block_elements=128)
    assert next(merged).name == "a"
    with pytest.raises(InputError, match="expert math"):
        list(merged)
