"""Events that a handler returns: those that its annotation names, and the bytes to publish."""

from __future__ import annotations

import typing
from collections.abc import Collection, Sequence
from typing import Any

from keda_jobs.domain.event import EncodedEvent, Event
from keda_jobs.domain.subjects import is_literal
from keda_jobs.errors import Permanent

Emitted = Event | Sequence[Event] | None
"""Events as a handler returns them."""


class EventTooLarge(Permanent):
    """The event uses more than half of the server's max_payload, so its retry might not fit."""


def named_events(annotation: Any, handler: str) -> list[type[Event]]:
    """List the events that the return annotation of `handler` names.

    Raises `TypeError` where it leaves open which, and for a subject that cannot be published on.
    """
    named = dict.fromkeys(_leaves(annotation))
    for event in named:
        if not (isinstance(event, type) and issubclass(event, Event) and hasattr(event, "subject")):
            raise TypeError(f"the events that {handler} returns must be named in its annotation")
        if not is_literal(event.subject):
            raise TypeError(f"the subject {event.subject!r} of {event.__name__} cannot be published on")
    return list(named)


def encode_events(returned: object, subjects: Collection[str], max_bytes: int) -> tuple[EncodedEvent, ...]:
    """Encode what a handler returned. `subjects` are those that its annotation names.

    Raises `TypeError` for what is no such event, and `Permanent` for one that cannot be encoded or that no job reads.
    """
    events = () if returned is None else tuple(returned) if isinstance(returned, list | tuple) else (returned,)
    return tuple(_encode(event, subjects, max_bytes) for event in events)


def _leaves(annotation: Any) -> list[Any]:
    """List the types at the ends of an annotation, such as `A` and `B` in `list[A | B] | None`."""
    if annotation in (type(None), Ellipsis):
        return []
    arguments = typing.get_args(annotation)
    return [leaf for argument in arguments for leaf in _leaves(argument)] if arguments else [annotation]


def _encode(event: object, subjects: Collection[str], max_bytes: int) -> EncodedEvent:
    kind = type(event).__name__
    if not isinstance(event, Event):
        raise TypeError(f"the handler returned {kind}; return an event, a list of events, or None")
    subject: object = getattr(event, "subject", None)
    # NATS lets the job publish on these subjects only. Any other would be tried for ever.
    if not isinstance(subject, str) or subject not in subjects:
        raise TypeError(f"the handler returned {kind} with the subject {subject!r}, which its annotation does not name")
    data = event.encode()
    if len(data) > max_bytes:
        raise EventTooLarge(f"{kind} has {len(data)} bytes; at most {max_bytes} are read")
    return EncodedEvent(event, subject, data)
