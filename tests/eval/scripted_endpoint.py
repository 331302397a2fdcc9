"""An OpenAI-compatible endpoint on loopback that answers as a test says, and fails in every way that providers do.

with ScriptedEndpoint(lambda question, time: completion("[[A]]")) as endpoint:
    endpoint.url          # http://127.0.0.1:PORT/v1
    endpoint.asked        # how often each question (the last message's text) came
    endpoint.answered     # how often each was answered as a provider charges for: with a whole completion
"""

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Response:
    """What is sent: a status, a body, and how. `delay` seconds pass before; `cut` sends half the body and hangs up;
    `drip` sends a byte every so many seconds."""

    body: bytes
    status: int = 200
    headers: dict = field(default_factory=dict)
    delay: float = 0.0
    cut: bool = False
    drip: float = 0.0
    paid: bool = False


def completion(text: str | None, top: dict[str, float] | None = None, usage: bool = True, **message) -> Response:
    """A chat completion; `top`: logprobs of the first token's candidates."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text, **message}}
    if top is not None:
        candidates = [{"token": token, "logprob": logprob, "bytes": None} for token, logprob in top.items()]
        choice["logprobs"] = {"content": [{**candidates[0], "top_logprobs": candidates}]}
    body = {"id": "x", "object": "chat.completion", "created": 0, "model": "scripted", "choices": [choice]}
    if usage:
        body["usage"] = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    return Response(json.dumps(body).encode(), paid=True)


def failure(status: int, message: str = "no", code: str | None = None, **headers: str) -> Response:
    """An error as the API words it; headers with _ for -."""
    body = {"error": {"message": message, "type": "x", "param": None, "code": code}}
    return Response(json.dumps(body).encode(), status, {k.replace("_", "-"): v for k, v in headers.items()})


Answer = Callable[[str, int], Response]


class Handler(BaseHTTPRequestHandler):
    """Sends what an endpoint answers."""

    endpoint: "ScriptedEndpoint"
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        self._send(self.endpoint.models)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.endpoint.keys.add(self.headers["Authorization"])
        question, response = self.endpoint._take(body)
        try:
            if self._send(response) and response.paid:
                with self.endpoint._lock:
                    self.endpoint.answered[question] += 1
        finally:
            with self.endpoint._lock:
                self.endpoint.at_once -= 1

    def _send(self, response: Response) -> bool:
        time.sleep(response.delay)
        try:
            self.send_response(response.status)
            for name, value in {"Content-Type": "application/json", **response.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(response.body)))
            self.end_headers()
            if response.cut:
                self.wfile.write(response.body[: len(response.body) // 2])
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                return False
            pieces = [response.body] if not response.drip else [bytes([byte]) for byte in response.body]
            for piece in pieces:
                self.wfile.write(piece)
                time.sleep(response.drip)
        except OSError:  # the client has gone
            self.close_connection = True
            return False
        return True

    def log_message(self, *_):
        pass


class ScriptedEndpoint:
    """A server in a thread; `answer(question, time)` gives the response, `time` counting from 1 for each question."""

    def __init__(self, answer: Answer, models: Response | None = None):
        self.answer = answer
        self.models = models or Response(b'{"object": "list", "data": [{"id": "scripted", "object": "model"}]}')
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.times: dict[str, list[float]] = {}
        self.bodies: list[dict] = []
        self.keys: set[str | None] = set()
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"endpoint": self}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def _take(self, body: dict) -> tuple[str, Response]:
        question = body["messages"][-1]["content"]
        with self._lock:
            self.asked[question] += 1
            self.bodies.append(body)
            self.times.setdefault(question, []).append(time.monotonic())
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            time_ = self.asked[question]
        return question, self.answer(question, time_)

    def __enter__(self) -> "ScriptedEndpoint":
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._server.shutdown()
        self._server.server_close()
