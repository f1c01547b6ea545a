"""Web server on loopback with prepared answers: pictures, error pages, redirects, and 503 for a while."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from stack.ports import HOST


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer of a path. The first `refusals` requests get 503."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    refusals: float = 0


class WebServer(ThreadingHTTPServer):
    """Server of `answers` by path, and of 404 otherwise, while its `with` block lasts."""

    def __init__(self) -> None:
        super().__init__((HOST, 0), _Handler)
        self.answers: dict[str, Answer] = {}
        self.connections = 0
        self._requests: Counter[str] = Counter()

    @property
    def address(self) -> str:
        """`IP:port`."""
        return f"{HOST}:{self.server_port}"

    def url(self, path: str) -> str:
        """Return the URL of `path`, which begins with a slash."""
        return f"http://{self.address}{path}"

    def answer(self, path: str) -> Answer:
        """Count a request for `path` and return its answer."""
        self._requests[path] += 1
        answer = self.answers.get(path, Answer(status=404))
        return answer if self._requests[path] > answer.refusals else Answer(status=503)

    def verify_request(self, request: object, client_address: object) -> bool:
        """Count a connection."""
        self.connections += 1
        return True

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore a client that hangs up: a job that stops, or that finds the body too large."""

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, WebServer)
        answer = self.server.answer(self.path)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing: the demo has its own display."""
