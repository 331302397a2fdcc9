"""The tables of a bench, Markdown, from its measurements alone: what was not measured is not run, or not there."""

from collections.abc import Mapping, Sequence
from typing import Any

from scripts.timing.jobs import COPY, EXPERTS, FLUSHED, OURS, PEERS, POINTS, START, VARIANTS, Job
from scripts.timing.models import largest_tensor, parameters_of
from scripts.timing.results import Ratio, Results, inner, peak

NOT_RUN = "not run"
NOTES = """\
- Wall time of the whole process, start-up included; medians over rounds. A ratio is the median of the rounds' ratios,
  then the lowest and the highest; in a round ours and mergekit run one after the other on the same files.
- Random weights of Llama's shapes in bfloat16, experts 0.002 (standard deviation) from the base. All inputs are in the
  page cache, as reading them from the disk leaves them there. Our kernels are compiled and the hashes of the inputs,
  which we record and mergekit does not, are remembered from an earlier merge, except under "First merge".
- density 0.5, epsilon 0.07 as mergekit writes it (0.14 as a whole window), lambda 1, weights 1, each tool's defaults
  otherwise: mergekit computes in bfloat16, ours in float32; mergekit rescales by the L1 norm, ours as the papers do
  unless rescale=l1 is written. Ours ends when its output is on the disk, mergekit's when it is in the page cache.
- Private memory: the largest sum of RssAnon and RssShmem over the processes of a command, looked at every 15 ms."""


def tables(results: Results, machine: Mapping[str, Any]) -> str:
    """All of them under one title."""
    parts = [f"# Merging: time and memory\n\n{_machine(results, machine)}\n"]
    parts += [
        f"## {title}\n\n{markdown(rows)}\n"
        for title, rows in (
            ("Wall time, three experts", times(results)),
            ("Start-up", start_up(results)),
            ("task_arithmetic against copying", against_copying(results)),
            ("Peak private memory, three experts", memory(results)),
            ("Number of experts", by_experts(results)),
            ("Ten points of della in memory, one pass", points(results)),
            ("First merge", first_merge(results)),
        )
        if len(rows) > 1
    ]
    return "\n".join([*parts, f"## Notes\n\n{NOTES}\n"])


def times(results: Results) -> list[list[str]]:
    """One row per size and case; variants beside what mergekit's same method takes."""
    rows = [["parameters", "method", "ours, s", "mergekit, s", "mergekit / ours", "rounds"]]
    for size in _sizes(results):
        for case in _ours(results, size):
            mine = Job(size, EXPERTS, case, "ours", 1)
            peer = Job(size, EXPERTS, PEERS.get(case, case), "mergekit", 1)
            known = case in OURS or case in PEERS
            ratio = results.ratio(peer, mine) if known else None
            theirs = seconds_text(results.median(peer)) if known else "-"
            count = len(results.rounds(mine, peak))
            times = ratio_text(ratio) if known else "-"
            rows.append([_size(size), case, seconds_text(results.median(mine)), theirs, times, str(count)])
    return rows


def start_up(results: Results) -> list[list[str]]:
    """What a merge of next to nothing takes."""
    rows = [["method", "ours, s", "mergekit, s"]]
    for case in results.cases(START, EXPERTS, "ours"):
        both = (results.median(Job(START, EXPERTS, case, tool, 1)) for tool in ("ours", "mergekit"))
        rows.append([case, *map(seconds_text, both)])
    return rows


def against_copying(results: Results) -> list[list[str]]:
    """The method that computes least beside reading and writing the same bytes, both without start-up."""
    rows = [["parameters", "ours without start-up, s", "copying, s", "ratio", "copying and flushing, s", "ratio"]]
    case = "task_arithmetic"
    start = results.median(Job(START, EXPERTS, case, "ours", 1))
    for size in _sizes(results):
        mine = Job(size, EXPERTS, case, "ours", 1)
        total = results.median(mine)
        if total is None or start is None:
            continue
        row = [_size(size), seconds_text(total - start)]
        for kind in (COPY, FLUSHED):
            floor = Job(size, EXPERTS, kind, "floor", 1)
            ratio = results.ratio(mine, floor, to=inner("copy"), less=start)
            row += [seconds_text(results.median(floor, inner("copy"))), ratio_text(ratio)]
        rows.append(row)
    return rows


