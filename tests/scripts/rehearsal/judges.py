"""Both of the paper's judges on loopback: verdicts that a question's text decides, alike whenever it is asked."""

from tests.eval.pairs import by_hash, draw
from tests.eval.scripted_endpoint import Response, completion


def answer(question: str, times: int) -> Response:
    """GSM8K's judge marks three answers in ten as right; AlpacaEval's ranks by hash."""
    if question.startswith("Question: "):
        return completion("[[A]]" if draw(question) < 0.3 else "[[B]]")
    return by_hash(question, times)
