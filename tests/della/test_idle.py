import pytest

from della.idle import idle_options
from della.merge import merge_tensors
from della.methods import make_method
from tests.della.models import philox_family

WINDOW = {"rank_by", "rank_over"}


@pytest.mark.parametrize(
    ("method", "options", "experts", "idle"),
    [
        ("della", {}, 2, set()),
        ("della", {"epsilon": 0.0}, 2, WINDOW),
        ("della", {"drop_rate": 0.0, "epsilon": 0.0}, 3, WINDOW | {"rescale"}),
        ("della", {}, 1, {"elect", "fuse", "lambda_by"}),
        ("dare", {"drop_rate": 0.0}, 2, {"rescale"}),
        ("ties", {"drop_rate": 0.0}, 2, {"trim_over", "rank_by"}),
        ("ta_elect", {}, 1, {"elect", "fuse", "lambda_by"}),
        ("average", {}, 1, set()),
        ("linear", {"fuse": "sum"}, 1, set()),
    ],
)
def test_what_changes_nothing_is_told(method, options, experts, idle):
    assert set(idle_options(make_method(method, **options), experts)) == idle


CASES = [
    ("della", {"drop_rate": 0.5, "epsilon": 0.0}, 2, {"rank_by": "random", "rank_over": "tensor"}),
    ("della", {"drop_rate": 0.0, "epsilon": 0.0}, 2, {"rank_by": "proportional", "rescale": "l1"}),
    ("della", {"drop_rate": 0.5}, 1, {"elect": False, "fuse": "sum"}),
    ("della", {"drop_rate": 0.5}, 1, {"lambda_by": "adaptive"}),
    ("dare_elect", {"drop_rate": 0.0}, 2, {"rescale": "none"}),
    ("ties", {"drop_rate": 0.0}, 2, {"trim_over": "row"}),
]


@pytest.mark.parametrize(("method", "options", "experts", "changed"), CASES)
def test_what_is_told_to_change_nothing_changes_nothing(method, options, experts, changed):
    assert set(changed) <= set(idle_options(make_method(method, **options), experts))
    base, tuned = philox_family(["code", "math"][:experts])
    plain, other = (
        {part.name: part.tensor for part in merge_tensors(base, tuned, make_method(method, **given), 1)}
        for given in (options, options | changed)
    )
    assert plain.keys() == other.keys()
    assert all(plain[name].equal(other[name]) for name in plain)
