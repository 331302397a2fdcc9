"""One trial of a search: a point merged, swapped in, asked part by part and stopped when it cannot win.

A point that has a record, of this search or of any sweep, is not evaluated again: its scores are read. A trial that is
asked all prompts becomes a record, the same as if it had been evaluated at once; a stopped one leaves its estimate in
the study alone.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from della.claim import Claim, claim
from della.files import canonical, write_atomically
from della.record import find_done, write_record
from della.search.order import Order, by_benchmark, parts
from della.search.race import Part, Raced, race
from della.search.stopping import RULES, Scores, mean
from eval.benchmarks import Outcome
from scripts.points import Point
from scripts.search_settings import Search
from scripts.searching.study import SharedStudy
from scripts.session import Session
from scripts.shift import Shift


@dataclass(frozen=True)
class Tried:
    """How a trial ended: its race; the identity of its record where it was asked all prompts; whether that record was
    there before, so that no prompt was asked; what judges were asked for a stopped trial."""

    raced: Raced
    record: str | None
    reused: bool = False
    judges: Any = None


def scores_in_order(record: Mapping[str, Any], order: Order) -> dict[str, np.ndarray]:
    """The main metric of a record's prompts in the order of a search: float64[n] per benchmark, nan for no verdict."""
    out = {}
    for name, documents in by_benchmark(order).items():
        block = record["scores"][name]
        values = [np.nan if v is None else v for v in block["metrics"][block["metric"]]]
        out[name] = np.array(values, dtype=np.float64)[documents]
    return out


class Trials:
    """Evaluates the points of one search with a session's engine, in the search's common order.

    folder: of records; study: whose `screened` is a folder of what points did on the first part, before their trials.
    """

    def __init__(self, session: Session, search: Search, order: Order, folder: Path, study: SharedStudy):
        self.session, self.search, self.order, self.folder, self.study = session, search, order, folder, study
        self.screened, self.parts = study.screened, parts(order, search.looks)
        self.asking: Asked | None = None
        self._not_screened: set[str] = set()  # points that failed at it: their trials come last, and say why

    @property
    def prompts(self) -> int:
        """How many the trial that runs has been asked so far."""
        return self.asking.prompts if self.asking else 0

    def scores(self, identity: str) -> Scores | None:
        """Those of a recorded point; None where it has no record (any more)."""
        record = find_done(self.folder, identity)
        return None if record is None else scores_in_order(record, self.order)

    def run(self, point: Point, best: Callable[[], Scores | None], facts: dict[str, Any]) -> Tried:
        """Evaluates a point; errors pass through. best: as `race` takes it."""
        identity = self.session.identity(point)
        while True:
            with claim(self.folder / "claims", identity) as mine:
                if record := find_done(self.folder, identity):
                    known, made = scores_in_order(record, self.order), record["provenance"]
                    own = all(made.get(name) == facts[name] for name in ("search", "trial"))  # but could not be told
                    prompts = len(self.order) if own else 0
                    return Tried(Raced(known, True, prompts, mean(known)), identity, reused=not own)
                if mine and (tried := self._run(point, identity, best, facts, mine)):
                    return tried
            time.sleep(self.study.poll_seconds)  # another worker is at this very point

    def _run(
        self, point: Point, identity: str, best: Callable[[], Scores | None], facts: dict[str, Any], mine: Claim
    ) -> Tried | None:
        """None where another worker took the point over while this one was suspended."""
        started, asked = time.time(), Asked(self.session, point, read_screened(self.screened, identity))
        self.asking = asked
        raced = race(asked, self.parts, best, RULES[self.search.prune], self.search.risk)
        if not raced.whole:
            return Tried(raced, None, judges=self.session.accounted({}).get("judges"))
        facts = {**facts, "asked_in": len(self.parts)}
        record, outputs = self.session.recorded(point, asked.merge, asked.outcomes(), started, facts)
        if not mine.held():
            return None
        write_record(self.folder, record, outputs)
        return Tried(raced, identity)

    def first(self, point: Point) -> float | None:
        """A point's mean on the first part, where it is known from its record or from screening; -inf if it failed."""
        identity = self.session.identity(point)
        if (known := self.scores(identity)) is not None:
            seen = by_benchmark(self.order[: sum(map(len, self.parts[0].values()))])
            return mean({name: known[name][: len(documents)] for name, documents in seen.items()})
        found = read_screened(self.screened, identity)
        if found is None:
            return float("-inf") if identity in self._not_screened else None
        return mean(self._main(found))

    def _main(self, outcomes: dict[str, Outcome]) -> Scores:
        specs = self.session.config.benchmarks
        return {name: main_metric(outcome, specs[name].metric) for name, outcome in outcomes.items()}

    def screen(self, point: Point, shift: Shift) -> bool:
        """Asks a point the first part and keeps what came back; False where another worker is at it."""
        identity = self.session.identity(point)
        with claim(self.screened / "claims", identity) as mine:
            if not mine:
                return False
            if self.first(point) is not None:
                return True
            try:
                with shift.running():
                    self.session.swap_in(point)
                    outcomes = self.session.ask(point, self.parts[0])
            except Exception:
                self._not_screened.add(identity)
                return True
            text = {name: asdict(outcome) for name, outcome in outcomes.items()}
            write_atomically(self.screened / f"{identity}.json", canonical(text).encode())
            return True


def read_screened(folder: Path, identity: str) -> dict[str, Outcome] | None:
    """What a point did on the first part; None if it was not asked, or failed."""
    try:
        text = json.loads((folder / f"{identity}.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return {name: Outcome(**outcome) for name, outcome in text.items()}


def main_metric(outcome: Outcome, metric: str) -> np.ndarray:
    """float64[n], nan for no verdict."""
    return np.array([np.nan if value is None else value for value in outcome.metrics[metric]], dtype=np.float64)


class Asked:
    """Asks documents and keeps what came back, to be one outcome in the documents' own order at the end.

    first: what the first part gave before; the point is merged when a prompt has to be asked, and not before.
    """

    def __init__(self, session: Session, point: Point, first: dict[str, Outcome] | None = None):
        self.session, self.point, self.first = session, point, first
        self.merge: dict[str, Any] = {}
        self.prompts = 0
        self.found: dict[str, dict[int, tuple[Outcome, int]]] = {}

    def __call__(self, part: Part) -> dict[str, np.ndarray]:
        out = {}
        outcomes = self.first if not self.found and self.first else self._ask(part)
        self.prompts += sum(map(len, part.values()))
        for name, outcome in outcomes.items():
            held = self.found.setdefault(name, {})
            held |= {document: (outcome, place) for place, document in enumerate(part[name])}
            out[name] = main_metric(outcome, self.session.config.benchmarks[name].metric)
        return out

    def _ask(self, part: Part) -> dict[str, Outcome]:
        if not self.merge:
            self.merge = self.session.swap_in(self.point)
        return self.session.ask(self.point, part)

    def outcomes(self) -> dict[str, Outcome]:
        """All documents asked, each benchmark's in the order of their numbers."""
        return {name: _joined([held[number] for number in sorted(held)]) for name, held in self.found.items()}


def _joined(rows: list[tuple[Outcome, int]]) -> Outcome:
    """One outcome of rows of others."""
    metrics = list(rows[0][0].metrics)
    return Outcome(
        ids=[outcome.ids[place] for outcome, place in rows],
        metrics={name: [outcome.metrics[name][place] for outcome, place in rows] for name in metrics},
        groups=[outcome.groups[place] for outcome, place in rows],
        outputs=[outcome.outputs[place] for outcome, place in rows],
    )
