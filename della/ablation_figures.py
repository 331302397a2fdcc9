"""Figures of the paper's comparisons: curves over a drop rate or lambda (DELLA, Table 3 and Table 7, Figure 4), and two
variants side by side for each merge (Figures 5 and 6). Drawn as those of `della.figures`.
"""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from della.figures import BLUE, GREEN, GREY, METHOD_STYLE, ORANGE, PURPLE, RED, level, line, panels
from della.outcomes import BENCHMARK_LABELS, UNMERGED, benchmarks_of, merge_label
from della.statistics import Estimate
from della.tables.ablation_study import AblationStudy, Setting, setting_text
from della.tables.ablations import FREE

PAIR_STYLE = ((BLUE, "D"), (RED, "v"))
CURVES = ((ORANGE, "o"), (RED, "v"), (BLUE, "D"), (PURPLE, "P"), (GREEN, "^"), (GREY, "s"))
AXIS_LABELS = {"drop_rate": "drop rate $p$", "lambda_": "$\\lambda$"}
APART = 0.12  # of the two variants of a merge, in units of the distance between merges


def ablation_figure(found: AblationStudy) -> Figure | None:
    """The figure of an ablation: curves where it goes along an axis, or its pairs; None where there is none."""
    if found.ablation.axis:
        return curves_figure(found)
    return pairs_figure(found) if found.ablation.drawn else None


def curves_figure(found: AblationStudy) -> Figure | None:
    """One panel per merge, one curve per variant and rest of the setting; what is not pruned as a level."""
    axis, ablation = FREE.index(found.ablation.axis), found.ablation
    merges = [merge for merge in found.merges if any(m == merge and s for m, s, _ in found.study.cells)]
    if not merges:
        return None
    curves = _curves(found, axis)

    def draw(axes: Axes, index: int) -> None:
        merge = merges[index]
        if whole := found.average((merge, None, UNMERGED)):
            level(axes, whole, GREY, "not pruned")
        for order, ((key, rest), settings) in enumerate(curves.items()):
            curve = {s[axis]: score for s in settings if s and (score := found.average((merge, s, key)))}
            several = sum(other == key for other, _ in curves) > 1
            label = ablation.label(key) + (f", {setting_text(rest)}" if several else "")
            if curve:
                line(axes, curve, *METHOD_STYLE.get(key, CURVES[order % len(CURVES)]), label)

    titles = [f"{merge_label(merge)}{' alone' if len(merge) == 1 else ''}" for merge in merges]
    ticks = sorted({s[axis] for settings in curves.values() for s in settings if s})  # type: ignore[type-var]
    return panels(titles, AXIS_LABELS[ablation.axis], _ylabels(merges), ticks, draw)  # type: ignore[arg-type]


def _curves(found: AblationStudy, axis: int) -> dict[tuple[str, Setting], list[Setting]]:
    """(variant, its setting but for the axis) -> the settings along the axis."""
    out: dict[tuple[str, Setting], list[Setting]] = {}
    for variant in found.ablation.variants:
        for setting in found.settings(variant.key):
            if setting and setting[axis] is not None:
                rest: Setting = (*setting[:axis], None, *setting[axis + 1 :])  # type: ignore[assignment]
                out.setdefault((variant.key, rest), []).append(setting)
    return out


def pairs_figure(found: AblationStudy) -> Figure | None:
    """One panel per pair of variants and setting: each merge's Avg of both, with 95 % intervals."""
    drawn: list[tuple[str, str, Setting]] = []
    for one, other in found.ablation.pairs:
        settings = [s for s in found.settings(one, other) if any(c[1] == s and c[2] == one for c in found.study.cells)]
        drawn += [(one, other, setting) for setting in settings]
    if not drawn:
        return None
    merges = found.merges

    def draw(axes: Axes, index: int) -> None:
        *keys, setting = drawn[index]
        for side, key in enumerate(keys):
            scores = {at: found.average((merge, setting, key)) for at, merge in enumerate(merges)}
            colour, marker = PAIR_STYLE[side]
            label = found.ablation.label(key).rpartition(", ")[2]
            _points(axes, {at + (2 * side - 1) * APART: s for at, s in scores.items() if s}, colour, marker, label)
        axes.set_xlim(-0.5, len(merges) - 0.5)

    titles = []
    for one, _, setting in drawn:
        several = len({s for *_, s in drawn}) > 1
        titles.append(setting_text(setting) if several else found.ablation.label(one).rpartition(", ")[0])
    names = [merge_label(merge).replace("LM+Math+Code", "all\nthree").replace("+", "+\n") for merge in merges]
    ylabels = ["Avg on test prompts (%)"] * len(titles)
    return panels(titles, "", ylabels, list(range(len(merges))), draw, names)


def _points(axes: Axes, scores: dict[float, Estimate], colour: str, marker: str, label: str) -> None:
    """Points in percent with the bars of their intervals."""
    if not scores:
        return
    values = [100 * score.value for score in scores.values()]
    below = [100 * (score.value - score.low) for score in scores.values()]
    above = [100 * (score.high - score.value) for score in scores.values()]
    axes.errorbar(list(scores), values, yerr=[below, above], color=colour, marker=marker, ls="", capsize=2, label=label)


def _ylabels(merges: list[tuple[str, ...]]) -> list[str]:
    return ["Avg on test prompts (%)" if len(m) > 1 else f"{BENCHMARK_LABELS[benchmarks_of(m)[0]]} (%)" for m in merges]
