"""What is sent to a judge's endpoint, how fast, at which cost, and which settings make sense."""

import hashlib
import json
import re
import time

import pytest

from eval.errors import InputError
from eval.judges.endpoint import Pace, retry_after
from eval.judges.gsm8k import SYSTEM, TEMPLATE, SolutionJudge
from eval.judges.settings import Endpoint
from tests.eval.scripted_endpoint import Response, ScriptedEndpoint, completion, failure
from tests.eval.solutions import QUICK, documents, expected, make, number_of, right_answer

RELEASED_SYSTEM = "81125f19345d9ec77acb6d08d873df9eada86e181b6f4374b496447a94f60fb8"
RELEASED_TEMPLATE = "2efe5c11ef3f81abe2815b52b3fd6dd983ce9f0dd1e0675c0efbe9a170397f3c"


def test_a_wait_that_the_server_asks_for_holds_for_every_request(tmp_path):
    """The first request is told to wait 0.5 s; no other starts before that has passed."""

    def answer(question: str, times: int) -> Response:
        first = number_of(question) == 0 and times == 1
        return failure(429, retry_after="0.5") if first else right_answer(question)

    with ScriptedEndpoint(answer) as endpoint:
        make(endpoint.url, tmp_path, parallel=1).judge(*documents(3))
    starts = sorted(start for times in endpoint.times.values() for start in times)
    assert starts[1] - starts[0] >= 0.5
    assert starts[-1] - starts[1] < 0.4


def test_requests_a_minute_are_spaced_evenly(tmp_path):
    """600 a minute are 0.1 s apart, so the sixth starts after half a second, however many may run at a time."""
    started = time.monotonic()
    with ScriptedEndpoint(lambda question, _: right_answer(question)) as endpoint:
        make(endpoint.url, tmp_path, requests_per_minute=600).judge(*documents(6))
    assert time.monotonic() - started >= 0.5
    pace = Pace(600)
    assert [pace.reserve(1) for _ in range(4)] == [pytest.approx(n / 10, abs=0.01) for n in range(4)]


def test_tokens_a_minute_space_requests_by_what_they_take():
    """60 a minute is one a second: after 30 tokens the next may start in 30 s; 10 fewer were used: in 20."""
    pace = Pace(60)
    assert pace.reserve(30) == 0
    assert pace.reserve(1) == pytest.approx(30, abs=0.1)
    pace.correct(-11)
    assert pace.reserve(1) == pytest.approx(20, abs=0.1)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "-3"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_seconds_in_milliseconds_and_as_a_date(headers, seconds):
    assert retry_after(headers) == seconds


def test_a_date_in_retry_after_is_waited_for():
    later = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 90))
    assert retry_after({"retry-after": later}) == pytest.approx(90, abs=2)


def test_the_estimate_comes_before_and_a_cost_above_the_limit_sends_nothing(tmp_path, capsys):
    with ScriptedEndpoint(lambda question, _: right_answer(question)) as endpoint:
        judge = make(endpoint.url, tmp_path, price_in=30, price_out=60, max_cost=0.01)
        with pytest.raises(InputError, match=r"nothing was sent: 2 verdicts .*: above judge\.max_cost=0\.01") as caught:
            judge.judge(*documents(2))
        assert "\n" not in str(caught.value)
        assert endpoint.asked.total() == 0
        dear = make(endpoint.url, tmp_path, price_in=30, price_out=60, max_cost=1.0)
        dear.judge(*documents(2))
    said = capsys.readouterr().err
    assert said.index("2 verdicts to ask for, about") < said.index("200 + 20 tokens, cost 0.0072")
    # 100 + 10 tokens each: 2 x (100 x 30 + 10 x 60) / 1,000,000.
    assert dear.take_account()["cost"] == pytest.approx(0.0072)
    assert dear.take_account()["cost"] == 0


def test_spending_stops_at_the_limit_when_answers_cost_more_than_estimated(tmp_path):
    """An answer is estimated at 300 tokens and comes with 10,000: after two, a third could pass the limit."""
    usage = {"prompt_tokens": 100, "completion_tokens": 10_000, "total_tokens": 10_100}

    def answer(question: str, times: int) -> Response:
        body = json.loads(right_answer(question).body)
        return Response(json.dumps({**body, "usage": usage}).encode(), paid=True)

    with ScriptedEndpoint(answer) as endpoint:
        judge = make(endpoint.url, tmp_path, price_in=1, price_out=100, max_cost=2.01, parallel=1)
        with pytest.raises(InputError, match=r"after 2 spent: above judge\.max_cost=2\.01; .*is kept"):
            judge.judge(*documents(9))
        assert endpoint.asked.total() == 2
        more = make(endpoint.url, tmp_path, price_in=1, price_out=100, max_cost=20)
        assert more.judge(*documents(9)) == expected(9)
    assert set(endpoint.asked.values()) == {1}


