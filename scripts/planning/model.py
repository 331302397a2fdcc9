"""What a time model is to a plan, and the measured one with the options that go before what was measured."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from scripts.planning.assumptions import Assumptions
from scripts.planning.counts import Run
from scripts.planning.measured import Pace, Record
from scripts.planning.texts import Text
from scripts.schema import SweepPlanConfig


class Model(Protocol):
    """start, switch: seconds before a worker's first run, and before its first one of a further family; source: where
    the times come from."""

    start: float
    switch: float
    source: str

    def parts(self, method: str, experts: int, prompts: Mapping[str, int]) -> dict[str, float]:
        """Seconds of each part of a run; experts: 0 for a model as it is."""

    def longest(self, runs: Sequence[Run]) -> float | None:
        """Seconds of all runs if every answer runs to its limit; None where that is not told."""

    def half_width(self, runs: int) -> float | None:
        """Half of the 95 % interval of the sum of so many runs, seconds; None where nothing was measured."""


class Measured:
    """`Pace`, with the options of `assume.` before it. At least one record."""

    def __init__(
        self, config: SweepPlanConfig, records: Sequence[Record], texts: Mapping[str, Text], book: Assumptions
    ) -> None:
        self.pace, self.assume, self.texts, self.book = Pace(records), config.assume, texts, book
        known = f"{len(records)} runs"
        self.source = f"measured: {known}" + _where(records)
        self.start = self._take("start_s", self.pace.start, f"workers' first runs among {known}")
        self.switch = self.pace.switch if self.assume.start_s is None else self.assume.start_s
        self.swap = self._take("swap_s", self.pace.swap, known)
        self.other = self._take(
            "other_s", self.pace.other + self.pace.gap, f"{known}, the pause before the next included"
        )
        self.merged = self._take("merge_s", self.pace.merge("", 0), f"{known}, by method and number of experts")
        for (name, step), line in sorted(self.pace.lines.items()):
            if name in texts:
                fixed = f" and {line.fixed:.2f} s for any number" if line.fixed else ""
                book.note(f"{step}, {name}", 1000 * line.each, "ms a prompt", f"measured: {known}{fixed}")
        self.rates = self.assume.prefill_tokens_per_s, self.assume.decode_tokens_per_s
        for name, rate in zip(("prefill_tokens_per_s", "decode_tokens_per_s"), self.rates, strict=True):
            book.settle(name, "tokens/s", rate)

    def _take(self, name: str, value: float, why: str) -> float:
        found = self.book.settle(name, "s", getattr(self.assume, name), (value, why))
        return value if found is None else found

    def parts(self, method: str, experts: int, prompts: Mapping[str, int]) -> dict[str, float]:
        """Seconds of each part of a run; experts: 0 for a model as it is."""
        out = self.pace.parts(method if experts else "unmerged", experts, prompts)
        out |= {"swap": self.swap, "other": self.other}
        if self.assume.merge_s is not None:
            out["merge"] = self.assume.merge_s if experts else 0.0
        if any(rate is not None for rate in self.rates):
            out["generate"] = sum(n * self._stated(self.texts[name]) for name, n in prompts.items())
        if self.assume.score_s:
            out["score"] = sum(
                n * self.assume.score_s[name] if name in self.assume.score_s else self.pace.lines[name, "score"].at(n)
                for name, n in prompts.items()
            )
        return out

    def _stated(self, text: Text) -> float:
        """Seconds of a prompt at the rates that options give; one that is not given takes no time."""
        prefill, decode = self.rates
        return (text.prompt / prefill if prefill else 0.0) + (text.answer / decode if decode else 0.0)

    def longest(self, runs: Sequence[Run]) -> float | None:
        """Not told by records."""
        return None

    def half_width(self, runs: int) -> float | None:
        return self.pace.half_width(runs)


def _where(records: Sequence[Record]) -> str:
    facts = [record["provenance"] for record in records]
    hosts, cards = {f.get("host") for f in facts}, {f.get("gpu") for f in facts}
    workers = sorted({str(f.get("workers")) for f in facts})
    unit = "worker" if workers == ["1"] else "workers"
    card = ", ".join(str(name) for name in cards if name) or "no GPU"
    return f" on {len(hosts)} machine{'s' * (len(hosts) > 1)} ({card}), {' or '.join(workers)} {unit}"
