"""Events of rows: what a handler may return, their ids, and which rows are completed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from pydantic import SecretStr

from keda_jobs import Event, Permanent
from keda_jobs.batch import BatchContext, BatchSettings, batch_job
from keda_jobs.batch.row_events import RowEvents, SentRows, event_id
from keda_jobs.claims.rows import ClaimedRow, CompletedRow
from keda_jobs.claims.table import ClaimTable
from keda_jobs.domain.broker import MessageTooLarge, NotConfirmed, Outgoing
from keda_jobs.domain.emitted import EncodedEvent, Later, later
from keda_jobs.errors import BrokerClosed
from keda_jobs.jetstream.login import key_of_login
from keda_jobs.runtime.backoff import Backoff
from keda_jobs.runtime.shutdown import Shutdown
from keda_jobs.runtime.trouble import Part
from keda_jobs.settings import NatsSettings
from keda_jobs.testing import run_row, run_rows

KEY = b"secret"
TABLE = ClaimTable("shipping", "orders", reads=("goods",))


class Order(NamedTuple):
    goods: str


class Label(NamedTuple):
    label: str


class Shipped(Event, subject="shipped"):
    goods: str


class Billed(Event, subject="billed"):
    goods: str


class Settings(BatchSettings, NatsSettings):
    """Settings of a batch job that sends events."""


async def ship(order: Order, _job: BatchContext[Settings]) -> Shipped:
    return Shipped(goods=order.goods)


async def ship_and_bill(order: Order, _job: BatchContext[Settings]) -> list[Shipped | Billed] | None:
    return [Shipped(goods=order.goods), Billed(goods=order.goods)] if order.goods else None


async def label_and_ship(order: Order, _job: BatchContext[Settings]) -> tuple[Label, Shipped | None]:
    return Label(f"to {order.goods}"), Shipped(goods=order.goods) if order.goods else None


async def ship_all(orders: list[Order], _job: BatchContext[Settings]) -> list[Shipped | Permanent | None]:
    return [Shipped(goods=order.goods) if order.goods else Permanent("goods: none") for order in orders]


async def label_and_ship_all(
    orders: list[Order], _job: BatchContext[Settings]
) -> Sequence[tuple[Label, list[Shipped]] | ValueError]:
    return [(Label(order.goods), [Shipped(goods=order.goods)] * 2) for order in orders]


async def label_and_ship_later(order: Order, _job: BatchContext[Settings]) -> tuple[Label, Later[Shipped]]:
    return Label(order.goods), later(Shipped(goods=order.goods), 60)


@pytest.mark.parametrize(
    ("handler", "writes", "emitted"),
    [
        (ship, (), [Shipped]),
        (ship_and_bill, (), [Shipped, Billed]),
        (label_and_ship, ("label",), [Shipped]),
        (ship_all, (), [Shipped]),
        (label_and_ship_all, ("label",), [Shipped]),
        (label_and_ship_later, ("label",), [Shipped]),
    ],
)
def test_the_annotation_names_the_columns_and_the_events(
    handler: Any, writes: tuple[str, ...], emitted: list[type[Event]]
) -> None:
    job = batch_job(handler, Settings, table="orders")
    assert (job.table.writes, job.outputs.events) == (writes, emitted)


async def to_any_event(_order: Order, _job: BatchContext[Settings]) -> Event | None: ...


async def to_either(_order: Order, _job: BatchContext[Settings]) -> Label | Shipped:
    raise NotImplementedError


async def to_events_first(_order: Order, _job: BatchContext[Settings]) -> tuple[Shipped, Label]:
    raise NotImplementedError


@pytest.mark.parametrize("handler", [to_any_event, to_either, to_events_first])
def test_an_annotation_that_leaves_open_what_is_sent_is_refused(handler: Any) -> None:
    with pytest.raises(TypeError, match="annotat"):
        batch_job(handler, Settings, table="orders")


def test_events_need_settings_of_nats() -> None:
    with pytest.raises(TypeError, match="ship sends events: let BatchSettings inherit NatsSettings too"):
        batch_job(ship, BatchSettings, table="orders")  # type: ignore[arg-type]


async def test_a_row_has_columns_and_events() -> None:
    result = await run_row(label_and_ship, {"goods": "tea"})
    assert (result.written, result.events) == (Label("to tea"), [Shipped(goods="tea")])
    assert (await run_row(label_and_ship, {"goods": ""})).events == []
    results = await run_rows(ship_all, [{"goods": "tea"}, {"goods": ""}])
    assert [result.events for result in results] == [[Shipped(goods="tea")], []]
    assert results[1].failure is not None
    waiting = await run_row(label_and_ship_later, {"goods": "tea"})
    assert (waiting.written, waiting.events) == (Label("tea"), [later(Shipped(goods="tea"), 60)])
    [many] = await run_rows(label_and_ship_all, [{"goods": "tea"}])
    assert (many.written, many.events) == (Label("tea"), [Shipped(goods="tea")] * 2)


async def to_another_event(order: Order, _job: BatchContext[Settings]) -> Shipped:
    return Billed(goods=order.goods)  # type: ignore[return-value]


async def to_columns_alone(_order: Order, _job: BatchContext[Settings]) -> tuple[Label, Shipped]:
    return Label("a")  # type: ignore[return-value]


async def to_too_much(_order: Order, _job: BatchContext[Settings]) -> Shipped:
    return Shipped(goods="x" * 600_000)


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (to_another_event, "TypeError: the handler returned Billed with the subject 'billed'"),
        (to_columns_alone, "TypeError: the handler returned Label, not (Label, events)"),
        (to_too_much, "EventTooLarge: Shipped has 600012 bytes"),
    ],
)
async def test_what_cannot_be_sent_fails_its_row(handler: Any, reason: str) -> None:
    result = await run_row(handler, {"goods": "tea"})
    assert result.failure is not None
    assert reason in result.failure.error


class Nats:
    """Server that stores events, unless a test lets it do something else."""

    def __init__(self) -> None:
        self.stored: dict[str, Outgoing] = {}
        self.answers: dict[str, list[Exception]] = {}
        self.takes_batches = True
        self.batches: list[int] = []
        self.most_in_flight = self._in_flight = 0

    async def publish(self, outgoing: Outgoing) -> None:
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        await asyncio.sleep(0)
        self._in_flight -= 1
        if answers := self.answers.get(outgoing.data.decode()):
            raise answers.pop(0)
        self.stored[outgoing.msg_id] = outgoing

    async def publish_batch(self, messages: Sequence[Outgoing]) -> bool:
        """Store all or none, as a server does that has none of them and likes each."""
        await asyncio.sleep(0)
        if not self.takes_batches or any(
            one.msg_id in self.stored or one.data.decode() in self.answers for one in messages
        ):
            return False
        self.batches.append(len(messages))
        self.stored |= {one.msg_id: one for one in messages}
        return True


def row(key: int, *data: str, goods: str = "tea") -> CompletedRow:
    events = tuple(EncodedEvent(Shipped(goods=goods), "shipped", text.encode()) for text in data)
    return CompletedRow(ClaimedRow(key, 0, (goods,)), (), events)


class Sending:
    """Publisher of rows, with the server and the shutdown that a test controls."""

    def __init__(self) -> None:
        self.nats, self.shutdown = Nats(), Shutdown(grace_s=0)
        self.backoff, self.connection = Backoff(max_s=0.001), Part()
        self.events = RowEvents(
            self.nats.publish,
            self.nats.publish_batch,
            TABLE,
            self.shutdown,
            key=KEY,
            connection=self.connection,
            backoff=self.backoff,
        )

    async def send(self, *rows: CompletedRow) -> SentRows:
        return await self.events.send(rows, {"traceparent": "00-1-2-01"})


@pytest.fixture
def sending() -> Sending:
    return Sending()


async def test_events_are_stored_together(sending: Sending) -> None:
    rows = [row(key, "a", "b", "c") for key in range(600)]
    sent = await sending.send(*rows)
    assert sent.confirmed == rows
    assert len(sending.nats.stored) == 1800
    assert sending.nats.batches == [498, 498, 498, 306]  # the events of a row are not split


async def test_rows_with_an_event_for_later_are_sent_by_themselves(sending: Sending) -> None:
    waits = EncodedEvent(Shipped(goods="tea"), "shipped", b"later", 60)
    late = row(1, "a")._replace(events=(*row(1, "a").events, waits))
    sent = await sending.send(late, row(2, "b", "c"))
    assert sorted(done.row.key for done in sent.confirmed) == [1, 2]
    assert sending.nats.batches == [2]
    [stored] = [one for one in sending.nats.stored.values() if one.data == b"later"]
    assert stored.subject.startswith("delay.wait.job.")
    assert stored.headers["Nats-Schedule-Target"] == "delay.fire.shipped"


async def test_rows_without_events_and_a_single_event_need_no_batch(sending: Sending) -> None:
    sent = await sending.send(row(1), row(2, "a"), row(3))
    assert len(sent.confirmed) == 3
    assert (len(sending.nats.stored), sending.nats.batches) == (1, [])
    assert (await sending.send()).confirmed == []


async def test_where_a_batch_is_refused_events_are_sent_many_at_once_but_not_all(sending: Sending) -> None:
    sending.nats.takes_batches = False
    rows = [row(key, "a", "b") for key in range(600)]
    sent = await sending.send(*rows)
    assert sorted(sent.confirmed) == rows
    assert len(sending.nats.stored) == 1200
    assert 100 < sending.nats.most_in_flight < 600
    assert {outgoing.headers["traceparent"] for outgoing in sending.nats.stored.values()} == {"00-1-2-01"}


async def test_a_refused_event_is_the_failure_of_its_row_alone(sending: Sending) -> None:
    sending.nats.answers = {"large": [MessageTooLarge("too large")]}
    sent = await sending.send(row(1, "a"), row(2, "b", "large", "c"), row(3, "d"))
    assert [done.row.key for done in sent.confirmed] == [1, 3]
    assert [(claimed.key, str(error)) for claimed, error in sent.refused] == [(2, "too large")]


async def test_an_event_without_a_confirmation_is_sent_again_under_its_id(sending: Sending) -> None:
    sending.nats.answers = {"a": [NotConfirmed("no answer"), NotConfirmed("no answer")]}
    sent = await sending.send(row(1, "a"))
    assert len(sent.confirmed) == 1
    assert len(sending.nats.stored) == 1


async def test_no_row_starts_while_nats_is_away(sending: Sending) -> None:
    assert not sending.events.waiting
    sending.connection.began("disconnected")
    assert sending.events.waiting
    sending.connection.ended()
    sending.backoff.failed("not confirmed")
    assert sending.events.waiting


async def test_a_shutdown_leaves_rows_whose_events_are_not_confirmed(
    sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def publish(outgoing: Outgoing) -> None:
        if outgoing.data == b"stuck":
            sending.shutdown.request()
            await asyncio.Event().wait()

    sending.nats.takes_batches = False
    monkeypatch.setattr(sending.events, "_publish", publish)
    sent = await sending.send(row(1, "a"), row(2, "stuck"))
    assert [done.row.key for done in sent.confirmed] == [1]
    assert not sent.refused


async def test_a_closed_connection_ends_the_worker(sending: Sending) -> None:
    sending.nats.answers = {"a": [BrokerClosed("closed")]}
    with pytest.raises(BrokerClosed):
        await sending.send(row(1, "a"), row(2, "b"))


def test_a_row_keeps_its_ids_until_its_input_changes() -> None:
    claimed = ClaimedRow(7, 0, ("tea",))
    again = claimed._replace(attempts=1)  # after a crash, or a failure
    assert event_id(KEY, TABLE, claimed, 0) == event_id(KEY, TABLE, again, 0)
    others = [
        event_id(KEY, TABLE, claimed, 1),
        event_id(KEY, TABLE, claimed._replace(key=8), 0),
        event_id(KEY, TABLE, claimed._replace(values=("coffee",)), 0),
        event_id(KEY, ClaimTable("shipping", "orders", schema="other"), claimed, 0),
        event_id(KEY, ClaimTable("billing", "orders"), claimed, 0),
    ]
    assert len({event_id(KEY, TABLE, claimed, 0), *others}) == 6


def test_only_who_has_the_login_can_compute_an_id() -> None:
    """Somebody else who knows the row would publish its id first, and NATS would drop the event as a duplicate."""
    logins = [
        NatsSettings(),
        NatsSettings(nats_user="shipping", nats_password=SecretStr("one")),
        NatsSettings(nats_user="shipping", nats_password=SecretStr("another")),
        NatsSettings(nats_url="nats://shipping:a-third@localhost"),
        NatsSettings(nats_url="nats://a-token@localhost"),
    ]
    ids = {event_id(key_of_login(login), TABLE, ClaimedRow(7, 0, ("tea",)), 0) for login in logins}
    assert len(ids) == len(logins)
