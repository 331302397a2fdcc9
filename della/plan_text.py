"""A plan as tables for a terminal."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_NAMES_SHOWN = 3


def write_plan(facts: Mapping[str, Any]) -> str:
    """The tables of a plan; what its facts don't hold is left out."""
    parts = [
        _models(facts["models"]),
        _tensors(facts.get("tensors", {})),
        _lineage(facts.get("lineage", {})),
        _needs(facts),
    ]
    return "\n\n".join(part for part in parts if part)


def size(count: float) -> str:
    """Bytes for a reader, in powers of 1000: 3.1 MB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 9.95 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def duration(seconds: float) -> str:
    """Seconds for a reader."""
    if seconds < 99.5:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def _models(models: Iterable[Mapping[str, Any]]) -> str:
    rows = [("model", "folder", "files", "tensors", "parameters", "dtypes", "size")]
    for model in models:
        numbers = (f"{model[key]:,}" for key in ("files", "tensors", "parameters"))
        rows.append((model["name"], model["folder"], *numbers, _dtypes(model["dtypes"]), size(model["bytes"])))
    return _table(rows, right={2, 3, 4, 6}) if len(rows) > 1 else ""


def _dtypes(dtypes: Mapping[str, int] | str) -> str:
    if isinstance(dtypes, str):
        return dtypes
    ordered = sorted(dtypes, key=lambda dtype: (-dtypes[dtype], dtype))
    return ordered[0] if len(ordered) == 1 else ", ".join(f"{dtype} {dtypes[dtype]}" for dtype in ordered)


def _tensors(tensors: Mapping[str, Any]) -> str:
    rows = [("tensors", "number", "parameters", "")]
    for key, what in (
        ("merged", "merged"),
        ("unpruned", "  of these unpruned"),
        ("passed", "copied from the base"),
    ):
        if key in tensors:
            shown = tensors[key].get("names", [])
            more = " ..." if len(shown) > _NAMES_SHOWN else ""
            names = ", ".join(shown[:_NAMES_SHOWN]) + more
            rows.append((what, f"{tensors[key]['tensors']:,}", f"{tensors[key]['parameters']:,}", names))
    rows += [("  rows added", f"{count:,}", "", name) for name, count in tensors.get("added", {}).items()]
    return _table(rows, right={1, 2}) if len(rows) > 1 else ""


def _lineage(lineage: Mapping[str, Mapping[str, Any]]) -> str:
    kinds = sorted({kind for expert in lineage.values() for kind in expert["kinds"]})
    rows = [("|expert - base| / |base|, cosine", *kinds, "from this base")]
    for name, expert in lineage.items():
        cells = (
            f"{expert['kinds'][kind]['ratio']:.3f} {expert['kinds'][kind]['cosine']:6.3f}"
            if kind in expert["kinds"]
            else "-"
            for kind in kinds
        )
        rows.append((name, *cells, expert["verdict"]))
    return _table(rows) if len(rows) > 1 else ""


def _needs(facts: Mapping[str, Any]) -> str:
    rows: list[tuple[str, str]] = []
    if disk := facts.get("disk"):
        there = f", {size(disk['free'])} free at {disk['where']}" if "free" in disk else ""
        rows.append(("disk", f"{size(disk['needed'])} to write{there}"))
    if memory := facts.get("memory"):
        there = "" if memory["available"] is None else f", {size(memory['available'])} available"
        rows.append(("memory", f"at most {size(memory['needed'])}{there}"))
    if "seconds" in facts:
        rows.append(("time", f"about {duration(facts['seconds'])} of merging, once the files are in memory"))
    if facts.get("uncached"):
        rows.append(("to read", f"{size(facts['uncached'])} that are not in memory yet"))
    return _table(rows)


def _table(rows: Sequence[Sequence[str]], right: Iterable[int] = ()) -> str:
    """Rows of the same length in aligned columns."""
    right = set(right)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
