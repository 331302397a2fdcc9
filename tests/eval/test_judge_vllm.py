"""Judges behind a real server: vLLM's, with a tiny untrained model on loopback.

What it writes is nonsense, so that every verdict is null after the answers allowed; held to the words that a parser
reads (vLLM's structured outputs, a bias on two tokens), each has a verdict.
"""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest

from eval.errors import JudgeError
from tests.eval.pairs import GPT4, TURBO, judged, make, ranking
from tests.eval.solutions import documents
from tests.eval.solutions import make as make_solution_judge

pytestmark = pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed")

ROWS = [{"instruction": f"Greet {n}.", "output_1": f"Hello {n}.", "output_2": f"Dear {n}!"} for n in range(3)]
TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
CONTEXT = 4096
START_SECONDS = 300


def save_model(folder: Path) -> dict[str, int]:
    """An untrained Llama that takes chats of 4,096 tokens; the ids of the tokens `m` and `M`."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from tests.eval.engines.models import make_tokenizer

    torch.manual_seed(1)
    tokenizer = make_tokenizer()
    tokenizer.chat_template = TEMPLATE
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        initializer_range=0.2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return {letter: tokenizer.convert_tokens_to_ids(letter) for letter in "mM"}


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A running server: its url, the ids of `m` and `M`, and the process."""
    folder = tmp_path_factory.mktemp("served")
    tokens, port = save_model(folder / "model"), free_port()
    flags = {
        "--model": folder / "model",
        "--served-model-name": "scripted",
        "--host": "127.0.0.1",
        "--port": port,
        "--dtype": "float32",
        "--max-model-len": CONTEXT,
        "--kv-cache-memory-bytes": 2**28,
        "--logprobs-mode": "processed_logprobs",
    }
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--enforce-eager"]
    command += [str(part) for flag in flags.items() for part in flag]
    environment = {**os.environ, "VLLM_NO_USAGE_STATS": "1", "VLLM_PLUGINS": "", "TORCHDYNAMO_DISABLE": "1"}
    environment |= {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "")}
    log = folder / "log.txt"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not answers(port):
            assert process.poll() is None, f"the server ended:\n{log.read_text()[-3000:]}"
            assert time.monotonic() < deadline, f"the server does not answer:\n{log.read_text()[-3000:]}"
            time.sleep(0.5)
        yield SimpleNamespace(url=f"http://127.0.0.1:{port}/v1", tokens=tokens, process=process)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def test_nonsense_is_null_after_the_answers_allowed_and_counted(served, tmp_path):
    """Three pairs, three answers each, none of which ranks anything."""
    judge = make(served.url, tmp_path, GPT4, timeout_s=120.0)
    judge.accept([])
    assert judged(judge, ROWS) == [None, None, None]
    account = judge.take_accounts()["alpaca_eval"]
    assert [account[name] for name in ("asked", "requests", "unread", "null", "failed")] == [3, 9, 9, 3, 0]
    assert account["tokens_out"] == 9 * 100
    assert account["tokens_in"] > 9 * 300
    again = make(served.url, tmp_path, GPT4)
    assert judged(again, ROWS) == [None, None, None]
    assert again.take_accounts()["alpaca_eval"]["requests"] == 0


def test_a_ranking_is_read(served, tmp_path):
    """Held to the two rankings there are, the model chooses one for each pair."""
    choice = {"structured_outputs": {"choice": [ranking(1), ranking(2)]}, "max_tokens": 200}
    judge = make(served.url, tmp_path, GPT4, timeout_s=120.0, settings=choice)
    assert set(judged(judge, ROWS)) <= {0.0, 1.0}
    assert judge.take_accounts()["alpaca_eval"]["requests"] == 3


def test_a_weighted_verdict_is_read_from_logprobs(served, tmp_path):
    """A bias that leaves `m` and `M` alone: the verdict is between the two, as the model weighs them."""
    bias = {"logit_bias": {str(token): 100 for token in served.tokens.values()}}
    judge = make(served.url, tmp_path, TURBO, timeout_s=120.0, settings=bias)
    found = judged(judge, ROWS)
    assert all(0 < value < 1 for value in found)
    assert judge.take_accounts()["alpaca_eval"]["requests"] == 3


def test_solutions_are_judged_and_nonsense_is_null(served, tmp_path):
    """The paper's protocol asks five times."""
    docs, outputs = documents(2)
    judge = make_solution_judge(served.url, tmp_path, settings={"max_tokens": 8, "seed": 1}, timeout_s=120.0)
    assert judge.judge(docs, outputs) == [None, None]
    assert judge.take_account()["requests"] == 10
    held = {"structured_outputs": {"choice": ["[[A]]", "[[B]]"]}}
    judge = make_solution_judge(served.url, tmp_path, settings=held, timeout_s=120.0)
    assert set(judge.judge(docs, outputs)) <= {0.0, 1.0}


def test_a_pair_too_long_for_the_model_is_null_and_asked_about_once(served, tmp_path):
    rows = [{"instruction": "Greet.", "output_1": "Hello " * CONTEXT, "output_2": "Dear"}]
    judge = make(served.url, tmp_path, GPT4, timeout_s=120.0)
    assert judged(judge, rows) == [None]
    account = judge.take_accounts()["alpaca_eval"]
    assert [account[name] for name in ("requests", "refused", "null")] == [1, 1, 1]


def test_a_model_that_is_not_served_is_an_error(served, tmp_path):
    with pytest.raises(JudgeError, match=r"HTTP 404: .*another.*; 0 of 3 verdicts are kept"):
        judged(make(served.url, tmp_path, GPT4, model="another"), ROWS)
