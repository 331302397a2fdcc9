"""A judge whose endpoint fails in every way a provider does: nothing lost, nothing paid twice, no score by accident."""

import pytest

from eval.errors import JudgeError
from tests.eval.scripted_endpoint import Response, ScriptedEndpoint, completion, failure
from tests.eval.solutions import documents, expected, make, number_of, right_answer


def patience(kind: str) -> float:
    """Seconds an attempt may take: few for what never ends, many for what should only take moments."""
    return 0.4 if "timeout" in kind or "drips" in kind else 5.0


FAILURES = {
    "429 with Retry-After": failure(429, "slow down", retry_after="0.05"),
    "429 with Retry-After in milliseconds": failure(429, "slow down", retry_after_ms="50"),
    "429 without Retry-After": failure(429, "slow down"),
    "500": failure(500, "oops"),
    "503 with a page": Response(b"<html>gateway</html>", 503, {"Content-Type": "text/html"}),
    "408": failure(408),
    "409": failure(409),
    "a timeout": Response(b"{}", delay=2.0),
    "an answer that drips for ever": Response(b"{}" + b" " * 100, drip=0.1),
    "a connection cut in the middle of an answer": Response(completion("[[A]]").body, cut=True),
    "a connection cut in the middle of an error": Response(failure(500).body, 500, cut=True),
    "malformed JSON": Response(completion("[[A]]").body[:-20]),
    "bytes that are no text": Response(b"\xff\xfe\x00"),
    "an empty body": Response(b""),
    "a page with status 200": Response(b"<html>hello</html>"),
    "no choices": Response(b'{"choices": []}'),
    "choices of another shape": Response(b'{"choices": {"message": "[[A]]"}}'),
    "a message that is a text": Response(b'{"choices": [{"message": "[[A]]"}]}'),
    "no message": Response(b'{"choices": [{"text": "[[A]]"}]}'),
    "a list": Response(b"[1, 2]"),
    "a number": Response(b"3"),
    "content in parts": Response(b'{"choices": [{"message": {"content": [{"text": "[[A]]"}]}}]}'),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_what_passes_is_asked_again_and_the_answer_counts(kind, tmp_path):
    """Twice it fails, then it answers: three requests, one paid, the right verdict."""

    def answer(question: str, times: int) -> Response:
        return FAILURES[kind] if times <= 2 else right_answer(question)

    with ScriptedEndpoint(answer) as endpoint:
        judge = make(endpoint.url, tmp_path, timeout_s=patience(kind))
        assert judge.judge(*documents(2)) == [0.0, 1.0]
    assert sorted(endpoint.asked.values()) == [3, 3]
    assert sorted(endpoint.answered.values()) == [1, 1]
    account = judge.take_account()
    assert (account["requests"], account["failed"], account["null"]) == (6, 4, 0)
    assert (account["tokens_in"], account["tokens_out"]) == (200, 20)


@pytest.mark.parametrize("kind", FAILURES)
def test_what_does_not_pass_is_an_error_and_never_a_score(kind, tmp_path):
    """Document 1 always fails. The error says how often it was tried, and what is kept; then the same call goes on."""
    healed = []

    def answer(question: str, times: int) -> Response:
        return right_answer(question) if healed or number_of(question) != 1 else FAILURES[kind]

    with ScriptedEndpoint(answer) as endpoint:
        judge = make(endpoint.url, tmp_path, timeout_s=patience(kind), attempts=2, parallel=1)
        with pytest.raises(JudgeError, match=r"2 attempts.*; 1 of 3 verdicts are kept in .*judge\.jsonl, and the same"):
            judge.judge(*documents(3))
        healed.append(True)
        assert make(endpoint.url, tmp_path).judge(*documents(3)) == expected(3)
    assert set(endpoint.answered.values()) == {1}


UNREADABLE = {
    "an empty content": completion(""),
    "no content": completion(None),
    "a refusal": completion(None, refusal="I can't help with that."),
    "words without a verdict": completion("I'm sorry, but as a language model I can't judge."),
    "both verdicts": completion("[[A]] or [[B]]"),
    "the same verdict twice": completion("[[A]] [[A]]"),
    "a letter without its brackets": completion("A"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_an_answer_without_a_verdict_is_asked_for_again_then_null_and_not_paid_for_once_more(kind, tmp_path):
    """The paper's protocol asks five times. Null is neither right nor wrong, and a second call sends nothing."""

    def answer(question: str, times: int) -> Response:
        return UNREADABLE[kind] if number_of(question) == 1 else right_answer(question)

    with ScriptedEndpoint(answer) as endpoint:
        judge = make(endpoint.url, tmp_path)
        assert judge.judge(*documents(3)) == [0.0, None, 1.0]
        account = judge.take_account()
        assert (account["requests"], account["unread"], account["null"], account["failed"]) == (7, 5, 1, 0)
        again = make(endpoint.url, tmp_path)
        assert again.judge(*documents(3)) == [0.0, None, 1.0]
        assert again.take_account()["requests"] == 0
    assert sorted(endpoint.asked.values()) == [1, 1, 5]


def test_a_verdict_at_the_fifth_answer_counts(tmp_path):
    with ScriptedEndpoint(lambda q, times: completion("hm" if times < 5 else "[[B]]")) as endpoint:
        assert make(endpoint.url, tmp_path).judge(*documents(1)) == [0.0]


REFUSED = {
    "a prompt too long": failure(400, "This model's maximum context length is 8192 tokens", "context_length_exceeded"),
    "a filtered prompt": failure(400, "The response was filtered: content management policy", "content_filter"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_question_that_the_endpoint_does_not_take_is_null_and_asked_once(kind, tmp_path):
    def answer(question: str, times: int) -> Response:
        return REFUSED[kind] if number_of(question) == 1 else right_answer(question)

    with ScriptedEndpoint(answer) as endpoint:
        judge = make(endpoint.url, tmp_path)
        assert judge.judge(*documents(3)) == [0.0, None, 1.0]
    assert set(endpoint.asked.values()) == {1}
    assert judge.take_account()["refused"] == 1


FATAL = {
    "a wrong key": (failure(401, "Incorrect API key provided: sk-sec***"), r"refuses the key in SOME_KEY \(HTTP 401\)"),
    "a forbidden model": (failure(403), r"refuses the key in SOME_KEY \(HTTP 403\)"),
    "an unknown model": (failure(404, "The model `x` does not exist"), r"HTTP 404: The model `x` does not exist"),
    "a spent quota": (failure(429, "You exceeded your quota", "insufficient_quota"), "quota is spent"),
    "an unknown field": (failure(400, "Unrecognized request argument: logprob"), r"HTTP 400: Unrecognized"),
    "a wait of an hour": (failure(429, "slow down", retry_after="3600"), r"asks to come back in 3600 s"),
}


@pytest.mark.parametrize("kind", FATAL)
def test_what_no_retry_can_mend_ends_at_once_and_does_not_name_the_key(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "sk-secret-of-mine")
    response, message = FATAL[kind]
    with ScriptedEndpoint(lambda *_: response) as endpoint:
        judge = make(endpoint.url, tmp_path, api_key_env="SOME_KEY", parallel=1)
        with pytest.raises(JudgeError, match=message) as caught:
            judge.judge(*documents(5))
    assert endpoint.asked.total() == 1
    assert endpoint.keys == {"Bearer sk-secret-of-mine"}
    assert "\n" not in str(caught.value)
    assert "sk-sec" not in str(caught.value) + (tmp_path / "judge.jsonl").read_text()


def test_a_servers_message_that_repeats_the_key_is_shown_without_it(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "sk-secret-of-mine")
    with (
        ScriptedEndpoint(lambda *_: failure(400, "bad header: Bearer sk-secret-of-mine!")) as endpoint,
        pytest.raises(JudgeError, match=r"bad header: Bearer \*\*\*!"),
    ):
        make(endpoint.url, tmp_path, api_key_env="SOME_KEY").judge(*documents(1))


def test_nobody_at_the_address_is_an_error_before_anything_is_generated(tmp_path):
    with ScriptedEndpoint(lambda *_: failure(500)) as endpoint:
        pass
    with pytest.raises(JudgeError, match=r"127\.0\.0\.1.* cannot be reached: .*; nothing was sent") as caught:
        make(endpoint.url, tmp_path).accept()
    assert "\n" not in str(caught.value)


def test_an_endpoint_without_a_list_of_models_is_there_and_one_that_refuses_the_key_is_not(tmp_path):
    with ScriptedEndpoint(lambda *_: failure(500), models=failure(404)) as endpoint:
        make(endpoint.url, tmp_path).accept()
    with (
        ScriptedEndpoint(lambda *_: failure(500), models=failure(401)) as endpoint,
        pytest.raises(JudgeError, match="refuses requests without a key"),
    ):
        make(endpoint.url, tmp_path).accept()


def test_verdicts_at_hand_need_no_endpoint(tmp_path, capsys):
    """accept says that it is not there; judging what is known sends nothing."""
    with ScriptedEndpoint(lambda question, _: right_answer(question)) as endpoint:
        make(endpoint.url, tmp_path).judge(*documents(4))
    judge = make(endpoint.url, tmp_path)
    judge.accept()
    assert "going on with the verdicts in" in capsys.readouterr().err
    assert judge.judge(*documents(4)) == expected(4)
    with pytest.raises(JudgeError, match=r"4 of 5 verdicts are kept"):
        judge.judge(*documents(5))


def test_sixty_questions_through_a_storm_come_out_right_and_are_paid_for_once(tmp_path):
    """Each question meets up to three failures of its own, drawn from its number."""
    kinds = [response for kind, response in FAILURES.items() if "timeout" not in kind and "drips" not in kind]

    def answer(question: str, times: int) -> Response:
        n = number_of(question)
        return kinds[(7 * n + times) % len(kinds)] if times <= n % 4 else right_answer(question)

    with ScriptedEndpoint(answer) as endpoint:
        judge = make(endpoint.url, tmp_path, parallel=8)
        assert judge.judge(*documents(60)) == expected(60)
        assert set(endpoint.answered.values()) == {1}
        assert len(endpoint.answered) == 60
        assert endpoint.asked.total() == 60 + 15 * (0 + 1 + 2 + 3)
        assert 2 <= endpoint.most_at_once <= 8
        assert make(endpoint.url, tmp_path).judge(*documents(60)) == expected(60)
        assert endpoint.asked.total() == 150
