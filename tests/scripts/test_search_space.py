"""Spaces of a search: parameters, the points they become, and what is refused."""

import pytest

from della.errors import InputError
from scripts.points import Point, options_of
from scripts.search_settings import Search, Space
from scripts.searching.space import SearchSpace

MERGE = ("code", "lm", "math")
PLAIN = {"drop_rate": Space(low=0.1, high=0.9), "lambda_": Space(low=0.5, high=2.0, log=True)}


def opened(method="della", layers=4, merge=MERGE, **search) -> SearchSpace:
    return SearchSpace(Search(method=method, **search), merge, layers)


def point_of(space: SearchSpace, params: dict) -> Point:
    method = space.search.method
    return space.point(params, Point(0, space.merge, method, options_of(method, {}), 7, "dev", 300, "merge"))


def test_shared_parameters_become_the_methods_options_alone_so_that_a_grids_point_is_the_same_point():
    space = opened(space=PLAIN, options={"epsilon": 0.14})
    point = point_of(space, {"drop_rate": 0.5, "lambda_": 1.0})
    plain = options_of("della", {"drop_rate": 0.5, "epsilon": 0.14, "lambda_": 1.0})
    assert point == Point(0, MERGE, "della", plain, 7, "dev", 300, "merge")
    assert point.policy is point.options
    assert "overrides" not in point.key


def test_a_parameter_per_expert_and_layer_group_has_a_name_and_a_rule_for_each():
    space = opened("dare_ties", merge=("lm", "math"), space={
        "drop_rate": Space(low=0.0, high=0.9, per="expert_and_layer_group", groups=2),
        "weight": Space(low=0.0, high=1.0, per="expert"),
    })  # fmt: skip
    names = ["drop_rate.lm.0", "drop_rate.lm.1", "drop_rate.math.0", "drop_rate.math.1", "weight.lm", "weight.math"]
    assert space.searched == names
    point = point_of(space, dict(zip(names, (0.1, 0.2, 0.3, 0.4, 0.5, 0.6), strict=True)))
    assert point.local == {
        "weights": {"lm": 0.5, "math": 0.6},
        "overrides": [
            {"expert": "lm", "layers": [0, 2], "drop_rate": 0.1},
            {"expert": "lm", "layers": [2, 4], "drop_rate": 0.2},
            {"expert": "math", "layers": [0, 2], "drop_rate": 0.3},
            {"expert": "math", "layers": [2, 4], "drop_rate": 0.4},
        ],
    }
    assert point.policy.options("model.layers.3.x", "math").drop_rate == 0.4
    assert point.policy.weight("model.layers.3.x", "math") == 0.6
    assert point.seed == 7


def test_groups_of_different_sizes_are_told_apart_where_either_ends():
    """4 layers: drop rates in 2 groups, weights in 4: four cells."""
    space = opened("dare", merge=("lm",), space={
        "drop_rate": Space(low=0.0, high=0.9, per="layer_group", groups=2),
        "weight": Space(low=0.0, high=1.0, per="layer_group"),
    })  # fmt: skip
    params = {"drop_rate.0": 0.1, "drop_rate.1": 0.2, **{f"weight.{n}": n / 4 for n in range(4)}}
    rules = [rule.plain() for rule in point_of(space, params).overrides]
    assert rules == [
        {"layers": [n, n + 1], "drop_rate": 0.1 if n < 2 else 0.2, "weight": n / 4} for n in range(4)
    ]  # fmt: skip


def test_a_share_of_the_window_always_fits_the_drop_rate():
    """p = 0.05: the widest window is 0.1; p = 0.95: below 0.1, for a keep probability of 0 cannot be rescaled."""
    window = {"drop_rate": Space(low=0.05, high=0.95), "epsilon_share": Space(low=0.0, high=1.0)}
    space = opened(space=window)
    found = {p: point_of(space, {"drop_rate": p, "epsilon_share": 1.0}).options.epsilon for p in (0.05, 0.5, 0.95)}
    assert found[0.05] == 0.1
    assert found[0.5] == pytest.approx(1.0, abs=1e-5)
    assert 0.0999 < found[0.95] < 0.1
    apart = {**window, "drop_rate": Space(low=0.05, high=0.95, per="expert")}
    rules = point_of(opened(space=apart), {f"drop_rate.{e}": 0.95 for e in MERGE} | {"epsilon_share": 0.5}).overrides
    assert all(dict(rule.options)["epsilon"] == pytest.approx(0.05, abs=1e-5) for rule in rules)


def test_where_nothing_is_dropped_at_random_there_is_no_mask_seed():
    assert point_of(opened("task_arithmetic", space={"lambda_": PLAIN["lambda_"]}), {"lambda_": 1.0}).seed is None
    zero = opened("dare", space={"drop_rate": Space(low=0.0, high=0.9, per="expert")})
    assert point_of(zero, dict.fromkeys(zero.searched, 0.0)).seed is None
    assert point_of(zero, dict.fromkeys(zero.searched, 0.0) | {"drop_rate.lm": 0.1}).seed == 7
    trimmed = opened("ties", space={"drop_rate": Space(low=0.0, high=0.9, per="expert")})
    assert point_of(trimmed, dict.fromkeys(trimmed.searched, 0.5)).seed is None


