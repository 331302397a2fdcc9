"""What a table can and cannot tell apart: the line under it with the smallest differences that its runs would show."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import combinations

from della.outcomes import BENCHMARK_LABELS
from della.power import minimum_detectable
from della.statistics import DETECTABLE, Estimate
from della.study import Study, averaged, difference

HEAD = (
    f"Detectable with 80 % power at a two-sided 5 % level ({DETECTABLE:.2f} standard errors, and never less than so "
    "many prompts can show), percentage points"
)


def detectable(found: Estimate) -> float | None:
    """The smallest true difference found with 80 % power, a fraction; None where there are too few prompts for any.

    found: a difference. Where hardly a prompt told the two apart its error says too little: the least that so many
    prompts can ever show is the floor.
    """
    least = minimum_detectable(found.n, 0.0)
    return None if least is None else max(DETECTABLE * found.error, least)


def detectable_note(what: str, found: Mapping[str, Iterable[Estimate | None]]) -> list[str]:
    """One note, `HEAD, what: GSM8K 4.1 (3.0 to 6.2), ...`: the median and the range of each label; [] without any."""
    parts = []
    for label, estimates in found.items():
        values = sorted(100 * value for estimate in estimates if estimate and (value := detectable(estimate)))
        if values:
            middle = (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2
            span = f" ({values[0]:.1f} to {values[-1]:.1f})" if len(values) > 1 else ""
            parts.append(f"{label} {middle:.1f}{span}")
    several = ", median (range)" if any("(" in part for part in parts) else ""
    return [f"{HEAD}, {what}{several}: {', '.join(parts)}."] if parts else []


def pairs_note(
    study: Study, groups: Iterable[Sequence[Hashable]], benchmarks: Mapping[Hashable, Sequence[str]], what: str
) -> list[str]:
    """The note on all pairs of cells that stand in one group: every benchmark that both have, and their Avg.

    benchmarks: those of each cell. Avg is the mean over a cell's benchmarks and is left out where it has only one.
    """
    found: dict[str, list[Estimate | None]] = {}
    for one, other in (pair for group in groups for pair in combinations(group, 2)):
        shared = [name for name in benchmarks[one] if name in benchmarks[other]]
        for name in shared:
            label = BENCHMARK_LABELS.get(name, name)
            found.setdefault(label, []).append(study.estimate({(one, name): 1.0, (other, name): -1.0}))
        if len(shared) > 1:
            gap = difference(averaged(one, shared), averaged(other, shared))
            found.setdefault(BENCHMARK_LABELS["avg"], []).append(study.estimate(gap))
    order = [*BENCHMARK_LABELS.values(), *sorted(found)]
    return detectable_note(what, {label: found[label] for label in dict.fromkeys(order) if label in found})
