"""The picture server of test clusters, as it runs there: one program, standard library only."""

from __future__ import annotations

import http.client
import io
import json
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from stack import Process, free_port, wait_until
from stack.jobs import ROOT
from stack.ports import HOST
from stack.servers import http_status

PROGRAM = ROOT / "tests/e2e/servers/pictures.py"


class PictureServer(Process):
    """`python pictures.py PORT`."""

    def __init__(self, folder: Path) -> None:
        super().__init__("pictures", folder / "pictures.log")
        self.port = free_port()

    def prepare(self) -> None:
        """Prepare nothing: the port is free."""

    def command(self) -> list[str]:
        # Without site packages and PYTHONPATH: the image has none.
        return [sys.executable, "-I", "-S", str(PROGRAM), str(self.port)]

    def answers(self) -> bool:
        return http_status(f"http://{HOST}:{self.port}/healthz") == 200

    def get(self, path: str) -> tuple[int, bytes]:
        """Return status and body."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=20)
        connection.request("GET", path)
        response = connection.getresponse()
        status, body = response.status, response.read()
        connection.close()
        return status, body

    def counts(self) -> dict[str, int]:
        """Count the requests for each path."""
        counts: dict[str, int] = json.loads(self.get("/requests")[1])
        return counts


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PictureServer]:
    server = PictureServer(tmp_path_factory.mktemp("pictures"))
    server.start()
    yield server
    server.kill()


def test_each_number_is_a_picture_of_its_own(server: PictureServer) -> None:
    numbers = [*range(300), 2**24, 2**48]
    bodies = [server.get(f"/picture/{number}.png")[1] for number in numbers]
    assert len(set(bodies)) == len(numbers)
    for body in (bodies[0], bodies[1], bodies[-1]):
        with Image.open(io.BytesIO(body), formats=["PNG"]) as picture:
            picture.load()
            assert picture.size == (64, 64)


def test_a_number_is_the_same_picture_each_time_whatever_the_query(server: PictureServer) -> None:
    assert server.get("/picture/7.png") == server.get("/picture/7.png?again=1")


def test_a_slow_picture_begins_at_once_and_is_whole_in_the_end(server: PictureServer) -> None:
    connection = http.client.HTTPConnection(HOST, server.port, timeout=20)
    connection.request("GET", "/slow/1/7.png")
    response = connection.getresponse()
    first = response.read(8)
    assert server.get("/healthz")[0] == 200
    assert first + response.read() == server.get("/picture/7.png")[1]
    connection.close()


def test_a_client_that_leaves_in_the_middle_is_no_trouble(server: PictureServer) -> None:
    connection = http.client.HTTPConnection(HOST, server.port, timeout=20)
    connection.request("GET", "/slow/0.5/8.png")
    connection.getresponse().close()
    connection.close()
    assert server.get("/slow/1/8.png")[0] == 200
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("code", [204, 302, 404, 429, 503])
def test_any_status_can_be_had(server: PictureServer, code: int) -> None:
    assert server.get(f"/status/{code}/some/where.png") == (code, b"")


def test_a_flaky_picture_comes_after_its_failures_each_key_for_itself(server: PictureServer) -> None:
    statuses = [server.get("/flaky/a/2/7.png")[0] for _ in range(4)]
    assert statuses == [503, 503, 200, 200]
    assert server.get("/flaky/b/1/7.png")[0] == 503
    assert server.get("/flaky/b/1/7.png?x")[1] == server.get("/picture/7.png")[1]


def test_requests_are_counted_by_path_also_when_they_come_at_once(server: PictureServer) -> None:
    start = threading.Barrier(16)

    def ask(_: int) -> int:
        start.wait()
        return server.get("/picture/900.png?n")[0]

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, range(16))) == [200] * 16
    assert server.counts()["/picture/900.png"] == 16
    assert "/healthz" not in server.counts()


@pytest.mark.parametrize("path", ["/", "/picture/x.png", "/picture/-1.png", "/status/99/x", "/slow/abc/1.png"])
def test_any_other_path_is_not_found(server: PictureServer, path: str) -> None:
    assert server.get(path)[0] == 404


def test_sigterm_ends_it_though_it_is_the_first_process_of_its_container(tmp_path: Path) -> None:
    server = PictureServer(tmp_path)
    server.start()
    assert server.stop() == 0
    wait_until(lambda: http_status(f"http://{HOST}:{server.port}/healthz") is None)