def test_tokens_are_estimated_where_the_endpoint_does_not_count_them(tmp_path):
    """The answer `[[A]]` has 5 bytes: 2 tokens at 4 bytes each."""
    with ScriptedEndpoint(lambda *_: completion("[[A]]", usage=False)) as endpoint:
        judge = make(endpoint.url, tmp_path)
        judge.judge(*documents(1))
    account = judge.take_account()
    text = len((SYSTEM + TEMPLATE.format(question="number 0", target="#### 0", response="so it is")).encode())
    assert account["tokens_out"] == 2
    assert account["tokens_in"] == pytest.approx(text / 4 + 8, abs=2)


def test_the_request_is_the_papers_to_the_character(tmp_path):
    """SHA-256 of the released system message and template (gpt4_as_judge_gsm8k.py), computed from that file's text; the
    request names a model and nothing else."""
    with ScriptedEndpoint(lambda *_: completion("[[A]]")) as endpoint:
        make(endpoint.url, tmp_path).judge([{"question": "q", "answer": "a"}], ["r"])
    (body,) = endpoint.bodies
    system, user = body.pop("messages")
    assert body == {"model": "scripted"}
    assert hashlib.sha256(system["content"].encode()).hexdigest() == RELEASED_SYSTEM
    assert hashlib.sha256(TEMPLATE.encode()).hexdigest() == RELEASED_TEMPLATE
    assert (system["role"], user["role"]) == ("system", "user")
    assert user["content"] == "Question: q\nReference Solution: a\n\nResponse: r\n\nFinal Verdict:<verdict>."


def test_a_response_that_holds_the_tag_for_no_verdict_is_not_asked_about(tmp_path):
    with ScriptedEndpoint(lambda question, _: right_answer(question)) as endpoint:
        found = make(endpoint.url, tmp_path).judge(documents(2)[0], ["[[N]]", "so"])
    assert found == [None, 1.0]
    assert endpoint.asked.total() == 1


def test_equal_questions_are_asked_once(tmp_path):
    with ScriptedEndpoint(lambda question, _: right_answer(question)) as endpoint:
        docs, outputs = documents(2)
        assert make(endpoint.url, tmp_path).judge(docs * 3, outputs * 3) == [0.0, 1.0] * 3
    assert set(endpoint.asked.values()) == {1}


def test_another_model_prompt_field_or_output_is_another_question(tmp_path):
    with ScriptedEndpoint(lambda question, _: right_answer(question)) as endpoint:
        docs, outputs = documents(1)
        make(endpoint.url, tmp_path).judge(docs, outputs)
        make(endpoint.url, tmp_path, settings={"temperature": 0}).judge(docs, outputs)
        SolutionJudge(Endpoint(endpoint.url, "other", **QUICK), tmp_path / "judge.jsonl").judge(docs, outputs)
        make(endpoint.url, tmp_path).judge(docs, ["another output"])
        make(endpoint.url, tmp_path, parallel=2, answers=9).judge(docs, outputs)
    assert endpoint.asked.total() == 4
    assert endpoint.bodies[1]["temperature"] == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base_url": "127.0.0.1:8000"}, "judge.base_url=127.0.0.1:8000: write an address as"),
        ({"base_url": "http://me:word@host/v1"}, "judge.base_url holds a name, a password or a query"),
        ({"model": ""}, "judge.model is empty"),
        ({"api_key_env": "sk-abcdef"}, "judge.api_key_env is no name of an environment variable"),
        ({"parallel": 0}, "judge.parallel=0: write a whole number from 1"),
        ({"attempts": 0}, "judge.attempts=0"),
        ({"answers": 0}, "judge.answers=0"),
        ({"timeout_s": 0.0}, "judge.timeout_s=0: write a number above 0"),
        ({"timeout_s": float("nan")}, "judge.timeout_s=nan"),
        ({"requests_per_minute": 0.0}, "judge.requests_per_minute=0"),
        ({"price_in": -1.0}, "judge.price_in=-1: write a number from 0"),
        ({"max_cost": 5.0}, "judge.max_cost needs judge.price_in and judge.price_out"),
        ({"settings": {"model": "x"}}, "judge.settings.model: this field is the judge's own"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_one_line(change, message):
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        Endpoint(**{"base_url": "http://127.0.0.1:1/v1", "model": "m", **change})
    assert "\n" not in str(caught.value)
    assert "sk-abcdef" not in str(caught.value)


@pytest.mark.parametrize("value", [None, "", "two words", "line\nbreak"])
def test_a_key_that_is_not_there_or_can_be_none_is_refused_without_showing_it(value, monkeypatch):
    monkeypatch.delenv("SOME_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("SOME_KEY", value)
    with pytest.raises(InputError, match=r"judge\.api_key_env=SOME_KEY: ") as caught:
        Endpoint("http://127.0.0.1:1/v1", "m", api_key_env="SOME_KEY").key()
    assert not value or value not in str(caught.value)
