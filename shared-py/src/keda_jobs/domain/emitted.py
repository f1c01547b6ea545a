"""Events that a handler returns: those that its annotation names, and the bytes to publish."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Self, TypeVar

from keda_jobs.domain.broker import Outgoing
from keda_jobs.domain.delay import check_delay, delayed, due_in, of_job
from keda_jobs.domain.event import Event
from keda_jobs.domain.subjects import is_literal
from keda_jobs.errors import Permanent

E = TypeVar("E", bound=Event)
E_co = TypeVar("E_co", bound=Event, covariant=True)


@dataclass(frozen=True, slots=True)
class Later(Generic[E_co]):
    """Event that NATS publishes `delay_s` seconds after the handler has returned it."""

    event: E_co
    delay_s: float

    def __post_init__(self) -> None:
        """Raise `InvalidDelay` unless the delay is from 0 to a year."""
        check_delay(self.delay_s)


def later(event: E, delay_s: float) -> Later[E]:
    """Return `event` for a handler to return, to be published `delay_s` seconds later. Raises `InvalidDelay`.

    No pod waits meanwhile. The handler's annotation names it as `Later[…]`.
    """
    return Later(event, delay_s)


Emitted = Event | Later[Event] | Sequence[Event | Later[Event]] | None
"""Events as a handler returns them."""


class EventTooLarge(Permanent):
    """The event uses more than half of the server's max_payload, so its retry might not fit."""


@dataclass(frozen=True, slots=True)
class EncodedEvent:
    """Event that a handler returned, with what is published, and the delay of one for later."""

    event: Event
    subject: str
    data: bytes
    delay_s: float | None = None

    @property
    def returned(self) -> Event | Later[Event]:
        """Event as the handler returned it."""
        return self.event if self.delay_s is None else Later(self.event, self.delay_s)

    def outgoing(self, msg_id: str, headers: Mapping[str, str], job: str, now: datetime) -> Outgoing:
        """Build the message that `job` publishes. One for later waits in the stream of delayed events from `now` on."""
        message = Outgoing(self.subject, self.data, msg_id, headers)
        return message if self.delay_s is None else delayed(message, due_in(self.delay_s, now), of_job(job))


@dataclass(frozen=True, slots=True)
class Outputs:
    """Events that the return annotation of a handler names: those that it sends at once, and those for later.

    NATS lets the job publish these only. Any other would be tried for ever.
    """

    at_once: tuple[type[Event], ...] = ()
    for_later: tuple[type[Event], ...] = ()

    @classmethod
    def from_annotation(cls, annotation: Any, handler: str) -> Self:
        """Read the return annotation of `handler`.

        Raises `TypeError` where it leaves open which events, and for a subject that cannot be published on.
        """
        leaves = [(_check_named(kind, handler), is_late) for kind, is_late in _leaves(annotation)]
        at_once, for_later = (
            dict.fromkeys(kind for kind, late in leaves if late is wanted) for wanted in (False, True)
        )
        return cls(tuple(at_once), tuple(for_later))

    @property
    def events(self) -> list[type[Event]]:
        """All of them, each once."""
        return list(dict.fromkeys((*self.at_once, *self.for_later)))

    def encode(self, returned: object, max_bytes: int) -> tuple[EncodedEvent, ...]:
        """Encode what a handler returned.

        Raises `TypeError` for what is no such event, and `Permanent` for one that cannot be encoded.
        """
        events = () if returned is None else tuple(returned) if isinstance(returned, list | tuple) else (returned,)
        return tuple(self._encode(event, max_bytes) for event in events)

    def _encode(self, returned: object, max_bytes: int) -> EncodedEvent:
        event, delay_s = (returned.event, returned.delay_s) if isinstance(returned, Later) else (returned, None)
        kind = type(event).__name__
        if not isinstance(event, Event):
            raise TypeError(f"the handler returned {kind}; return an event, a list of events, or None")
        named = self.at_once if delay_s is None else self.for_later
        subject: object = getattr(event, "subject", None)
        if not isinstance(subject, str) or subject not in {one.subject for one in named}:
            when = "" if delay_s is None else " for later"
            raise TypeError(
                f"the handler returned {kind} with the subject {subject!r}{when}, which its annotation does not name"
            )
        data = event.encode()
        if len(data) > max_bytes:
            raise EventTooLarge(f"{kind} has {len(data)} bytes; at most {max_bytes} are read")
        return EncodedEvent(event, subject, data, delay_s)


def _check_named(kind: Any, handler: str) -> type[Event]:
    if not (isinstance(kind, type) and issubclass(kind, Event) and hasattr(kind, "subject")):
        raise TypeError(f"the events that {handler} returns must be named in its annotation")
    if not is_literal(kind.subject):
        raise TypeError(f"the subject {kind.subject!r} of {kind.__name__} cannot be published on")
    return kind


def _leaves(annotation: Any, *, is_late: bool = False) -> Iterator[tuple[Any, bool]]:
    """Yield the types at the ends of an annotation, and whether each is in `Later`.

    Of `list[A | Later[B]] | None` these are `A`, and `B` for later.
    """
    if annotation in (type(None), Ellipsis):
        return
    arguments = typing.get_args(annotation)
    if not arguments:
        yield annotation, is_late
    for argument in arguments:
        yield from _leaves(argument, is_late=is_late or typing.get_origin(annotation) is Later)
