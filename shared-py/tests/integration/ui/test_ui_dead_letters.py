"""Dead letters in the page: found, opened, replayed, deleted, whatever they hold."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from keda_jobs.domain.dead_letter import dead_letter
from keda_jobs.domain.identity import Identity
from keda_jobs.domain.message import Message
from keda_jobs.domain.policy import Dead
from keda_jobs.domain.subjects import DEAD_LETTER
from keda_jobs.jetstream.connection import connect
from keda_jobs.jetstream.publish import publish
from keda_jobs.jetstream.reader import read_all
from keda_jobs.settings import NatsSettings
from stack import NatsServer
from stack.waiting import until

from .conftest import StartViewer, Viewer

Bury = Callable[..., Awaitable[list[int]]]
EVENT = b'{"url": "https://a.example/%d.jpg", "price": 1.10}'


@pytest.fixture
def bury(nats_server: NatsServer) -> Bury:
    """Return a function that stores dead letters, and returns their numbers: `await bury(3, error_class="Timeout")`."""
    buried = 0

    async def store(
        count: int = 1,
        *,
        data: bytes = EVENT,
        job: str = "image-download",
        error_class: str = "NotFound",
        headers: dict[str, str] | None = None,
    ) -> list[int]:
        nonlocal buried
        sequences = []
        async with connect(NatsSettings(nats_url=nats_server.url), name="test", wait=False) as connection:
            for _ in range(count):
                buried += 1
                now = datetime.now(UTC)
                body = data.replace(b"%d", b"%d" % buried)
                identity = Identity.of(job, buried, now)
                message = Message("image-download", body, headers or {}, identity, 15, buried, now)
                dead = Dead(f"{error_class}: 404 for the picture", error_class)
                outgoing = dead_letter(message, job, dead, connection.max_payload, now)
                sequences.append((await publish(connection, outgoing)).sequence)
        return sequences

    return store


async def stored(server: NatsServer, subject: str) -> list[bytes]:
    """Return the bodies of the stored messages of a subject."""
    async with connect(NatsSettings(nats_url=server.url), name="test", wait=False) as connection:
        return [message.data async for message in read_all(connection, subject)]


def rows(text: str) -> list[int]:
    """Return the numbers in the table, from the top."""
    return [int(number) for number in re.findall(r'id="dead-(\d+)"', text)]


async def test_the_newest_are_on_the_first_page_and_the_rest_behind(viewer: Viewer, bury: Bury) -> None:
    sequences = await bury(120)

    first = await viewer.get("/dead-letters")
    assert rows(first.text) == sequences[:-51:-1]
    assert "50 of 120 shown" in first.words

    [older] = re.findall(r'href="([^"]*)">Older', first.text)
    second = await viewer.get(older)
    assert rows(second.text) == sequences[-51:-101:-1]

    [older] = re.findall(r'href="([^"]*)">Older', second.text)
    last = await viewer.get(older)
    assert rows(last.text) == sequences[19::-1]
    assert ">Older</a>" not in last.text


@pytest.mark.parametrize(
    ("filter_", "expected"),
    [
        ("class=Timeout", {"Timeout"}),
        ("job=image-resize", {"resize"}),
        ("text=PICTURE", {"NotFound", "Timeout", "resize", "text"}),
        ("text=needle", {"text"}),
        ("subject=image-download&class=NotFound", {"NotFound", "resize", "text"}),
        ("older=1h", set()),
        ("newer=1h&class=Timeout", {"Timeout"}),
        ("class=Timeout&job=image-resize", set()),
    ],
)
async def test_filters_find_what_matches_all_of_them(
    viewer: Viewer, bury: Bury, filter_: str, expected: set[str]
) -> None:
    sequences = {
        "NotFound": await bury(),
        "Timeout": await bury(error_class="Timeout"),
        "resize": await bury(job="image-resize"),
        "text": await bury(data=b"a Needle in the hay"),
    }

    page = await viewer.get(f"/dead-letters?{filter_}")

    assert rows(page.text) == sorted((sequences[name][0] for name in expected), reverse=True)
    if not expected:
        assert "No dead letter matches" in page.words


async def test_a_rare_one_is_found_among_other_events(viewer: Viewer, bury: Bury, nats_server: NatsServer) -> None:
    rare = await bury(error_class="Rare")
    async with connect(NatsSettings(nats_url=nats_server.url), name="test", wait=False) as connection:
        for _ in range(20):
            await bury(100)
            for _ in range(50):
                await connection.client.publish("image-download", b"{}")
        await connection.client.flush()

    page = await viewer.until("/dead-letters?class=Rare", lambda page: "Searching" not in page.words)

    assert rows(page.text) == rare


@pytest.mark.parametrize("query", ["older=soon", "before=x", "seq=0", "seq=99999999999999999999", "newer=99999999999d"])
async def test_what_cannot_be_used_is_refused_with_a_line(viewer: Viewer, query: str) -> None:
    page = await viewer.get(f"/dead-letters?{query}")

    assert page.status == 400
    assert re.search("is not (a|the) |is longer than", page.words)


async def test_a_new_one_shows_and_a_replayed_one_goes(viewer: Viewer, bury: Bury) -> None:
    first, second = await bury(2)
    assert rows((await viewer.get("/dead-letters")).text) == [second, first]

    await viewer.post("/dead-letters/replay", {"seq": str(first)})
    [third] = await bury()

    page = await viewer.until("/dead-letters", lambda page: rows(page.text) == [third, second])
    assert "2 of 2 shown" in page.words


async def test_one_shows_everything_about_it(viewer: Viewer, bury: Bury) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    [sequence] = await bury(headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01", "Shop": "north"})

    page = await viewer.get(f"/dead-letters/{sequence}")

    for text in ("NotFound: 404 for the picture", trace, "Shop", "north", "Delivered 15 times", '"price": 1.10'):
        assert text in page.words
    assert re.search(r'\{\n  "url": ', page.text.replace("&#34;", '"'))
    raw = await viewer.get(f"/dead-letters/{sequence}?view=raw")
    assert '{"url": "https://a.example/1.jpg", "price": 1.10}' in raw.words
    assert await viewer.get_bytes(f"/dead-letters/{sequence}/event") == EVENT.replace(b"%d", b"1")


async def test_one_that_is_gone_says_so(viewer: Viewer) -> None:
    page = await viewer.get("/dead-letters/7")

    assert page.status == 404
    assert "There is no dead letter 7 any more" in page.words
    assert (await viewer.get("/dead-letters/7/event")).status == 404


async def test_one_is_replayed_to_the_byte(viewer: Viewer, bury: Bury, nats_server: NatsServer) -> None:
    [sequence] = await bury(data=b'{"url":  "x", "n": 1e400}')

    page = await viewer.post("/dead-letters/replay", {"seq": str(sequence)})

    assert "1 dead letter replayed" in page.text
    assert await stored(nats_server, DEAD_LETTER) == []
    assert await stored(nats_server, "retry.due.image-download") == [b'{"url":  "x", "n": 1e400}']


async def test_the_chosen_ones_are_counted_named_and_deleted(
    viewer: Viewer, bury: Bury, nats_server: NatsServer
) -> None:
    first, second, _third = await bury(3)

    survey = await viewer.get(f"/dead-letters/purge?chosen=1&seq={first}&seq={second}")
    assert f"number {first}, {second}" in survey.words
    assert "Delete 2 dead letters permanently" in survey.words
    assert len(await stored(nats_server, DEAD_LETTER)) == 3

    page = await viewer.post("/dead-letters/purge", fields_of(survey.text))
    assert "2 of 2 dead letters deleted" in page.text
    assert len(await stored(nats_server, DEAD_LETTER)) == 1


def fields_of(text: str) -> list[tuple[str, str]]:
    """Return the hidden fields of the form that confirms."""
    form = text.partition('id="confirm"')[2].partition("</form>")[0]
    return [field for field in re.findall(r'name="([\w-]+)" value="([^"]*)"', form) if field[0] != "form-key"]


@pytest.mark.parametrize("what", ["replay", "purge"])
async def test_all_that_match_are_those_that_were_counted(
    viewer: Viewer, bury: Bury, nats_server: NatsServer, what: str
) -> None:
    await bury(3, error_class="Timeout")
    await bury(2)
    survey = await viewer.get(f"/dead-letters/{what}?class=Timeout")
    assert "image-download Timeout image-download 3" in survey.words
    await bury(1, error_class="Timeout")

    page = await viewer.post(f"/dead-letters/{what}", fields_of(survey.text))

    assert re.search(r"3 dead letters replayed|3 of 3 dead letters deleted", page.text)
    assert page.path == "/dead-letters?class=Timeout"
    assert len(await stored(nats_server, DEAD_LETTER)) == 3


async def test_nothing_chosen_is_not_everything(viewer: Viewer, bury: Bury, nats_server: NatsServer) -> None:
    await bury(2)

    for path in ("/dead-letters/replay?chosen=1", "/dead-letters/purge?chosen=1"):
        page = await viewer.get(path)
        assert page.status == 400
        assert "no dead letter is chosen" in page.words
    for path in ("/dead-letters/replay", "/dead-letters/purge"):
        assert (await viewer.post(path)).status == 400
    assert len(await stored(nats_server, DEAD_LETTER)) == 2


async def test_what_cannot_be_replayed_stays_with_its_reason(viewer: Viewer, bury: Bury) -> None:
    [sequence] = await bury(job="nobody")

    page = await viewer.post("/dead-letters/replay", {"seq": str(sequence)})

    assert "0 dead letters replayed, 1 left out" in page.words
    assert f"{sequence}: no consumer reads retry.due.nobody" in page.words


async def test_a_read_only_page_has_no_buttons_and_refuses_forms(
    declare: Callable[[], Awaitable[None]], start_viewer: StartViewer, bury: Bury, nats_server: NatsServer
) -> None:
    await declare()
    viewer = await start_viewer(allow_actions=False)
    [sequence] = await bury()

    for path in ("/dead-letters", f"/dead-letters/{sequence}", f"/dead-letters/purge?seq={sequence}"):
        page = await viewer.get(path)
        assert 'method="post"' not in page.text
        assert 'type="checkbox"' not in page.text

    refused = await viewer.post("/dead-letters/purge", {"seq": str(sequence)})
    assert (refused.status, "read-only" in refused.words) == (403, True)
    assert len(await stored(nats_server, DEAD_LETTER)) == 1


async def test_a_long_replay_runs_on_and_can_be_stopped(viewer: Viewer, bury: Bury, nats_server: NatsServer) -> None:
    await bury(120)
    survey = await viewer.get("/dead-letters/replay")

    page = await viewer.post("/dead-letters/replay", [*fields_of(survey.text), ("rate", "5/s")])
    assert page.path.startswith("/actions/")
    assert "Replay 120 dead letters" in page.words
    again = await viewer.post("/dead-letters/replay", [*fields_of(survey.text)])
    assert (again.status, "one long action at a time" in again.words) == (409, True)

    await viewer.post(f"{page.path}/stop")
    await viewer.until(page.path, lambda page: "stopped before the end" in page.words)
    left, replayed = await stored(nats_server, DEAD_LETTER), await stored(nats_server, "retry.due.image-download")
    assert len(left) + len(replayed) == 120
    assert 0 < len(replayed) < 120


async def test_two_operators_at_once_double_nothing(
    viewer: Viewer, start_viewer: StartViewer, bury: Bury, nats_server: NatsServer
) -> None:

    await bury(40)
    other = await start_viewer()
    surveys = [await one.get("/dead-letters/replay") for one in (viewer, other)]

    await asyncio.gather(
        *(
            one.post("/dead-letters/replay", fields_of(page.text))
            for one, page in zip((viewer, other), surveys, strict=True)
        )
    )
    await until(lambda: not (viewer.ui.actions.running or other.ui.actions.running))

    assert await stored(nats_server, DEAD_LETTER) == []
    assert len(await stored(nats_server, "retry.due.image-download")) == 40
