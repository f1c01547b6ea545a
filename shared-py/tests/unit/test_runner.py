"""Whatever a handler does, its message has a result. Only a shutdown cancels it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import warnings
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import field_serializer

from keda_jobs.domain.dead_letter import dead_letter
from keda_jobs.domain.event import Event
from keda_jobs.domain.identity import Identity
from keda_jobs.domain.message import Message
from keda_jobs.domain.policy import Ack, Dead, Decision, Failed, HandlerResult, Hold, Retry, RetryPolicy, Succeeded
from keda_jobs.errors import Permanent, RetryAfter, StoreUnavailable, Transient
from keda_jobs.event import runner
from keda_jobs.event.runner import Runner

MAX_PAYLOAD = 1024 * 1024


class Asked(Event, subject="asked"):
    n: int


class Answered(Event, subject="answered"):
    value: Any = None


class Other(Event, subject="other"):
    """Event that no handler here declares."""


class Renamed(Answered, subject="no such subject"):
    """Event whose parent is declared."""


class Unwritable(Answered):
    subject: ClassVar[str] = "answered"

    @field_serializer("value")
    def fail(self, value: Any) -> str:
        raise value


Handle = Callable[[Asked, Any], Awaitable[Any]]

MESSAGE = Message("asked", b'{"n":1}', {}, Identity("job", 1, 1), 1, 1, datetime.now(UTC))


def runner_of(handle: Callable[[], Awaitable[Any]], timeout_s: float = 60) -> Runner:
    async def handler(_event: Asked, _job: object) -> Answered | None:
        return await handle()  # type: ignore[no-any-return]

    return Runner(Asked, handler, lambda message: message, timeout_s)


async def result_of(handle: Callable[[], Awaitable[Any]], timeout_s: float = 60) -> HandlerResult:
    return await runner_of(handle, timeout_s).handle(MESSAGE, MAX_PAYLOAD // 2)


def decide(result: HandlerResult, attempt: int) -> Decision:
    """Decide, and check that a dead letter and a log line can be made of it."""
    decision = RetryPolicy().decide(result, attempt)
    if isinstance(decision, Retry | Dead):
        assert decision.reason.isprintable()
        assert len(decision.reason) <= 500
        assert decision.error_class.isprintable()
        assert len(decision.error_class) <= 100
    if isinstance(decision, Dead):
        outgoing = dead_letter(MESSAGE, "job", decision, MAX_PAYLOAD, datetime.now(UTC))
        headers = outgoing.wire_headers(MAX_PAYLOAD)
        assert all(value.isascii() and value.isprintable() for value in headers.values())
    return decision


class Mute(Exception):
    """Exception whose text cannot be read."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __str__(self) -> str:
        raise self.error


class Half(Transient):
    """Error that forgets its parent's constructor."""

    def __init__(self) -> None:
        pass


class HalfRetryAfter(RetryAfter):
    def __init__(self) -> None:
        pass


def recurse() -> None:
    recurse()


texts = st.one_of(
    st.text(), st.text(st.characters(categories=["Cc", "Cs", "Zl", "Cf"])), st.sampled_from(["x" * 600_000, "\0\r\n"])
)
classes = st.sampled_from(
    [
        *(ValueError, MemoryError, RecursionError, OSError, StopAsyncIteration, TimeoutError, AssertionError),
        *(asyncio.CancelledError, SystemExit, KeyboardInterrupt, GeneratorExit, BaseException),
        *(Permanent, Transient, StoreUnavailable),
    ]
)
plain_errors = st.builds(lambda kind, text: kind(text), classes, texts)
errors = st.one_of(
    plain_errors,
    st.builds(SystemExit, st.sampled_from([0, 1, None, "enough"])),
    st.builds(lambda error: BaseExceptionGroup("several", [error]), plain_errors),
    st.builds(Mute, st.one_of(plain_errors)),
    st.builds(Half),
    st.builds(HalfRetryAfter),
    st.builds(RetryAfter, texts, delay_s=st.floats()),
    st.builds(
        lambda name: type(name, (Exception,), {})(), st.sampled_from(["a\r\nNats-Rollup: all", "Größe", "x" * 999])
    ),
)
values = st.one_of(
    st.sampled_from([float("nan"), float("inf"), "\ud800", b"\xff", object(), {1: 1, "1": 1}, 10**5000, print]),
    st.recursive(
        st.none() | st.floats() | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=5,
    ),
)
returned = st.one_of(
    st.builds(lambda value: Answered.model_construct(value=value), values),
    st.builds(lambda error: Unwritable.model_construct(value=error), errors),
    st.lists(st.builds(lambda value: Answered(value=value), values)),
    st.sampled_from([Other(), Renamed(), Event(), Answered, 1, "x", {}, {"n": 1}, iter([Answered()])]),
)


async def raise_(error: BaseException) -> None:
    raise error


async def cancel_itself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


async def cancel_itself_and_wait() -> None:
    await cancel_itself()
    await asyncio.Event().wait()


