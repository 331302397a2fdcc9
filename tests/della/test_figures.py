import pytest

from della.figures import drop_rate_figure, lambda_figure, panels, profiles
from della.outcomes import read_runs
from tests.della.synthetic import record


def dev(method: str, count: int, seed: int | None = 0, **options) -> dict:
    scores = {name: [1.0] * count + [0.0] * (20 - count) for name in ("gsm8k", "mbpp")}
    return record(["math", "code"], method, scores, seed=seed, split="dev", **options)


def runs():
    """DARE: 10 and 14 of 20 at p = 0.3 (lambda 0.5, 1), 12 and 8 at p = 0.9; TA: 11 and 13 at lambda 0.5 and 1."""
    points = {(0.3, 0.5): 10, (0.3, 1.0): 14, (0.9, 0.5): 12, (0.9, 1.0): 8}
    found = [dev("dare_elect", count, drop_rate=p, lambda_=x) for (p, x), count in points.items()]
    return read_runs([*found, dev("ta_elect", 11, None, lambda_=0.5), dev("ta_elect", 13, None, lambda_=1.0)])


MERGE = ("code", "math")


def test_a_curve_over_drop_rates_has_the_best_lambda_at_each():
    curve = profiles(runs(), "drop_rate")[MERGE, "dare_elect"]
    assert {p: found.value for p, found in curve.items()} == pytest.approx({0.3: 0.70, 0.9: 0.60})


def test_a_curve_over_lambda_has_the_best_drop_rate_at_each():
    curve = profiles(runs(), "lambda_")[MERGE, "dare_elect"]
    assert {x: found.value for x, found in curve.items()} == pytest.approx({0.5: 0.60, 1.0: 0.70})


def test_a_method_without_a_drop_rate_is_a_level_at_its_best_lambda():
    level = profiles(runs(), "drop_rate")[MERGE, "ta_elect"]
    assert list(level) == [None]
    assert level[None].value == pytest.approx(0.65)
    (axes,) = drop_rate_figure(runs(), "dev").axes
    assert axes.get_legend_handles_labels()[1] == ["TA", "DARE"]
    assert [line.get_linestyle() for line in axes.lines] == ["--", "-"]


def test_axes_are_labelled_with_units_and_ticks_are_the_values_that_ran():
    (axes,) = lambda_figure(runs(), "dev").axes
    assert axes.get_ylabel() == "Avg on dev prompts (%)"
    assert "lambda" in axes.get_xlabel()
    assert list(axes.get_xticks()) == [0.5, 1.0]
    assert axes.get_title() == "Math+Code"


def test_without_runs_there_is_no_figure():
    assert drop_rate_figure([], "dev") is None


def test_a_legend_of_many_long_names_stays_inside_of_its_figure():
    names = [f"MAGPRUNE in the way of {number}" for number in "abcdefghi"]

    def draw(axes, index):
        for name in names:
            axes.plot([0, 1], [0, 1], label=name)

    figure = panels(["one", "two"], "p", ["%", "%"], [0, 1], draw)
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert [text.get_text() for text in legend.get_texts()] == names
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1
    assert box.y0 >= 0