def memory(results: Results) -> list[list[str]]:
    """Peaks; of variants, how much more than the plain method per parameter of the largest tensor."""
    rows = [
        [
            "parameters",
            "method",
            "ours, MB",
            "of the size before",
            "above plain, bytes x largest tensor",
            "mergekit, MB",
        ]
    ]
    sizes = _sizes(results)
    for index, size in enumerate(sizes):
        for case in _ours(results, size):
            mine = results.median(Job(size, EXPERTS, case, "ours", 1), peak)
            before = results.median(Job(sizes[index - 1], EXPERTS, case, "ours", 1), peak) if index else None
            plain = results.median(Job(size, EXPERTS, case.split()[0], "ours", 1), peak)
            more = "-"
            if case in VARIANTS and mine is not None and plain is not None:
                more = f"{(mine - plain) / largest_tensor(size):.1f}"
            growth = f"{100 * mine / before:.0f} %" if mine is not None and before else "-"
            theirs = _megabytes(results.median(Job(size, EXPERTS, case, "mergekit", 1), peak)) if case in OURS else "-"
            rows.append([_size(size), case, _megabytes(mine), growth, more, theirs])
    return rows


def by_experts(results: Results) -> list[list[str]]:
    """Time and memory at each number of experts, of sizes that were merged with several."""
    rows = [
        ["parameters", "method", "experts", "ours, s", "mergekit, s", "mergekit / ours", "ours, MB", "mergekit, MB"]
    ]
    for size in (size for size in sorted({job.size for job in results.of}) if len(results.counts(size)) > 1):
        counts = results.counts(size)
        cases = [case for case in OURS if any(case in results.cases(size, n, "ours") for n in counts if n != EXPERTS)]
        for case in cases:
            for count in counts:
                mine, theirs = (Job(size, count, case, tool, 1) for tool in ("ours", "mergekit"))
                row = [_size(size), case, str(count)]
                row += [seconds_text(results.median(mine)), seconds_text(results.median(theirs))]
                row += [ratio_text(results.ratio(theirs, mine))]
                row += [_megabytes(results.median(job, peak)) for job in (mine, theirs)]
                rows.append(row)
    return rows


def points(results: Results) -> list[list[str]]:
    """Ten points in one pass beside one point's merge, in the same process."""
    rows = [["parameters", "one point, s", "ten points, s", "ten / one", "5 drop rates x 2 lambdas, s", "ten / one"]]
    for size in _sizes(results):
        job = Job(size, EXPERTS, POINTS, "ours", 1)
        if results.median(job) is None:
            continue
        row = [_size(size), seconds_text(results.median(job, inner("one")))]
        for kind in ("distinct", "grid"):
            row += [seconds_text(results.median(job, inner(kind)))]
            row += [ratio_text(results.ratio(job, job, inner(kind), inner("one")))]
        rows.append(row)
    return rows


def first_merge(results: Results) -> list[list[str]]:
    """What it costs once to hash inputs that were never merged before."""
    rows = [["parameters", "method", "first, s", "later, s"]]
    for job, measurement in results.of.items():
        if job.round == 0:
            later = results.median(Job(job.size, job.experts, job.case, job.tool, 1))
            rows.append([_size(job.size), job.case, seconds_text(measurement.seconds), seconds_text(later)])
    return rows


def _sizes(results: Results) -> list[float]:
    return [size for size in results.sizes(EXPERTS) if size != START]


def _ours(results: Results, size: float) -> list[str]:
    return [case for case in results.cases(size, EXPERTS, "ours") if case in OURS or case in VARIANTS]


def _machine(results: Results, machine: Mapping[str, Any]) -> str:
    commits = sorted({str(m.commit) for job, m in results.of.items() if job.tool == "ours"})
    busiest = max((m.others for m in results.of.values()), default=0.0)
    return (
        f"{machine.get('cores')} cores of {machine.get('cpu')}, {machine.get('memory_gb')} GB, "
        f"{machine.get('system')}; "
        f"Python {machine.get('python')}, numpy {machine.get('numpy')}, numba {machine.get('numba')}; "
        f"mergekit {machine.get('mergekit')} with torch {machine.get('mergekit_torch')}. "
        f"Ours at commit {', '.join(commits) or 'none'}. "
        f"While a command ran, everything else kept at most {busiest:.2f} cores busy."
    )


def _size(size: float) -> str:
    return f"{parameters_of(size) / 1e9:.3g} B"


def seconds_text(value: float | None) -> str:
    return NOT_RUN if value is None else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def _megabytes(value: float | None) -> str:
    return NOT_RUN if value is None else f"{value / 1e6:,.0f}"


def ratio_text(ratio: Ratio | None) -> str:
    return NOT_RUN if ratio is None else f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table of which the first row is the head; columns are aligned for who reads the text."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])
