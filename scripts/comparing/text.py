"""What scripts.compare prints: the table, one sentence for each line of it, and the prompts whose scores differ."""

from collections.abc import Sequence
from dataclasses import dataclass

from della.paired import FLIPS, Comparison
from della.power import POWER, SIGNIFICANCE
from della.statistics import REPLICATES
from scripts.comparing.runs import Given, Scored

SHORT = 240  # characters of an output that a terminal is shown
_HEADER = ("", "benchmark", "metric", "n", "first %", "s.e.", "other %", "s.e.", "difference [95 % interval]")
_COLUMNS = (*_HEADER, "first higher", "other higher", "p", "Holm", "detectable")
_LEFT = 3  # columns of text


@dataclass(frozen=True)
class Line:
    """A line of the table: one run against the first, on one metric. corrected: its p-value after Holm."""

    first: str
    other: str
    benchmark: str
    metric: str
    found: Comparison
    corrected: float


def table(lines: Sequence[Line]) -> str:
    """The table, its columns lined up, and what they mean."""
    rows = [_COLUMNS, *map(_row, lines)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
    text = [
        "  ".join(
            cell.ljust(w) if i < _LEFT else cell.rjust(w) for i, (cell, w) in enumerate(zip(r, widths, strict=True))
        )
        for r in rows
    ]
    return "\n".join([*(line.rstrip() for line in text), "", *_notes(lines)])


def _row(line: Line) -> tuple[str, ...]:
    found = line.found
    gap = f"{points(found.difference)} [{points(found.low)}, {points(found.high)}]"
    nulls = f" (+{found.nulls} null)" if found.nulls else ""
    detectable = "-" if found.detectable is None else f"{100 * found.detectable:.1f}"
    means = [text for m in (found.one, found.other) for text in (f"{100 * m.value:.1f}", f"{100 * m.error:.1f}")]
    head = (f"{line.first} - {line.other}", line.benchmark, line.metric, f"{found.n}{nulls}")
    counts = (str(found.one_better), str(found.other_better))
    return (*head, *means, gap, *counts, p_text(found.p), p_text(line.corrected), detectable)


def _notes(lines: Sequence[Line]) -> list[str]:
    exact = any(line.found.binary for line in lines)
    graded = any(not line.found.binary for line in lines)
    interval = [*(["that of Bonett and Price"] * exact), *([f"a bootstrap of {REPLICATES:,}"] * graded)]
    test = [*(["the exact McNemar test"] * exact), *([f"{FLIPS:,} random sign flips"] * graded)]
    mixed = " (scores 0 and 1; the others: {})"
    notes = [
        "difference: percentage points, paired on the same prompts; interval: "
        + (interval[0] + mixed.format(interval[1]) if len(interval) == 2 else interval[0]),
        "p: two-sided, " + (test[0] + mixed.format(test[1]) if len(test) == 2 else test[0]),
        f"Holm: p corrected for the {len(lines)} comparison{'s' * (len(lines) > 1)} of this table",
        f"detectable: the smallest true difference, points, that would be found with {100 * POWER:.0f} % power at a "
        f"two-sided {100 * SIGNIFICANCE:.0f} % level, with this n and this share of differing prompts",
    ]
    return [f"- {note}." for note in notes]


def points(difference: float) -> str:
    """`+3.1`: a signed number of percentage points; a rounded zero has no sign."""
    rounded = round(100 * difference, 1) + 0.0
    return f"{rounded:+.1f}" if rounded else "0.0"


def p_text(p: float) -> str:
    """Three decimals; `<0.001` below."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def conclusion(line: Line, comparisons: int) -> str:
    """One sentence: which run is better and by how much, or that they cannot be told apart and what would go unseen."""
    found, where = line.found, f"{line.benchmark} {line.metric}"
    between = f"between {points(found.low)} and {points(found.high)} points"
    if line.corrected <= SIGNIFICANCE:
        better, worse = (line.first, line.other) if found.difference > 0 else (line.other, line.first)
        gap = abs(100 * found.difference)
        return f"{where}: {better} scores {gap:.1f} points higher than {worse} ({line.first} - {line.other} {between})."
    pair = f"{line.first} and {line.other} cannot be told apart at n={found.n}"
    if found.p <= SIGNIFICANCE:
        return f"{where}: {pair} once all {comparisons} comparisons are counted together ({between})."
    if found.detectable is None:
        return f"{where}: {pair}, where no difference could be found however large."
    unseen = (
        f"a true difference below {100 * found.detectable:.1f} points would go unseen in more than one of five tries"
    )
    if found.one_better + found.other_better == 0:
        return f"{where}: {pair}, their scores being equal on every prompt; {unseen}."
    return f"{where}: {pair} (difference {between}); {unseen}."


def differing(first: Given, other: Given, where: tuple[str, str], names: tuple[str, str], show: int) -> str:
    """The prompts on which two runs' scores differ: ids, scores, outputs; both directions, `show` in all.

    where: the benchmark and the metric.
    """
    benchmark, metric = where
    one, two = first.benchmarks[benchmark], other.benchmarks[benchmark]
    pairs = list(zip(one.metrics[metric], two.metrics[metric], strict=True))
    known = [(i, a, b) for i, (a, b) in enumerate(pairs) if a is not None and b is not None]
    won = [i for i, a, b in known if a > b]
    lost = [i for i, a, b in known if a < b]
    few = min(len(won), max(show - show // 2, show - len(lost)))
    chosen = [*won[:few], *lost[: show - few]]
    head = f"{benchmark} {metric}: {names[0]} higher on {len(won)} prompts, {names[1]} on {len(lost)}"
    lines = [head + (f"; {len(chosen)} shown" if chosen else "")]
    for i in chosen:
        lines.append(f"  id {one.ids[i]}: {names[0]} {pairs[i][0]:g}, {names[1]} {pairs[i][1]:g}")
        lines += [f"    {name} {output_text(side, i)}" for name, side in zip(names, (one, two), strict=True)]
    return "\n".join(lines)


def output_text(scored: Scored, i: int) -> str:
    """An output on one line, its middle left out where it is long; control characters written out."""
    if scored.outputs is None:
        return "(output not kept)"
    words = " ".join(scored.outputs[i].split())
    if len(words) > SHORT:
        words = f"{words[: SHORT // 2]} ... {words[-SHORT // 2 :]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words) or "(empty)"
