"""Picture server for test clusters: `python pictures.py [PORT]`, 8080 by default. Standard library only.

/picture/<n>.png              a PNG of 64x64, other bytes for each n; a query is ignored
/slow/<seconds>/<n>.png       the same, its body spread over that many seconds
/status/<code>/<anything>     that status
/flaky/<key>/<times>/<n>.png  503 for the first <times> requests of that key, then picture n
/healthz                      200
/requests                     JSON: number of requests by path
"""

from __future__ import annotations

import json
import re
import signal
import struct
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from urllib.parse import urlsplit

SIDE_PX = 64
_PIECES = 20
_LONGEST_S = 600.0


def picture(number: int) -> bytes:
    """Build a PNG with a chequered pattern that no other number has."""
    ink, paper = bytes((number >> shift) & 0xFF for shift in (0, 8, 16)), bytes((255, 255, 255))
    squares = ((ink, paper), (paper, ink))
    rows = (
        b"\0" + b"".join(squares[row // 8 % 2][column // 8 % 2] for column in range(SIDE_PX)) for row in range(SIDE_PX)
    )
    header = struct.pack("!IIBBBBB", SIDE_PX, SIDE_PX, 8, 2, 0, 0, 0)
    # In a text of its own too: past 24 bits the colours begin again.
    text = b"Comment\0" + str(number).encode()
    chunks = ((b"IHDR", header), (b"tEXt", text), (b"IDAT", zlib.compress(b"".join(rows))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, body) for name, body in chunks)


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack("!I", len(body)) + name + body + struct.pack("!I", zlib.crc32(name + body))


class Visits:
    """Number of requests by path, counted from many threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._by_path: Counter[str] = Counter()

    def count(self, path: str) -> int:
        """Count a request for `path` and return their number."""
        with self._lock:
            self._by_path[path] += 1
            return self._by_path[path]

    def as_json(self) -> bytes:
        """Return all counts."""
        with self._lock:
            return json.dumps(self._by_path, sort_keys=True).encode()


class PictureServer(ThreadingHTTPServer):
    """HTTP server of the pictures."""

    daemon_threads = True
    # A hundred pods may come at once.
    request_queue_size = 1024

    def __init__(self, host: str = "0.0.0.0", port: int = 8080) -> None:
        self.visits = Visits()
        self.failures = Visits()
        super().__init__((host, port), _Answers)


class _Answers(BaseHTTPRequestHandler):
    server: PictureServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer unless the client is gone."""
        try:
            self._answer(urlsplit(self.path).path)
        except ConnectionError:
            self.close_connection = True

    def _answer(self, path: str) -> None:
        """Answer with the first route that matches the path."""
        if path not in ("/healthz", "/requests"):
            self.server.visits.count(path)
        for pattern, answer in _ROUTES:
            if found := re.fullmatch(pattern, path):
                answer(self, *found.groups())
                return
        self._say(404)

    def picture(self, number: str) -> None:
        """Send the whole picture at once."""
        self._say(200, "image/png", picture(int(number)))

    def slow(self, seconds: str, number: str) -> None:
        """Send the picture in pieces with pauses between them."""
        body = picture(int(number))
        self._head(200, "image/png", len(body))
        size = -(-len(body) // _PIECES)
        for start in range(0, len(body), size):
            time.sleep(min(float(seconds), _LONGEST_S) / _PIECES)
            self.wfile.write(body[start : start + size])

    def status(self, code: str) -> None:
        """Send that status without a picture."""
        self._say(int(code))

    def flaky(self, key: str, times: str, number: str) -> None:
        """Send 503 for the first requests of the key, then the picture."""
        if self.server.failures.count(key) <= int(times):
            self._say(503)
        else:
            self.picture(number)

    def healthz(self) -> None:
        """Send 200."""
        self._say(200)

    def requests(self) -> None:
        """Send the counts of all paths."""
        self._say(200, "application/json", self.server.visits.as_json())

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the name it has in the base
        """Print one line for each request except those of probes."""
        if self.path != "/healthz":
            print(f"{self.address_string()} {format % arguments}", flush=True)

    def _say(self, code: int, content_type: str = "text/plain", body: bytes = b"") -> None:
        self._head(code, content_type, len(body))
        self.wfile.write(body)

    def _head(self, code: int, content_type: str, length: int) -> None:
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(length))
        self.end_headers()


_ROUTES: tuple[tuple[str, Callable[..., None]], ...] = (
    (r"/picture/(\d{1,18})\.png", _Answers.picture),
    (r"/slow/(\d{1,3}(?:\.\d+)?)/(\d{1,18})\.png", _Answers.slow),
    (r"/status/([2-5]\d\d)/.*", _Answers.status),
    (r"/flaky/([^/]+)/(\d{1,6})/(\d{1,18})\.png", _Answers.flaky),
    (r"/healthz", _Answers.healthz),
    (r"/requests", _Answers.requests),
)


def main() -> None:
    """Serve until SIGTERM."""
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8080
    # The first process of a container hears no signal that it does not ask for.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with PictureServer(port=port) as server:
        print(f"pictures on port {server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
