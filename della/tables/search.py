"""What a search tried, what it cost and what won: tables and a figure from the logs of its trials.

A log is plain data, one per search (a merge of one family), as `scripts/searching/log.py` writes it:

    {"sweep", "arm", "family", "family_seed", "merge", "method", "sampler", "prune", "risk", "looks", "seed", "split",
     "of", "wanted", "winner", "importance",
     "trials": [{"number", "params", "value", "prompts", "whole", "reused", "error"}, ...]}

`arm`: the search's name in its sweep, its method's where it has none; `of`: prompts of a whole trial; `value`: a
fraction, of a stopped trial an estimate, None of a failed one; `winner`: the winner's method, weights and rules as
records have them, or None; `importance`: parameter -> its part of what the parameters explain, or {}.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.style import context

from della.figures import CURVE_STYLE, STYLE
from della.outcomes import METHOD_LABELS, Run, benchmarks_of, merge_label, point_options
from della.study import Study
from della.tables.render import NOT_APPLICABLE, NOT_RUN, Table, score_text, tenth

Log = Mapping[str, Any]


def spent(log: Log) -> int:
    """Prompts that were asked: in all trials, and in screening or failed attempts that are part of none."""
    return sum(trial["prompts"] for trial in log["trials"]) + log.get("beside", 0)


def full(log: Log) -> int:
    """Prompts that the same trials would have cost if none had been stopped, what was read from records left out."""
    return sum(log["of"] for trial in log["trials"] if trial["error"] is None and not trial["reused"])


def winner(log: Log) -> Mapping[str, Any] | None:
    """The best trial that was asked all prompts; of equals the earliest."""
    whole = [trial for trial in log["trials"] if trial["whole"]]
    return max(whole, key=lambda trial: (trial["value"], -trial["number"]), default=None)


def history(log: Log) -> list[tuple[int, float]]:
    """(prompts asked so far, best whole trial so far) after each trial that improved on it, in the order of numbers."""
    first = log["first"] if log.get("screened") else 0  # of a grid all points are asked these before any trial
    asked, best, out = first * log.get("screened", 0), float("-inf"), []
    for trial in sorted(log["trials"], key=lambda trial: trial["number"]):
        asked += trial["prompts"] - (first if trial["prompts"] else 0)
        if trial["whole"] and trial["value"] > best:
            best = trial["value"]
            out.append((asked, best))
    return out


def settings_text(params: Mapping[str, Any]) -> str:
    """`drop_rate=0.5 lambda_=1.2`: a trial's parameters."""
    return " ".join(f"{k}={v:.3g}" if isinstance(v, float) else f"{k}={v}" for k, v in params.items())


def label(log: Log) -> str:
    """`LM+Math, seed 1`: the merge, and the training seed where there is one."""
    seed = "" if log["family_seed"] is None else f", seed {log['family_seed']}"
    return f"{merge_label(log['merge'])}{seed}"


def key_of(log: Log) -> tuple:
    """What the winner's runs are found by."""
    options = point_options(log["winner"]) if log["winner"] else ()
    return log["family_seed"], tuple(sorted(log["merge"])), log["method"], options


def cells_on_test(finals: Sequence[Run]) -> dict[tuple, list[Run]]:
    """The winners' test runs by `key_of`."""
    cells: dict[tuple, list[Run]] = {}
    for run in finals:
        if run.split == "test":
            cells.setdefault((run.family_seed, run.merge, run.method, run.options), []).append(run)
    return cells


def search_table(logs: Sequence[Log], finals: Sequence[Run], notes: Sequence[str]) -> Table:
    """One row per search: trials, prompts asked and their part of all, the winner, its dev and test score.

    finals: the winners' runs; a winner that has not run on test is "not run".
    """
    table = Table("search", "What the search tried, what it cost, and what won", _HEADER, labels=3, notes=list(notes))
    cells = cells_on_test(finals)
    study = Study(cells)
    for log in logs:
        best, test = winner(log), study.average(key_of(log), benchmarks_of(log["merge"], _scored(cells, log)))
        row = [label(log), arm_label(log), f"{log['sampler']}, seed {log['seed']}"]
        row += [_counts(log), f"{spent(log):,}", share_text(log)]
        chosen = [settings_text(best["params"]), tenth(100 * best["value"])] if best else [NOT_APPLICABLE, NOT_RUN]
        table.rows.append([*row, *chosen, score_text(test)])
        keys: dict[str, Any] = {"family": log["family"], "training_seed": log["family_seed"], "benchmark": "avg"}
        keys |= {"merge": merge_label(log["merge"]), "method": log["arm"]}
        table.record(test, options=settings_text(best["params"]) if best else "", **keys)
        table.data.append({"table": table.name, "quantity": "prompts", "value": spent(log), "n": full(log), **keys})
    table.notes += [_rule_note(logs), _SHARE_NOTE, chosen_note(logs)]
    return table


