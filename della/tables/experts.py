"""The family before any merge: the base and each expert on every benchmark, and how they do on held-out phrasings."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from della.outcomes import (
    BENCHMARK_LABELS,
    BENCHMARKS,
    EXPERT_BENCHMARK,
    EXPERT_LABELS,
    UNMERGED,
    Run,
    merge_label,
    merge_order,
    widest,
)
from della.statistics import Estimate
from della.study import Study
from della.tables.detectable import detectable_note, pairs_note
from della.tables.render import NOT_APPLICABLE, NOT_RUN, Table, gap_text, score_text


def unmerged_runs(runs: Sequence[Run]) -> list[Run]:
    """The test runs of the base and of single experts as they are, over most prompts."""
    return widest([run for run in runs if run.split == "test" and run.method == UNMERGED and len(run.merge) < 2])


def experts_table(runs: Sequence[Run], notes: Sequence[str]) -> Table | None:
    """One row per training seed and model: every benchmark, and the lead on its own over the best other model.

    None unless an expert was scored on more than its own benchmark: it is the comparison that the table is about.
    """
    alone = unmerged_runs(runs)
    if not any(run.merge and len(run.scores) > 1 for run in alone):
        return None
    study = Study({(run.family_seed, run.merge): [run] for run in alone})
    header = ["Training seed", "Model", *(BENCHMARK_LABELS[name] for name in BENCHMARKS), "lead on its own"]
    table = Table("experts", "The base and the experts", header, labels=2)
    table.notes = [
        *notes,
        "lead on its own: an expert's score on its own benchmark minus the best of the base and the other experts "
        "there, percentage points, paired on the same prompts.",
    ]
    seeds = sorted({run.family_seed for run in alone}, key=str)
    models = sorted({run.merge for run in alone}, key=merge_order)
    for seed in seeds:
        table.rule()
        for merge in models:
            cells = {name: study.score((seed, merge), name) for name in BENCHMARKS}
            label = merge_label(merge)
            row = ["-" if seed is None else str(seed), label, *(score_text(cells[name]) for name in BENCHMARKS)]
            for name, cell in cells.items():
                keys: dict[str, Any] = {
                    "family": alone[0].family,
                    "training_seed": seed,
                    "merge": label,
                    "method": UNMERGED,
                }
                table.record(cell, **keys, benchmark=name)
            table.rows.append([*row, _lead(table, study, seed, merge, models)])
    groups = [[(seed, merge) for merge in models if (seed, merge) in study.cells] for seed in seeds]
    scored = {key: [name for name in BENCHMARKS if name in runs[0].scores] for key, runs in study.cells.items()}
    table.notes += pairs_note(study, groups, scored, "between two models of one training seed")
    return table


def _lead(table: Table, study: Study, seed: object, merge: tuple[str, ...], models: Sequence[tuple[str, ...]]) -> str:
    if not merge or merge[0] not in EXPERT_BENCHMARK:
        return NOT_APPLICABLE
    own = EXPERT_BENCHMARK[merge[0]]
    scores = {other: study.score((seed, other), own) for other in models if other != merge}
    rivals = {other: score.value for other, score in scores.items() if score}
    if not rivals:
        return NOT_RUN
    best = max(rivals, key=lambda other: (rivals[other], other))
    lead = study.estimate({((seed, merge), own): 1.0, ((seed, best), own): -1.0})
    keys: dict[str, Any] = {"training_seed": seed, "merge": merge_label(merge), "method": f"minus {merge_label(best)}"}
    table.record(lead, quantity="difference", **keys, benchmark=own)
    return NOT_RUN if lead is None else f"{gap_text(lead)} over {merge_label(best)}"


def _group_gap(study: Study, groups: tuple[tuple, tuple], benchmark: str) -> Estimate | None:
    """The difference of two groups of prompts; its n is the smaller group's, which limits what can be seen."""
    sizes = [score.n for group in groups if (score := study.score(group, benchmark))]
    gap = study.estimate({(groups[0], benchmark): 1.0, (groups[1], benchmark): -1.0})
    return replace(gap, n=min(sizes)) if gap else None


def groups_table(runs: Sequence[Run], notes: Sequence[str]) -> Table | None:
    """Each expert on its own benchmark, by group of prompts: one row per training seed; None without several groups."""
    own = [run for run in unmerged_runs(runs) if run.merge and run.merge[0] in EXPERT_BENCHMARK]
    names = sorted({str(g) for run in own for g in run.groups.get(EXPERT_BENCHMARK[run.merge[0]], [])}, reverse=True)
    if len(names) < 2:
        return None
    parts = {(run.family_seed, run.merge[0], name): [run.only(name)] for run in own for name in names}
    study = Study(parts)
    labels = [name.replace("_", " ") for name in names]
    header = ["Training seed", "Expert", "Benchmark", *labels]
    title = "The experts on their own benchmarks, by group of prompts"
    table = Table("experts_groups", title, header, labels=3, notes=list(notes))
    order, found = list(EXPERT_LABELS), dict[str, list[Estimate | None]]()
    for seed, expert in sorted({(s, e) for s, e, _ in parts}, key=lambda key: (str(key[0]), order.index(key[1]))):
        benchmark = EXPERT_BENCHMARK[expert]
        row = ["-" if seed is None else str(seed), EXPERT_LABELS[expert], BENCHMARK_LABELS[benchmark]]
        for name in names:
            cell = study.score((seed, expert, name), benchmark)
            keys: dict[str, Any] = {
                "training_seed": seed,
                "merge": EXPERT_LABELS[expert],
                "method": UNMERGED,
                "options": name,
            }
            table.record(cell, **keys, benchmark=benchmark)
            row.append(score_text(cell))
        table.rows.append(row)
        gaps = [_group_gap(study, ((seed, expert, a), (seed, expert, b)), benchmark) for a, b in combinations(names, 2)]
        found.setdefault(BENCHMARK_LABELS[benchmark], []).extend(gaps)
    table.notes += detectable_note("between two groups of prompts, which are not paired", found)
    return table