def test_a_grid_is_every_combination_in_the_order_written():
    space = opened(sampler="grid", options={"epsilon": 0.1}, space={
        "drop_rate": Space(values=[0.3, 0.5]), "lambda_": Space(low=0.5, high=1.5, step=0.5)})  # fmt: skip
    assert [tuple(row.values()) for row in space.combinations] == [
        (p, lambda_) for p in (0.3, 0.5) for lambda_ in (0.5, 1.0, 1.5)
    ]


def test_cmaes_starts_in_the_middle_or_where_it_is_told():
    space = opened("dare", space={
        "drop_rate": Space(low=0.0, high=0.9), "lambda_": Space(low=0.5, high=2.0, log=True),
        "weight": Space(low=0.0, high=1.0, init=0.7, per="expert")})  # fmt: skip
    assert space.start == pytest.approx(
        {"drop_rate": 0.45, "lambda_": 1.0, "weight.code": 0.7, "weight.lm": 0.7, "weight.math": 0.7}
    )


@pytest.mark.parametrize(
    ("method", "space", "message"),
    [
        ("ties", {"epsilon": Space(low=0, high=0.1)}, "space.epsilon: method ties has no such option to search"),
        ("della", {"lambda_": Space(low=0.5, high=2, per="expert")}, "lambda_ is the same for all experts"),
        ("della", {"elect": Space(values=[True, False], per="layer_group")}, "elect is the same for all layers"),
        ("dare", {"drop_rate": Space(low=0, high=0.9, per="layer_group", groups=9)}, "the model has 4 layers"),
        ("dare", {"drop_rate": Space(low=0.5, high=1.0)}, "drop_rate is 1; write a number >= 0 and < 1"),
        (
            "della",
            {"drop_rate": Space(low=0.05, high=0.5), "epsilon": Space(low=0.0, high=0.4)},
            "search epsilon_share instead",
        ),
        ("della", {"epsilon_share": Space(low=0.0, high=2.0)}, "write values from 0 to 1"),
        ("della", {"rank_over": Space(values=["row", "column"])}, "rank_over is 'column'; write one of row, tensor"),
        ("della", {"epsilon_share": Space(values=["half"])}, "write values from 0 to 1"),
        ("della", {"epsilon_share": Space(low=0, high=1), "epsilon": Space(low=0, high=0.1)}, "are one window"),
        ("dare", {"weight": Space(values=["half"])}, "space.weight: write finite numbers"),
        ("dare", {"weight": Space(low=0.0, high=float("inf"))}, "space.weight: write finite numbers"),
        (
            "della",
            {"lambda_by": Space(values=["adaptive"]), "lambda_": Space(low=0.5, high=2, per="layer_group")},
            "lambda_by=adaptive takes lambda's place",
        ),
    ],
)
def test_a_space_that_holds_a_point_that_is_none_is_refused(method, space, message):
    with pytest.raises(InputError, match=message):
        opened(method, space=space)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Space(), "write low and high, or values"),
        (lambda: Space(low=1.0, high=1.0), "write a low below high"),
        (lambda: Space(low=0.0, high=1.0, log=True), "write a low above 0, and no step"),
        (lambda: Space(low=0.0, high=1.0, step=3.0), "step=3: write one above 0 that fits"),
        (lambda: Space(low=0.0, high=1.0, init=2.0), "init=2: write one from low to high"),
        (lambda: Space(values=[1, 1.0]), "1.0 is there twice; write it once"),
        (lambda: Space(values=[1.0], log=True), "log, step and init are of a range"),
        (lambda: Space(low=0.0, high=1.0, groups=2), "groups=2 is of layers; write per=layer_group"),
        (lambda: Search(method="della", space=PLAIN, budget=float("nan")), "budget=nan: write a number above 0"),
        (lambda: Space(low=0.0, high=1.0, per="head"), "per=head: write one of all, expert"),
        (lambda: Search(method="della"), "name at least one option to search"),
        (lambda: Search(method="della", space=PLAIN, sampler="grid"), "a grid needs a step, or a list of values"),
        (
            lambda: Search(method="della", space={"lambda_": Space(values=[1.0])}, sampler="cmaes"),
            "cmaes searches ranges",
        ),
        (lambda: Search(method="della", space=PLAIN, prune="median"), "prune=median: write one of paired"),
        (lambda: Search(method="della", space=PLAIN, risk=0.7), "risk=0.7: write a number above 0 and below 0.5"),
        (lambda: Search(method="della", space=PLAIN, budget=0), "budget=0: write a number above 0"),
        (lambda: Search(method="dela", space=PLAIN), "sweep.search.method=dela: write one of"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_to_write_instead(build, message):
    with pytest.raises(InputError, match=message):
        build()


@pytest.mark.parametrize(
    "options", [{"epsilon_share": 2}, {"epsilon_share": "all"}, {"epsilon_share": 0, "epsilon": 0}]
)
def test_a_fixed_share_of_the_window_is_a_number_from_0_to_1_and_stands_alone(options):
    with pytest.raises(InputError, match="epsilon_share"):
        opened(space={"lambda_": Space(low=0.5, high=2.0)}, options=options)


def test_an_option_that_is_both_fixed_and_searched_is_refused():
    with pytest.raises(InputError, match=r"also in sweep\.search\.options"):
        opened(space=PLAIN, options={"lambda_": 1.0})
