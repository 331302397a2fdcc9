"""The `openai` engine and a server that fails in the ways servers do: nothing lost or made up, no key shown."""

import time

import pytest

from eval.engines import open_engine, served
from eval.errors import InputError
from tests.eval.engines.server import Scripted, free_port

KEY = "sk-very-secret-0123456789"


@pytest.fixture(autouse=True)
def _quickly(monkeypatch):
    """Waits of milliseconds, a key in the environment, and no proxy."""
    monkeypatch.setenv("SOME_KEY", KEY)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    monkeypatch.setattr(served, "FIRST_WAIT", 0.01)


@pytest.fixture
def start(pico):
    """start(kind, failures, extra): a scripted server that makes token ids as the model's tokenizer does."""
    servers = []
    reference = open_engine("hf", pico)

    def run(**options):
        servers.append(Scripted(lambda text: reference.tokenizer(text)["input_ids"], **options))
        return servers[-1]

    yield run
    for server in servers:
        server.shutdown()


def connect(server, pico, **settings):
    options = {"url": server.url, "api_key_env": "SOME_KEY", "retries": 3, "timeout_s": 1.0, "concurrency": 4}
    return open_engine("openai", pico, **{**options, **settings})


FAILURES = (429, 500, 503, "timeout", "cut", "malformed", "empty")


@pytest.mark.parametrize("kind", ["tokens", "ids", "text"])
def test_what_a_server_takes_is_found_out_and_every_prompt_gets_its_own_answer(kind, start, pico, prompts, ask):
    server = start(kind=kind)
    engine = connect(server, pico)
    assert engine.takes == kind
    answers = ask(engine, prompts[:10], until=["stop"], limit=7)
    lengths = [len(engine.lm.encode(prompt)) for prompt in prompts[:10]]
    if kind == "tokens":
        assert answers == engine.tokenizer.batch_decode([[length % 256 + 3] for length in lengths])
    else:
        assert answers == [f" {length} " for length in lengths]  # cut before "stop"
    sent = server.asked[-1]
    assert sent["temperature"] == 0
    assert sent["max_tokens"] == 7
    assert sent["stop"] == ["stop"]
    assert isinstance(sent["prompt"], str if kind == "text" else list)
    assert ("stop_token_ids" in sent) == (kind == "tokens")
    assert server.keys == {f"Bearer {KEY}"}
    engine.close()


@pytest.mark.parametrize("failure", FAILURES, ids=str)
def test_a_request_that_fails_is_sent_again_until_it_is_answered(failure, start, pico, prompts, ask):
    """Five failures among ten prompts: ten answers all the same, each asked and answered once."""
    server = start(kind="ids", failures=(failure,) * 5)
    engine = connect(server, pico, retries=6)
    answers = ask(engine, prompts[:10])
    assert answers == [f" {len(engine.lm.encode(prompt))} stop here" for prompt in prompts[:10]]
    assert len(server.asked) == 10
    assert server.failures == []
    engine.close()


@pytest.mark.parametrize(
    ("failure", "says"),
    [
        (429, "told to fail"),
        (500, "told to fail"),
        ("timeout", r"gave no answer in 0\.2 s, after 3 tries: raise engine\.timeout_s"),
        ("cut", "cannot be reached, after 3 tries: start the server, or correct engine.url"),
        ("malformed", "answered 3 times with something that is no completion"),
        ("empty", "answered 3 times with something that is no completion"),
        (401, "refuses the key: set the environment variable SOME_KEY"),
        (404, "told to fail"),
    ],
    ids=str,
)
def test_a_request_that_goes_on_failing_is_one_line_and_no_answer(failure, says, start, pico, prompts, ask):
    server = start(kind="ids", failures=(failure,) * 100)
    engine = connect(server, pico, retries=2, timeout_s=0.2 if failure == "timeout" else 1.0)
    with pytest.raises(InputError, match=says) as error:
        ask(engine, prompts[:6])
    assert "\n" not in str(error.value)
    assert KEY not in str(error.value)
    engine.close()


def test_after_a_failure_for_good_no_further_prompt_is_sent(start, pico, prompts, ask):
    server = start(kind="ids", failures=(401,) * 100)
    engine = connect(server, pico, concurrency=1)
    with pytest.raises(InputError, match="refuses the key"):
        ask(engine, prompts[:20])
    assert len(server.failures) == 99
    engine.close()


@pytest.mark.parametrize("extra", [1, -1])
def test_a_doubled_or_missing_bos_at_the_server_is_refused(extra, start, pico, prompts, ask):
    """It counts one token more, or less, than the tokenizer of the model's folder."""
    server = start(kind="text", extra=max(extra, 0))
    if extra < 0:
        encode = server.encode
        server.encode = lambda text: encode(text)[1:]
    engine = connect(server, pico)
    with pytest.raises(
        InputError, match=r"counts \d+ tokens in a prompt that has \d+: BOS is doubled or missing there"
    ):
        ask(engine, prompts[:1])
    engine.close()


def test_a_prompt_with_a_bos_of_its_own_is_sent_without_it_to_a_server_that_adds_one(start, pico, ask):
    server = start(kind="text")
    engine = connect(server, pico)
    assert ask(engine, ["<s>Tom has apples"]) == ask(engine, ["Tom has apples"])
    assert [asked["prompt"] for asked in server.asked] == ["Tom has apples"] * 2
    engine.close()


def test_no_more_than_the_wished_number_of_requests_is_under_way(start, pico, prompts, ask):
    server = start(kind="ids")
    under_way, most = [0], [0]
    answer = server.RequestHandlerClass._answer

    def slowly(handler, asked):
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])
        time.sleep(0.05)
        under_way[0] -= 1
        answer(handler, asked)

    server.RequestHandlerClass = type("Slow", (server.RequestHandlerClass,), {"_answer": slowly})
    engine = connect(server, pico, concurrency=3)
    ask(engine, prompts[:12])
    assert most[0] == 3
    engine.close()


def test_a_server_that_cannot_swap_weights_says_so(start, pico):
    engine = connect(start(kind="ids"), pico)
    with pytest.raises(
        InputError, match="offers no way to swap weights: start vLLM's server with VLLM_SERVER_DEV_MODE=1"
    ):
        engine.swap(pico)
    with pytest.raises(TypeError, match="swap\\(folder\\)"):
        engine.swap({})
    engine.close()


def test_a_server_that_is_not_there_or_serves_another_model_is_one_line(start, pico):
    with pytest.raises(InputError, match=r"cannot be reached, after 1 tries: start the server, or correct engine\.url"):
        open_engine("openai", pico, url=f"http://127.0.0.1:{free_port()}/v1", retries=0)
    with pytest.raises(InputError, match=r"serves no model big: write engine\.served=, one of tiny"):
        connect(start(kind="ids"), pico, served="big")