def arm_label(log: Log) -> str:
    """The search's name, or its method's."""
    return METHOD_LABELS.get(log["arm"], log["arm"].replace("_", " "))


_HEADER = ["Merge", "Search", "Sampler", "Trials", "Prompts", "of all", "Winner", "Dev", "Test"]
_SHARE_NOTE = (
    "of all: prompts asked, as a part of what the same trials cost when none is stopped; points with a record \
were not asked again and are in neither number."
)


def chosen_note(logs: Sequence[Log]) -> str:
    """What the columns Dev and Test are of: with select=test the same prompts."""
    dev = "Dev: the winner's mean over its benchmarks on the prompts it was chosen by, optimistic"
    if any(log["split"] == "test" for log in logs):
        return f"{dev}, here those of the test split (select=test); Test: on the same prompts, with other mask seeds."
    return f"{dev}; Test: on other prompts, with other mask seeds."


def _scored(cells: Mapping[tuple, Sequence[Run]], log: Log) -> list[str]:
    return sorted({name for run in cells.get(key_of(log), ()) for name in run.scores})


def _counts(log: Log) -> str:
    """`60: 9 whole, 51 stopped, 1 failed`."""
    whole = sum(trial["whole"] for trial in log["trials"])
    failed = sum(trial["error"] is not None for trial in log["trials"])
    reused = sum(trial["reused"] for trial in log["trials"])
    parts = [f"{whole} whole", f"{len(log['trials']) - whole - failed} stopped"]
    parts += [f"{failed} failed"] if failed else []
    parts += [f"{reused} from records"] if reused else []
    return f"{len(log['trials'])}: {', '.join(parts)}"


def share_text(log: Log) -> str:
    """`31 %`, or a dash where nothing was asked."""
    return f"{100 * spent(log) / full(log):.0f} %" if full(log) else NOT_APPLICABLE


def _rule_note(logs: Sequence[Log]) -> str:
    found = sorted({(log["prune"], log["risk"], log["looks"]) for log in logs})
    rules = "; ".join(f"{prune}, risk {risk:g} a look, {looks} looks" for prune, risk, looks in found)
    return f"Trials are stopped early by: {rules} (della/search/stopping.py)."


def importance_table(logs: Sequence[Log]) -> Table | None:
    """How much each parameter mattered, one row each, one column per search; None where no search says."""
    told = [log for log in logs if log["importance"]]
    if not told:
        return None
    title = "Importance of the parameters: their parts of what explains a trial's score"
    searches = [f"{label(log)}: {arm_label(log)}, seed {log['seed']}" for log in told]
    table = Table("importance", title, ["Parameter", *searches], labels=1)
    for name in sorted({name for log in told for name in log["importance"]}):
        shares = [log["importance"].get(name) for log in told]
        table.rows.append([name, *(NOT_APPLICABLE if share is None else f"{share:.2f}" for share in shares)])
        for log, share in zip(told, shares, strict=True):
            if share is not None:
                keys = {"family": log["family"], "training_seed": log["family_seed"], "method": log["method"]}
                options = f"{log['arm']}, search seed {log['seed']}: {name}"
                row = {"table": table.name, "quantity": "importance", "options": options, "value": share}
                table.data.append({**row, "merge": merge_label(log["merge"]), **keys})
    table.notes.append("PED-ANOVA (Watanabe, Bansal and Hutter, 2023), of the best tenth of the trials against all.")
    return table


def history_figure(logs: Sequence[Log]) -> Figure | None:
    """The best whole trial so far against the prompts asked so far: a panel for each merge, a line for each search,
    searches that differ in their seed alone in one colour; None without any.
    """
    drawn = [(log, history(log)) for log in logs if history(log)]
    if not drawn:
        return None
    titles = list(dict.fromkeys(label(log) for log, _ in drawn))
    arms = list(dict.fromkeys(arm_label(log) for log, _ in drawn))
    with context(["default", STYLE]):
        figure = Figure(figsize=(5.6, 3.2 * len(titles)), layout="constrained")
        panels = dict(zip(titles, figure.subplots(len(titles), squeeze=False).flat, strict=True))
        handles: dict[str, Artist] = {}
        for log, points in drawn:
            colour, marker = CURVE_STYLE[arms.index(arm_label(log)) % len(CURVE_STYLE)]
            x = [asked for asked, _ in points] + [spent(log)]
            y = [100 * best for _, best in points] + [100 * points[-1][1]]
            (line,) = panels[label(log)].step(x, y, where="post", color=colour, marker=marker, markersize=4)
            handles.setdefault(arm_label(log), line)
        for title, axes in panels.items():
            axes.set_title(title)
            axes.set_xlabel("prompts asked")
            axes.set_ylabel("best on choosing prompts (%)")
        figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=min(len(arms), 2))
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    return figure
