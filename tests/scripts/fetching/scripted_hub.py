"""A model hub on loopback that answers as huggingface_hub asks, and fails as networks and licences do.

with ScriptedHub({"owner/base": Repository({"config.json": b"{}", "model.safetensors": b"..."})}) as hub:
    hub.url                                 # for HF_ENDPOINT
    hub.fail["model.safetensors"] = ["cut 12000000", 500, "spoilt"]   # of the next GETs of the file, one each
    hub.asked                               # every request: method, path, Range, Authorization

Files of more than a kilobyte are "large": stored with their SHA-256, redirected to another host (localhost for
127.0.0.1), as the hub does with its object store. What it was imitated from is huggingface_hub 2.4.0's own code: no
request was ever compared with the real hub's answer.
"""

import hashlib
import json
import socket
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

LARGE = 1024
FIRST, SECOND = "1" * 40, "2" * 40


@dataclass
class Repository:
    """files: name -> content at the newest commit; commits: further ones; token: who may read a gated one."""

    files: dict[str, bytes]
    head: str = FIRST
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    token: str | None = None

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        if revision in ("main", self.head):
            return self.head, self.files
        return (revision, self.commits[revision]) if revision in self.commits else None


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str
    range: str | None
    authorization: str | None
    host: str


def blob_of(content: bytes) -> str:
    """git's name of a file's content."""
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


class Handler(BaseHTTPRequestHandler):
    hub: "ScriptedHub"
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_HEAD(self):
        self._answer()

    def do_GET(self):
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        headers = self.headers
        asked = Asked(self.command, path, headers["Range"], headers["Authorization"], headers["Host"])
        if path == "/api/agent-harnesses":  # what huggingface_hub looks up about its caller
            self._refuse(404)
            return
        self.hub.asked.append(asked)
        parts = path.strip("/").split("/")
        if path.startswith("/large/"):
            self._content(parts[2], self.hub.large[parts[1]], {})
        elif parts[:2] == ["api", "models"] and parts[4:5] == ["revision"]:
            self._info("/".join(parts[2:4]), parts[5])
        elif parts[2:3] == ["resolve"]:
            self._file("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        else:
            self._refuse(404)

    def _info(self, name: str, revision: str) -> None:
        if (status := self.hub.take("info")) is not None:
            self._refuse(int(status))
            return
        repository = self.hub.repositories.get(name)
        if repository is None:
            self._refuse(401, "RepoNotFound")
            return
        found = repository.at(revision)
        if found is None:
            self._refuse(404, "RevisionNotFound")
            return
        commit, files = found
        rows = []
        for file, content in files.items():
            row = {"rfilename": file, "size": len(content), "blobId": blob_of(content)}
            if len(content) > LARGE:
                row["lfs"] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "pointerSize": 134}
            rows.append(row)
        gated = "manual" if repository.token else False
        body = {"id": name, "modelId": name, "sha": commit, "gated": gated, "private": False, "siblings": rows}
        self._send(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def _file(self, name: str, revision: str, file: str) -> None:
        repository = self.hub.repositories[name]
        if repository.token and self.headers["Authorization"] != f"Bearer {repository.token}":
            self._refuse(403 if self.headers["Authorization"] else 401, "GatedRepo")
            return
        commit, files = repository.at(revision) or ("", {})
        content = files[file]
        headers = {"X-Repo-Commit": commit}
        if len(content) <= LARGE:
            self._content(file, content, {**headers, "ETag": f'"{blob_of(content)}"'})
            return
        digest = hashlib.sha256(content).hexdigest()
        self.hub.large[digest] = content
        headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
        place = f"http://localhost:{self.server.server_port}/large/{digest}/{file}"
        self._send(302, b"", {**headers, "Location": place})

    def _content(self, file: str, content: bytes, headers: dict[str, str]) -> None:
        """A file, or the rest of it from where the Range says; or the failure that is next."""
        failure = self.hub.take(file) if self.command == "GET" else None
        if isinstance(failure, int):
            self._refuse(failure)
            return
        content = bytes(reversed(content)) if failure == "spoilt" else content
        status, start = 200, 0
        if (wanted := self.headers["Range"]) and failure != "whole":
            status, start = 206, int(wanted.removeprefix("bytes=").rstrip("-"))
            headers = {**headers, "Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        rest = content[start:]
        kind, _, number = str(failure or "").partition(" ")
        cut = int(number) if kind in ("cut", "hang") else None
        self._send(status, rest, headers, cut, hang=kind == "hang")

    def _send(self, status: int, body: bytes, headers: dict, cut: int | None = None, hang: bool = False) -> None:
        try:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body if cut is None else body[:cut])
                self.wfile.flush()
            if hang:
                self.hub.hanging.set()
                self.hub.over.wait()
            if cut is not None:
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
        except OSError:  # the client has gone
            self.close_connection = True

    def _refuse(self, status: int, code: str | None = None) -> None:
        headers = {"X-Error-Code": code} if code else {}
        if status == 429:
            headers["Retry-After"] = "0"
        self._send(status, b"", headers)

    def log_message(self, *_):
        pass


class ScriptedHub:
    """A server in a thread. fail: file (or "info") -> what its next GETs meet: a status; "cut N" and "hang N" after N
    bytes; "spoilt" (other content of the same length); "whole" (the Range is ignored)."""

    def __init__(self, repositories: dict[str, Repository]):
        self.repositories = repositories
        self.fail: dict[str, list] = {}
        self.asked: list[Asked] = []
        self.large: dict[str, bytes] = {}
        self.hanging, self.over = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": self}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def take(self, what: str):
        with self._lock:
            return self.fail[what].pop(0) if self.fail.get(what) else None

    def ranges(self, file: str) -> list[str | None]:
        """The Range of each GET of a file's content, in order."""
        names = (f"/{file}",)
        kept = [a for a in self.asked if a.method == "GET" and a.path.endswith(names)]
        return [a.range for a in kept if a.path.startswith("/large/") or "/resolve/" in a.path]

    def wait_for(self, condition, seconds: float = 60.0) -> None:
        """Waits until a condition holds. Raises TimeoutError."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError
            time.sleep(0.02)

    def __enter__(self) -> "ScriptedHub":
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
