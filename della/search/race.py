"""One trial against the best so far: asked part by part, in the common order, and stopped when it cannot win.

found = race(ask, parts(order, 20), best, RULES["paired"], risk=0.01)
found.whole, found.prompts, found.value
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from della.search.stopping import Rule, Scores, estimate, mean

Part = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Raced:
    """How a trial ended.

    scores: what it scored, in the common order; whole: on all prompts; prompts: how many it was asked; value: its mean
    over benchmarks, of a stopped trial what all prompts would have given (see `estimate`).
    """

    scores: Scores
    whole: bool
    prompts: int
    value: float


def race(
    ask: Callable[[Part], Scores], order: Sequence[Part], best: Callable[[], Scores | None], rule: Rule, risk: float
) -> Raced:
    """Asks part after part, until the rule stops the trial or no prompt is left. One that leads is never stopped.

    ask: scores of a part's documents, float64[n] per benchmark, in the part's order.
    best: the scores, in the common order, of the best trial that saw all prompts; None while there is none. It is
        called after every part: another worker may have found a better one.
    """
    seen: dict[str, list[np.ndarray]] = {}
    prompts = 0
    for number, part in enumerate(order, start=1):
        for name, scores in ask(part).items():
            seen.setdefault(name, []).append(np.asarray(scores, dtype=np.float64))
        prompts += sum(map(len, part.values()))
        found = {name: np.concatenate(pieces) for name, pieces in seen.items()}
        if number == len(order):
            break
        against = best()
        # A benchmark with few prompts may not be in the first parts: nothing is compared before all have begun.
        if against is None or found.keys() != against.keys():
            continue
        value = estimate(found, against)
        if value < mean(against) and rule(found, against, risk):  # rules that pool benchmarks may say so of a leader
            return Raced(found, False, prompts, value)
    return Raced(found, True, prompts, mean(found))
