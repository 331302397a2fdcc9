"""Searches compared: what each found with the same number of prompts, chosen on dev, reported on test, paired.

(The DAM paper, arXiv 2410.08371, compares with evolutionary merging; no figures of that comparison are at hand.)
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from della.outcomes import Run, benchmarks_of, merge_label
from della.statistics import Estimate
from della.study import Study, averaged, difference
from della.tables.detectable import pairs_note
from della.tables.render import NOT_APPLICABLE, NOT_RUN, Table, gap_text, score_text, tenth
from della.tables.search import Log, arm_label, cells_on_test, chosen_note, key_of, label, spent, winner


def arms_table(logs: Sequence[Log], finals: Sequence[Run], notes: Sequence[str]) -> Table | None:
    """One row per search, and the mean of those that differ in their seed alone; None without two arms of one merge.

    A search that ran with one seed is a reference: the others' winners are compared with its winner.
    """
    groups: dict[str, dict[str, list[int]]] = {}
    for number, log in enumerate(logs):
        groups.setdefault(label(log), {}).setdefault(log["arm"], []).append(number)
    groups = {merge: arms for merge, arms in groups.items() if len(arms) > 1}
    if not groups:
        return None
    found = cells_on_test(finals)
    study = Study({number: found.get(key_of(log), []) for number, log in enumerate(logs)})
    own: dict[Hashable, Sequence[str]] = {
        number: benchmarks_of(log["merge"], _scored(study, number)) for number, log in enumerate(logs)
    }
    references = list(dict.fromkeys(arm for arms in groups.values() for arm, at in arms.items() if len(at) == 1))
    names = {log["arm"]: arm_label(log) for log in logs}
    header = ["Merge", "Search", "Seed", "Prompts", "Trials", "Dev", "Test"]
    title = "What searches with the same number of prompts found"
    table = Table("arms", title, [*header, *(f"minus {names[arm]}" for arm in references)], labels=3, notes=list(notes))
    for arms in groups.values():
        table.rule()
        for at in arms.values():
            for number in at:
                _row(table, study, [number], logs, own, [arms.get(arm, []) for arm in references])
            if len(at) > 1:
                _row(table, study, at, logs, own, [arms.get(arm, []) for arm in references])
    if any(log["split"] == "test" for log in logs):
        table.notes.append(chosen_note(logs))
    table.notes.append(_MEAN_NOTE)
    pairs = [[number for at in arms.values() for number in at if number in study.cells] for arms in groups.values()]
    table.notes += pairs_note(study, pairs, own, "between two winners of one merge")
    return table


_MEAN_NOTE = (
    "Differences: the winner's test score minus the other search's winner's, percentage points with 95 % interval, "
    "paired on the prompts. mean: of the searches above it; its interval is over prompts and mask seeds, how searches "
    "differ is seen in their rows."
)


def _scored(study: Study, number: int) -> list[str]:
    return sorted({name for run in study.cells.get(number, ()) for name in run.scores})


def _terms(numbers: Sequence[int], own: Mapping[Hashable, Sequence[str]]) -> dict[tuple[Hashable, str], float]:
    """The mean of winners' test scores."""
    out: dict = {}
    for number in numbers:
        out |= averaged(number, own[number], 1 / len(numbers))
    return out


def _row(
    table: Table,
    study: Study,
    numbers: Sequence[int],
    logs: Sequence[Log],
    own: Mapping[Hashable, Sequence[str]],
    references: Sequence[Sequence[int]],
) -> None:
    """One search, or the mean of several."""
    first, best = logs[numbers[0]], [winner(logs[number]) for number in numbers]
    single = len(numbers) == 1
    dev = [found["value"] for found in best if found]
    trials = [len(logs[number]["trials"]) for number in numbers]
    asked = [spent(logs[number]) for number in numbers]
    mean = _terms(numbers, own)
    test: Estimate | None = study.estimate(mean) if mean else None
    row = [label(first), arm_label(first), str(first["seed"]) if single else "mean"]
    row += [f"{sum(asked) / len(numbers):,.0f}", f"{sum(trials) / len(numbers):g}" if single else NOT_APPLICABLE]
    row += [tenth(100 * sum(dev) / len(dev)) if dev else NOT_RUN, score_text(test)]
    keys: dict[str, Any] = {"family": first["family"], "training_seed": first["family_seed"], "benchmark": "avg"}
    keys |= {"merge": merge_label(first["merge"]), "method": first["arm"], "options": f"seed={row[2]}"}
    table.record(test, **keys)
    for reference in references:
        if not reference or set(reference) == set(numbers):
            row.append(NOT_APPLICABLE)
            continue
        gap = study.estimate(difference(mean, _terms(reference, own)))
        row.append(gap_text(gap))
        table.record(gap, quantity=f"minus {logs[reference[0]]['arm']}", **keys)
    table.rows.append(row)
