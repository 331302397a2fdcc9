"""One answer everywhere: threads, block sizes, order of the experts, points of a sweep, device; nested masks."""

import itertools

import pytest
import torch

from della.checkpoint import MemoryCheckpoint
from della.engine.run import AHEAD
from della.errors import InputError
from della.merge import Merged, merge_points, merge_tensors
from della.methods import METHODS, make_method
from della.policy import Policy
from tests.della.bitwise import KINDS, assert_same, by_engine, by_reference, make_activations, make_family
from tests.della.cases import CASES

POINTS = {
    "average": [{}],
    "linear": [{}, {"fuse": "sum"}],
    "model_stock": [{}],
    "task_arithmetic": [{"lambda_": 0.3}, {"lambda_": 1.0}],
    "ta_elect": [{}, {"elect": False}, {"fuse": "sum", "lambda_": 2.0}],
    "dare": [{"drop_rate": 0.1}, {"drop_rate": 0.0}, {"rescale": "l1"}, {"rescale": "none", "lambda_": 0.5}],
    "dare_ties": [{"drop_rate": 0.1}, {"drop_rate": 0.9, "rescale": "l1"}, {"rescale": "none"}],
    "dare_elect": [{"drop_rate": 0.1}, {"drop_rate": 0.9}, {"elect": False}, {"fuse": "sum"}],
    "ties": [
        {},
        {"lambda_": 0.5},
        {"drop_rate": 0.0},
        {"drop_rate": 0.5},
        {"trim_over": "global"},
        {"trim_over": "row"},
        {"trim_over": "row", "lambda_by": "adaptive"},
        {"elect": False, "lambda_": 0.7},
    ],
    "breadcrumbs": [{}, {"drop_rate": 0.5, "gamma": 0.2}, {"elect": True}],
    "della": [
        {},
        {"drop_rate": 0.0, "epsilon": 0.0},
        {"drop_rate": 0.3, "epsilon": 0.6},
        {"drop_rate": 0.9, "lambda_": 1.3},
        {"drop_rate": 0.9, "lambda_": 0.1},  # points that differ in lambda alone share the rest
        {"drop_rate": 0.9, "lambda_": 1.3, "rescale": "none"},
        {"rescale": "l1"},
        {"rescale": "none", "elect": False},
        {"fuse": "sum"},
        {"fuse": "sum", "lambda_by": "adaptive"},
    ],
}


# Threads, blocks, order


@pytest.mark.parametrize(("name", "options"), CASES)
def test_threads_blocks_and_the_order_of_the_experts_change_nothing(name, options):
    base, experts = make_family("ties", "bfloat16", "bfloat16")
    method = make_method(name, **options)
    whole = by_engine(base, experts, method, threads=1)
    backwards = dict(reversed(experts.items()))
    for threads, elements in ((1, 60), (2, 128), (3, 1000)):
        assert_same(by_engine(base, experts, method, threads=threads, block_elements=elements), whole)
    assert_same(by_engine(base, backwards, method, threads=3, block_elements=77), whole)


@pytest.mark.full
@pytest.mark.parametrize(("name", "options"), CASES)
def test_every_number_of_threads_and_every_block_size(name, options):
    base, experts = make_family("normal", "bfloat16", "float32")
    method = make_method(name, **options)
    whole = by_engine(base, experts, method, threads=1)
    for threads, elements in itertools.product((1, 2, 3, 7), (1, 7, 60, 61, 120, 1023, 1024, 1025, 4096)):
        assert_same(by_engine(base, experts, method, threads=threads, block_elements=elements), whole)


def test_a_consumer_that_stops_early_leaves_nothing_running():
    """The generator waits for its threads when it is closed; none is left to write to the arrays."""
    import threading

    before = threading.active_count()
    base, experts = make_family()
    merged = merge_tensors(base, experts, make_method("della"), 1, block_elements=60)
    next(merged)
    merged.close()
    assert threading.active_count() == before


def test_a_result_that_is_still_held_is_never_written_over():
    """Memory of 1 MB and more is used again once nobody holds it: here every second tensor is let go at once."""
    shapes = {f"w{number}": (600 + 100 * (number % 3), 512) for number in range(12)}
    base, experts = make_family("normal", shapes=shapes, names=("lm",))
    expected = by_reference(base, experts, make_method("dare"))
    held = {}
    for number, part in enumerate(merge_tensors(base, experts, make_method("dare"), 1, threads=2)):
        assert torch.equal(part.tensor, expected[part.name][0])
        if number % 2:
            held[part.name] = part.tensor[10:, :7]  # a view holds the memory too
        del part
    assert all(torch.equal(view, expected[name][0][10:, :7]) for name, view in held.items())


def test_the_memory_of_a_result_that_was_let_go_is_used_again():
    """Three tensors are in work at once, the fourth is the one just given: of 12 in a falling order none needs more."""
    shapes = {f"w{number:02}": (1200 - 50 * number, 512) for number in range(12)}
    base, experts = make_family("normal", shapes=shapes, names=("lm",))
    merged = merge_tensors(base, experts, make_method("dare"), 1)
    assert len({part.tensor.data_ptr() for part in merged}) <= AHEAD + 1


