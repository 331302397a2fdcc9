"""AlpacaEval's judges with a scripted endpoint: verdicts that a question's text decides."""

import hashlib
import math
import random
from pathlib import Path

from eval.judges.pairwise import PairwiseJudge
from eval.judges.settings import ANNOTATORS, Endpoint
from tests.eval.scripted_endpoint import Response, completion

GPT4, TURBO = ANNOTATORS


def make(url: str, folder: Path, name: str = GPT4, model: str = "scripted", **changes) -> PairwiseJudge:
    options = {"first_wait_s": 0.001, "timeout_s": 20.0, "attempts": 3, **changes}
    data = options.pop("length_data", None)
    return PairwiseJudge(name, Endpoint(url, model, **options), folder / "judge.jsonl", data)


def ranking(first: int) -> str:
    """As GPT-4 answered: `first` is the rank of what was shown first."""
    return f"[\n    {{'model': 'model_1', 'rank': {first}}},\n    {{'model': 'model_2', 'rank': {3 - first}}}\n]"


def switched(instruction: str) -> bool:
    """alpaca_eval's rule for the positions, written down here once more: seeded by the instruction alone."""
    return random.Random(f"is_switched_outputs{instruction}0").choices([False, True], k=1)[0]


def draw(text: str) -> float:
    """A number in [0, 1) that a text decides."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 2**32


def by_hash(question: str, times: int) -> Response:
    """A verdict that the question's text decides, in both formats at once."""
    share = 0.02 + 0.96 * draw(question)
    top = {"m": math.log(share), "M": math.log(1 - share), "Both": -20.0}
    return completion(ranking(1 if share > 0.5 else 2), top)


def judged(judge: PairwiseJudge, rows: list[dict]) -> list[float | None]:
    documents = [{"instruction": row["instruction"], "output": row["output_1"]} for row in rows]
    instructions, references = [d["instruction"] for d in documents], [d["output"] for d in documents]
    return judge.judge(instructions, [row["output_2"] for row in rows], references, documents)
