"""What stopping early saves and what it risks: searches through a grid beside the whole grid.

A case is plain data: one grid (a merge of one family, one mask seed) searched once, its points and prompts in the order
of one seed.

    {"family_seed", "merge", "seed", "points", "prompts", "of", "whole", "winner", "grid_winner", "loss", "error",
     "differs"}

`prompts` asked of `of`; `whole`: trials asked all prompts; winners as text; `loss`: test score of the grid's winner
minus that of the search's, a fraction, with its paired standard error; both 0 for the same winner; `differs`: prompts
of the search's winner, asked again part by part, whose score was another than when all were asked at once.

A measured rule is {"rule", "risk", "screen", "looks", "searches", "share", "largest", "same", "loss", "beyond"}: is the
grid screened; shares of prompts (mean and largest), of searches with the grid's winner, the mean loss on the prompts
chosen by, and the share of searches that lost more than one paired standard error there.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from della.outcomes import merge_label
from della.tables.render import Table, signed

Case = Mapping[str, Any]
SHARE = 0.4  # of the prompts: what a search may ask


def is_within(case: Case) -> bool:
    """Whether the search's winner scores within one paired standard error of the grid's winner on test."""
    return abs(case["loss"]) <= case["error"]


def savings_table(cases: Sequence[Case], notes: Sequence[str]) -> Table:
    """One row per case, then all together."""
    header = ["Merge", "Family", "Seed", "Prompts", "of all", "Whole", "Search's winner", "Grid's winner"]
    title = "A grid searched with trials stopped early, beside the whole grid"
    table = Table("savings", title, [*header, "lost on test", "paired s.e.", "within"], labels=3, notes=list(notes))
    for case in cases:
        same = case["winner"] == case["grid_winner"]
        row = [merge_label(case["merge"]), str(case["family_seed"]), str(case["seed"]), f"{case['prompts']:,}"]
        row += [f"{100 * case['prompts'] / case['of']:.1f} %", f"{case['whole']} of {case['points']}", case["winner"]]
        row += ["the same" if same else case["grid_winner"], signed(100 * case["loss"], 2)]
        table.rows.append([*row, f"{100 * case['error']:.2f}", "yes" if is_within(case) else "no"])
        keys = {"training_seed": case["family_seed"], "merge": merge_label(case["merge"]), "options": case["seed"]}
        numbers = {"prompts": case["prompts"], "of": case["of"], "loss": 100 * case["loss"]}
        numbers |= {"error": 100 * case["error"]}
        table.data += [{"table": table.name, "quantity": k, "value": v, **keys} for k, v in numbers.items()]
    table.notes += [summary(cases), _LOSS_NOTE, live_note(cases)]
    return table


_LOSS_NOTE = (
    "lost on test: the grid's winner minus the search's, mean over benchmarks and mask seeds, percentage points; "
    "paired s.e.: over prompts, benchmarks as strata; within: no further apart than that."
)


def summary(cases: Sequence[Case]) -> str:
    """The count that decides: `10 of 10 winners within one paired standard error; 28.3 % of the prompts (...)`."""
    shares = [case["prompts"] / case["of"] for case in cases]
    total = sum(case["prompts"] for case in cases) / sum(case["of"] for case in cases)
    few = sum(share <= SHARE for share in shares)
    return (
        f"{sum(map(is_within, cases))} of {len(cases)} winners within one paired standard error of the grid's winner, "
        f"{sum(case['winner'] == case['grid_winner'] for case in cases)} of them the same; {100 * total:.1f} % of the "
        f"prompts in all ({100 * min(shares):.1f} to {100 * max(shares):.1f}; at most {100 * SHARE:.0f} % in {few} of "
        f"{len(cases)})."
    )


def live_note(cases: Sequence[Case]) -> str:
    """What the replay rests on."""
    asked = sum(case["of"] // case["points"] for case in cases)
    return (
        "Searches are replayed on recorded scores. Every winner's prompts were asked again live, part by part: of "
        f"{asked:,} scores {sum(case['differs'] for case in cases)} differ from the record's."
    )


def rules_table(rules: Sequence[Mapping[str, Any]], notes: Sequence[str]) -> Table:
    """One row per rule and risk."""
    header = [
        "Rule",
        "risk",
        "screened",
        "looks",
        "searches",
        "prompts",
        "most",
        "same winner",
        "lost, points",
        "> 1 s.e.",
    ]
    notes = [*notes, "screened: every point is asked the first part, and the most promising go on first."]
    title = "Rules that stop a trial: what they save and what they risk, on the prompts that the choice is made by"
    table = Table("rules", title, header, notes=list(notes))
    for found in rules:
        screened = "yes" if found["screen"] else "no"
        row = [found["rule"], f"{found['risk']:g}", screened, str(found["looks"]), str(found["searches"])]
        row += [f"{100 * found[name]:.1f} %" for name in ("share", "largest", "same")]
        table.rows.append([*row, f"{100 * found['loss']:.3f}", f"{100 * found['beyond']:.1f} %"])
        for name in ("share", "largest", "same", "loss", "beyond"):
            keys = {"method": found["rule"], "options": f"risk={found['risk']:g} screened={screened}"}
            table.data.append({"table": table.name, "quantity": name, "value": 100 * found[name], **keys})
    return table
