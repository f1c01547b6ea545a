"""Dead letters in the page of a login that may look but not act, and of one that may not even look."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from keda_jobs.domain.subjects import DEAD_LETTER
from stack import NatsServer, publish_raw
from stack.streams import apply_streams

from .conftest import StartViewer
from .test_ui_dead_letters import fields_of, rows

READ = '"$JS.API.INFO", "$JS.API.STREAM.INFO.*", "$JS.API.CONSUMER.*.>", "$JS.API.DIRECT.GET.>"'
USERS = """
no_auth_user: admin
authorization {
  users: [
    { user: admin, password: admin-password }
    { user: reader, password: reader-password, permissions: { publish: [%s], subscribe: ["_INBOX_reader.>"] } }
    { user: nobody, password: nobody-password, permissions: { publish: ["none"], subscribe: ["_INBOX_nobody.>"] } }
  ]
}
"""
EVENT = (
    b"NATS/1.0\r\nKeda-Jobs-Job: image-download\r\n\r\n",
    b'{"subject":"image-download","data":{},"num_delivered":1}',
)


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    """Start a NATS server with three users."""
    server = NatsServer(tmp_path / "stack", extra=USERS % READ)
    server.start()
    yield server
    server.kill()


async def test_a_login_that_may_only_read_gets_a_line_for_each_action(
    nats_server: NatsServer, start_viewer: StartViewer
) -> None:
    await apply_streams(nats_server.url)
    assert await publish_raw(nats_server, DEAD_LETTER, [EVENT]) == []
    viewer = await start_viewer(nats_user="reader", nats_password="reader-password")
    [number] = rows((await viewer.get("/dead-letters")).text)

    for what in ("purge", "replay"):
        page = await viewer.post(f"/dead-letters/{what}", {"seq": str(number)})
        assert page.path.startswith("/actions/")
        page = await viewer.until(page.path, lambda page: "Not finished" in page.words)
        assert "permissions violation for publish" in page.words.lower()
    survey = await viewer.get("/dead-letters/purge")
    page = await viewer.post("/dead-letters/purge", fields_of(survey.text))
    await viewer.until(page.path, lambda page: "permissions violation for publish" in page.words.lower())


async def test_a_login_without_rights_gets_a_line_on_every_view(
    nats_server: NatsServer, start_viewer: StartViewer
) -> None:
    await apply_streams(nats_server.url)
    viewer = await start_viewer(nats_user="nobody", nats_password="nobody-password")

    for path in ("/dead-letters", "/dead-letters/count"):
        page = await viewer.until(path, lambda page: "permissions violation" in page.words.lower())
        assert page.status == 200
    page = await viewer.get("/dead-letters/1")
    assert (page.status, "permissions violation" in page.words.lower()) == (503, True)
