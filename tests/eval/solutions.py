"""GSM8K's judge with questions of a test's own, short ones. Document n is wrong where n is divisible by three."""

import re
from pathlib import Path

from eval.judges.gsm8k import SolutionJudge
from eval.judges.settings import Endpoint
from tests.eval.scripted_endpoint import Response, completion

QUICK = {"first_wait_s": 0.001, "timeout_s": 5.0, "attempts": 4, "answers": 3}


def number_of(question: str) -> int:
    return int(re.search(r"Question: number (\d+)\n", question)[1])


def right_answer(question: str) -> Response:
    return completion("It is wrong. [[B]]" if number_of(question) % 3 == 0 else "It is right. [[A]]")


def documents(count: int) -> tuple[list[dict], list[str]]:
    return [{"question": f"number {n}", "answer": f"#### {n}"} for n in range(count)], ["so it is"] * count


def expected(count: int) -> list[float]:
    return [0.0 if n % 3 == 0 else 1.0 for n in range(count)]


def make(url: str, folder: Path, **changes) -> SolutionJudge:
    return SolutionJudge(Endpoint(url, "scripted", **{**QUICK, **changes}), folder / "judge.jsonl")