# Points of a sweep


def as_result(parts):
    return {part.name: (part.tensor, part.kept) for part in parts}


@pytest.mark.parametrize("kind", ["normal", "ties"])
@pytest.mark.parametrize("name", METHODS)
def test_many_points_in_one_pass_are_the_merges_at_each_point(name, kind):
    base, experts = make_family(kind, "bfloat16", "float32")
    methods = [make_method(name, **options) for options in POINTS[name]]
    by_tensor = list(merge_points(base, experts, methods, 1, "float32"))
    for place, method in enumerate(methods):
        ours = as_result(points[place] for points in by_tensor)
        assert_same(ours, by_engine(base, experts, method, dtype="float32"))
        assert_same(ours, by_reference(base, experts, method, dtype="float32"))


@pytest.mark.parametrize(
    "options",
    [
        {"rank_by": "random"},
        {"rank_over": "tensor"},
        {"rank_by": "wanda"},
        {"rank_by": "wanda", "rank_over": "tensor"},
        {"rank_by": "proportional"},
        {"rank_by": "proportional", "rank_over": "tensor"},
    ],
)
def test_points_of_other_ranks(options):
    base, experts = make_family("ties")
    methods = [make_method("della", drop_rate=p, **options) for p in (0.1, 0.5, 0.9)]
    by_tensor = list(merge_points(base, experts, methods, 1, activations=make_activations(base, experts)))
    for place, method in enumerate(methods):
        assert_same(as_result(points[place] for points in by_tensor), by_engine(base, experts, method))


def test_points_with_weights_and_patterns():
    base, experts = make_family()
    method = make_method("della")
    policies = [Policy(method, weights={"lm": 0.5}), Policy(method, exclude=("rows",)), Policy(method)]
    by_tensor = list(merge_points(base, experts, policies, 1))
    for place, policy in enumerate(policies):
        assert_same(as_result(points[place] for points in by_tensor), by_engine(base, experts, policy))


def test_points_of_two_methods_or_two_rankings_are_refused():
    base, experts = make_family()
    for one, other in (
        (make_method("della"), make_method("ties")),
        (make_method("della"), make_method("della", rank_by="random")),
        (make_method("della"), make_method("della", rank_over="tensor")),
    ):
        with pytest.raises(InputError, match="merge them in several"):
            merge_points(base, experts, [one, other], 1)


# Nested masks


NESTED = [
    ("della", {"epsilon": 0.1}),
    ("della", {"epsilon": 0.1, "rank_by": "random"}),
    ("della", {"epsilon": 0.1, "rank_over": "tensor"}),
    ("della", {"epsilon": 0.1, "rank_by": "wanda"}),
    ("della", {"epsilon": 0.1, "rank_by": "proportional"}),
    ("ties", {"trim_over": "row"}),
    ("ties", {"trim_over": "row", "rank_by": "wanda"}),
    ("dare", {}),
    ("ties", {}),
    ("ties", {"trim_over": "global"}),
]


@pytest.mark.parametrize(("name", "options"), NESTED)
@pytest.mark.parametrize("kind", ["normal", "outlier"])
def test_what_a_higher_drop_rate_keeps_a_lower_one_keeps_too(name, options, kind):
    """One expert, base 0, unscaled, without election: what is not 0 is what is kept, as no delta is 0."""
    shapes = {"long": (9000,), "rows": (31, 200)}
    _, experts = make_family(kind, shapes=shapes, names=("lm",))
    tensors = {key: torch.where(experts["lm"].tensor(key) == 0, 1.0, experts["lm"].tensor(key)) for key in shapes}
    base = MemoryCheckpoint({key: torch.zeros(shape) for key, shape in shapes.items()})
    rates = (0.05, 0.2, 0.21, 0.5, 0.8, 0.95 - 0.001)
    fields = make_method(name).__dict__
    switches = {key: value for key, value in (("rescale", "none"), ("elect", False)) if key in fields}
    methods = [make_method(name, drop_rate=rate, **options, **switches) for rate in rates]
    activations = {"lm": make_activations(base, ["other"])["other"]}
    for points in merge_points(base, {"lm": MemoryCheckpoint(tensors)}, methods, 1, activations=activations):
        assert_nested(points)


def assert_nested(points: list[Merged]) -> None:
    wider = points[0].tensor != 0
    for point in points:
        kept = point.tensor != 0
        assert point.kept["lm"] == int(kept.sum())
        assert bool((wider | ~kept).all())
        wider = kept
    assert points[0].kept["lm"] > points[-1].kept["lm"]


# The GPU


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_gpu_gives_the_bytes_of_the_cpu(name, options):
    for kind, (stored, theirs, output) in itertools.product(
        KINDS, [("float32", "float32", None), ("bfloat16", "bfloat16", None), ("float16", "float32", "bfloat16")]
    ):
        if kind == "outlier" and stored == "float16":
            continue
        base, experts = make_family(kind, stored, theirs)
        policy = Policy(make_method(name, **options), weights={"code": 0.3, "math": -0.5})
        on_gpu = by_engine(base, experts, policy, dtype=output, device="cuda")
        assert_same(on_gpu, by_engine(base, experts, policy, dtype=output))
