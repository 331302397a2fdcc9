"""Servers for the tests of the `openai` engine: one that fails as it is told, and vLLM's own on loopback."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


class Scripted(ThreadingHTTPServer):
    """Answers completions; `failures` are what the next requests get instead, one each.

    A failure is a status, "timeout", "cut" (the line goes dead), "malformed" (no JSON) or "empty" (no choices). kind:
    "tokens" and "ids" as vLLM and as a server that returns text; "text" refuses token ids. extra: tokens that it counts
    in a prompt beyond those of `encode`. asked: what was answered; keys: what came as authorization.
    """

    daemon_threads = True

    def __init__(self, encode, kind: str = "text", failures: tuple = (), extra: int = 0):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.encode, self.kind, self.failures, self.extra = encode, kind, list(failures), extra
        self.asked: list[dict] = []
        self.keys: set[str] = set()
        self.lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address) -> None:
        """Lines that were cut are no news."""


class _Handler(BaseHTTPRequestHandler):
    server: Scripted

    def log_message(self, *arguments) -> None:
        pass

    def do_GET(self) -> None:
        cards = [{"id": "tiny", "object": "model", "created": 0, "owned_by": "test"}]
        if self.path == "/v1/models":
            self._send(200, {"object": "list", "data": cards})
        else:
            self._send(404, {"error": {"message": "no such path"}})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        with server.lock:
            server.keys.add(self.headers.get("Authorization", ""))
            is_probe = asked["max_tokens"] == 1
            failure = server.failures.pop(0) if server.failures and not is_probe else None
            if failure is None and not is_probe:
                server.asked.append(asked)
        if failure == "timeout":
            time.sleep(1.5)
        if failure in ("timeout", "cut"):
            self.connection.shutdown(socket.SHUT_RDWR)
        elif failure == "malformed":
            self._send_bytes(200, b"{ no json")
        elif failure == "empty":
            self._send(200, {"id": "x", "object": "text_completion", "created": 0, "model": "tiny", "choices": []})
        elif failure is not None:
            self._send(failure, {"error": {"message": f"told to fail, key {self.headers.get('Authorization')}"}})
        elif isinstance(asked["prompt"], list) and server.kind == "text":
            self._send(400, {"error": {"message": "prompt must be text"}})
        elif "return_token_ids" in asked and server.kind != "tokens":
            self._send(400, {"error": {"message": "unknown field return_token_ids"}})
        else:
            self._answer(asked)

    def _answer(self, asked: dict) -> None:
        """The answer is the prompt's number of tokens, so that answers can be told apart."""
        prompt = asked["prompt"]
        ids = prompt if isinstance(prompt, list) else self.server.encode(prompt) + [0] * self.server.extra
        choice = {"index": 0, "text": f" {len(ids)} stop here", "finish_reason": "length", "logprobs": None}
        if self.server.kind == "tokens":
            choice |= {"prompt_token_ids": ids, "token_ids": [len(ids) % 256 + 3]}
        usage = {"prompt_tokens": len(ids), "completion_tokens": 1, "total_tokens": len(ids) + 1}
        body = {"id": "x", "object": "text_completion", "created": 0, "model": "tiny"}
        self._send(200, body | {"choices": [choice], "usage": usage})

    def _send(self, status: int, body: dict) -> None:
        self._send_bytes(status, json.dumps(body).encode())

    def _send_bytes(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def free_port() -> int:
    """A port of loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def vllm_server(model: Path, folder: Path, *options: str, dev: bool = True) -> Iterator[str]:
    """vLLM's OpenAI server on loopback, as its own documentation starts it; yields its address, up to /v1."""
    port = free_port()
    environment = {
        **os.environ,
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_PLUGINS": "",
        "HF_HUB_OFFLINE": "1",
        "TORCHDYNAMO_DISABLE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": "1",
        "VLLM_SERVER_DEV_MODE": str(int(dev)),
    }
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--dtype", "float32", "--enforce-eager", "--kv-cache-memory-bytes", str(2**28)]
    command += ["--served-model-name", "tiny", *options]
    log = (folder / "server.log").open("wb")
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process, folder / "server.log")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def wait_for(address: str, process: subprocess.Popen, log: Path, seconds: float = 240) -> None:
    """Until a server answers. Raises AssertionError with the end of its log where it does not."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            opener.open(address, timeout=2)
        except OSError:
            time.sleep(0.3)
        else:
            return
    raise AssertionError(log.read_text(errors="replace")[-3000:])
