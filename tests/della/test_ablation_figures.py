import pytest

from della.ablation_figures import ablation_figure
from della.outcomes import read_runs
from della.report import build_report
from della.tables.ablation_study import AblationStudy
from della.tables.ablations import ABLATIONS
from tests.della.tables import ablations as made


def figure(name: str, records: list[dict]):
    (ablation,) = (a for a in ABLATIONS if a.name == name)
    return ablation_figure(AblationStudy(ablation, read_runs(records), None, "dev"))


def legend(axes) -> list[str]:
    return axes.get_legend_handles_labels()[1]


def test_a_curve_over_lambda_per_method():
    (axes,) = figure("lambdas", made.by_lambda({0.5: 50, 1.0: 60, 1.5: 55, 2.0: 40})).axes
    assert legend(axes) == ["TA", "DARE", "TIES", "DELLA"]
    assert [list(line.get_xdata()) for line in axes.lines] == [[0.5, 1.0, 1.5, 2.0]] * 4
    assert list(axes.lines[0].get_ydata()) == pytest.approx([50, 60, 55, 40])
    assert axes.get_title() == "Math+Code"
    assert "lambda" in axes.get_xlabel()
    assert axes.get_ylabel() == "Avg on test prompts (%)"


def test_curves_over_the_drop_rate_for_each_merge_that_ran():
    merges = [("lm", "math"), ("code", "math")]
    drawn = figure("drop_rates", made.by_drop_rate({0.1: 50, 0.3: 55, 0.5: 60, 0.7: 45}, merges)).axes
    assert [axes.get_title() for axes in drawn] == ["LM+Math", "Math+Code"]
    assert [legend(axes) for axes in drawn] == [["DELLA"]] * 2


def test_a_pruned_expert_has_its_unpruned_level():
    (axes,) = figure("rescale_expert", made.rescaled_expert({0.3: 80, 0.5: 70}, {0.3: 60, 0.5: 30})).axes
    assert legend(axes) == [
        "not pruned",
        "DARE, with scaling",
        "DARE, without",
        "DELLA, with scaling",
        "DELLA, without",
    ]
    assert axes.lines[0].get_linestyle() == "--"
    assert axes.get_ylabel() == "GSM8K (%)"


def test_constant_and_adaptive_lambda_stand_side_by_side_for_each_merge():
    drawn = figure("adaptive_lambda", made.adaptive(60, 55)).axes
    assert [axes.get_title() for axes in drawn] == ["DARE", "TIES", "DELLA"]
    assert legend(drawn[0]) == ["constant", "adaptive"]
    names = [text.get_text().replace("\n", "") for text in drawn[0].get_xticklabels()]
    assert names == ["LM+Math", "LM+Code", "Math+Code", "allthree"]
    constant, adaptive = drawn[0].containers
    assert list(constant.lines[0].get_ydata()) == pytest.approx([60] * 4)
    assert list(adaptive.lines[0].get_ydata()) == pytest.approx([55] * 4)


def test_rows_and_tensors_have_a_panel_for_each_drop_rate():
    drawn = figure("rank_over", made.rank_over({0.5: 60, 0.9: 50}, {0.5: 58, 0.9: 40})).axes
    assert [axes.get_title() for axes in drawn] == ["p=0.5 lambda=1", "p=0.9 lambda=1"]
    assert legend(drawn[0]) == ["row", "tensor"]


def test_what_the_paper_has_no_figure_of_has_none_here_nor_has_what_did_not_run():
    assert figure("no_elect", made.no_elect({"ties": (60, 50)})) is None
    assert figure("rank_over", []) is None
    assert figure("lambdas", []) is None


def test_a_report_has_the_figure_under_the_name_of_its_table():
    report = build_report(made.adaptive(60, 55), "make", "1")
    assert list(report.figures) == ["adaptive_lambda"]
