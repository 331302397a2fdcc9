"""Scores as text for the terminal."""

import math
import statistics
from collections.abc import Mapping, Sequence


def scores_text(metrics: Mapping[str, Mapping[str, Sequence[float | None]]]) -> str:
    """One aligned line per benchmark and metric: mean in percent, standard error in points, n, and nulls if any."""
    lines = [f"{'benchmark':<12} {'metric':<14} {'score %':>8} {'s.e.':>6} {'n':>6}"]
    for benchmark, by_metric in sorted(metrics.items()):
        for metric, scores in sorted(by_metric.items()):
            values = [value for value in scores if value is not None]
            nulls = f"  ({len(scores) - len(values)} without a verdict)" if len(values) < len(scores) else ""
            if values:
                mean, error = 100 * statistics.fmean(values), 100 * standard_error(values)
                lines.append(f"{benchmark:<12} {metric:<14} {mean:>8.2f} {error:>6.2f} {len(values):>6}{nulls}")
            else:
                lines.append(f"{benchmark:<12} {metric:<14} {'none':>8} {'':>6} {0:>6}{nulls}")
    return "\n".join(lines)


def standard_error(values: Sequence[float]) -> float:
    """Of the mean of independent values; NaN for a single one."""
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
