"""The reports of the studies of searches, functions of what is committed of them."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from della.report import Report


def savings_report(cases: list[dict[str, Any]], rules: list[dict[str, Any]], command: str, commit: str) -> "Report":
    """Searches stopped early beside their grids, and the rules that were tried."""
    from della.report import Report
    from della.tables.savings import rules_table, savings_table

    report = Report(f"Made by `{command}` at commit {commit}.")
    notes = ["Mask seed, order of the prompts and order of the trials: the case's seed."]
    table = savings_table(cases, notes)
    tuned = (
        "Training seed 0's grids of the main table (5 methods x 4 merges), 5 orders each: settings were chosen here."
    )
    report.tables = {"savings": table, "rules": rules_table(rules, [tuned])}
    return report