async def await_a_cancelled_task() -> None:
    task = asyncio.create_task(asyncio.sleep(60))
    task.cancel()
    await task


async def raise_in_a_thread() -> None:
    await asyncio.to_thread(raise_in_thread)


def raise_in_thread() -> None:
    raise SystemExit(0)


async def yield_() -> Any:
    return (event for event in [Answered()])


async def yield_asynchronously() -> Any:
    async def events() -> Any:
        yield Answered()

    return events()


async def return_a_coroutine() -> Any:
    return asyncio.sleep(0)


async def recurse_forever() -> None:
    recurse()


async def return_a_cycle() -> Any:
    cycle: list[Any] = []
    cycle.append(cycle)
    return Answered.model_construct(value=cycle)


MISBEHAVIOUR = [
    *(cancel_itself, cancel_itself_and_wait, await_a_cancelled_task, raise_in_a_thread, yield_),
    *(yield_asynchronously, return_a_coroutine, recurse_forever, return_a_cycle),
]


@pytest.fixture
def _no_warnings() -> Iterator[None]:
    """Silence what pydantic and Python say of events and coroutines of the wrong kind."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
        gc.collect()


@pytest.mark.usefixtures("_no_warnings")
@pytest.mark.parametrize("handle", MISBEHAVIOUR)
async def test_misbehaviour_is_a_failure(handle: Callable[[], Awaitable[Any]]) -> None:
    result = await result_of(handle)
    assert isinstance(result, Failed)
    assert isinstance(decide(result, 1), Retry | Dead)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(error=errors, attempt=st.integers(1, 20))
def test_whatever_a_handler_raises_is_a_failure(error: BaseException, attempt: int) -> None:
    result = asyncio.run(result_of(lambda: raise_(error)))
    assert isinstance(result, Failed)
    assert isinstance(decide(result, attempt), Retry | Dead | Hold)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(value=returned)
def test_whatever_a_handler_returns_is_published_as_good_json_or_a_failure(value: object) -> None:
    async def handle() -> object:
        return value

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = asyncio.run(result_of(handle))
    match decide(result, 1):
        case Ack(events):
            assert isinstance(result, Succeeded)
            for encoded in events:
                assert encoded.subject == "answered"
                assert len(encoded.data) <= MAX_PAYLOAD // 2
                Answered.decode(encoded.data)
        case decision:
            assert isinstance(decision, Retry | Dead)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "InvalidEvent: NaN is not JSON"),
        ("\ud800", "InvalidEvent: Answered cannot be written as JSON: "),
        ({1: 1, "1": 1}, "InvalidEvent: the key '1' occurs twice in one object"),
        ("x" * MAX_PAYLOAD, "EventTooLarge: Answered has 1048588 bytes; at most 524288 are read"),
    ],
)
async def test_a_value_that_cannot_be_sent_is_dead_at_once_with_a_reason(value: object, reason: str) -> None:
    async def handle() -> Answered:
        return Answered(value=value)

    decision = decide(await result_of(handle), 1)
    assert isinstance(decision, Dead)
    assert decision.reason.startswith(reason)


async def test_an_event_that_the_annotation_does_not_name_is_a_bug() -> None:
    async def handle() -> Renamed:
        return Renamed()

    decision = decide(await result_of(handle), 1)
    assert isinstance(decision, Retry)
    assert "Renamed with the subject 'no such subject', which its annotation does not name" in decision.reason


@pytest.mark.parametrize(
    ("error", "kind"), [(Permanent("no"), Dead), (StoreUnavailable("away"), Hold), (ZeroDivisionError("0"), Retry)]
)
async def test_the_error_of_one_task_in_a_group_keeps_its_meaning(error: Exception, kind: type[Decision]) -> None:
    async def handle() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(60))
            group.create_task(raise_(error))

    decision = decide(await result_of(handle), 1)
    assert isinstance(decision, kind)
    assert str(error) in (decision.reason or "")


async def swallow_cancellation() -> None:
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()


async def test_a_handler_that_returns_when_it_is_cancelled_has_not_done_its_work() -> None:
    decision = decide(await result_of(swallow_cancellation, timeout_s=0.01), 1)
    assert isinstance(decision, Retry)
    assert decision.error_class == "HandlerTimeout"


async def test_a_handler_that_ignores_cancellation_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(runner, "_CANCEL_S", 0.01)
    release = asyncio.Event()

    async def handle() -> None:
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()

    assert isinstance(decide(await result_of(handle, timeout_s=0.01), 1), Retry)
    assert "left behind" in caplog.text

    attempt = asyncio.create_task(result_of(handle))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    attempt.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempt
    release.set()


async def test_a_shutdown_cancels_the_handler_and_is_no_result() -> None:
    begun, cleaned_up = asyncio.Event(), asyncio.Event()

    async def handle() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned_up.set()

    attempt = asyncio.create_task(result_of(handle))
    await begun.wait()
    attempt.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempt
    assert cleaned_up.is_set()
