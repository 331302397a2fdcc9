"""Every number that a plan takes for granted goes through here, so that none of them can stay unsaid.

    book = Assumptions()
    book.settle("merge_s", "s", config.assume.merge_s, measured=(0.02, "mean of 40 runs"), default=(5.0, "..."))
    book.rows    # {"merge_s": Row(0.02, "s", "measured: mean of 40 runs")}

What an option says goes before what was measured, and that before what is stated.
"""

from dataclasses import asdict, dataclass

Found = tuple[float, str] | None  # a value and where it comes from


@dataclass(frozen=True)
class Row:
    """A number as the page shows it: its value, its unit, and where it comes from."""

    value: float
    unit: str
    source: str


class Assumptions:
    """The numbers of one plan, in the order in which they were asked for; a name is an option below `assume.`."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}

    def settle(
        self, name: str, unit: str, option: float | None, measured: Found = None, default: Found = None
    ) -> float | None:
        """The number to go by, kept with its source; None where nobody knows it."""
        found = (option, "option") if option is not None else None
        if found is None and measured is not None:
            found = measured[0], f"measured: {measured[1]}"
        found = found or default
        if found is None:
            return None
        self.rows[name] = Row(float(found[0]), unit, found[1])
        return self.rows[name].value

    def note(self, name: str, value: float, unit: str, source: str) -> float:
        """Keeps a number that follows from others, or that has no option of its own."""
        self.rows[name] = Row(float(value), unit, source)
        return float(value)

    def facts(self) -> dict[str, dict[str, float | str]]:
        """For JSON."""
        return {name: asdict(row) for name, row in self.rows.items()}
