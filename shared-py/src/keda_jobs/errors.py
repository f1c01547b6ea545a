"""Errors that a handler may raise, and what the loop does with them.

    JobError
    ├── Permanent              dead letter at once
    ├── Transient              another delivery later, up to the limit
    │   └── RetryAfter         another delivery, no sooner than the server asked
    ├── PlatformError          the loop backs off, the message waits in flight, no delivery is used up
    │   ├── BrokerUnavailable
    │   ├── StoreUnavailable
    │   └── DatabaseUnavailable
    ├── BrokerClosed           the process exits with 1, to be started again
    └── Misconfigured          one clear line for a person, exit 2

Errors of `keda_jobs.client`, which say whether the event is stored:

    JobError
    └── PublishError
        ├── NotStored              it is not, and may be published again
        │   └── Unpublishable      and it never will be: the event, its id or its time is wrong
        ├── MaybeStored            no answer came: publish it again with the same id
        └── NotAllStored           of many events some are, and `outcomes` says which

A message waits in flight for HOLD_TIMEOUT_S at most. Then it returns to the broker and the process exits with 1.
Any other exception counts as `Transient`: a bug is retried, and dead-lettered with its class name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class JobError(Exception):
    """Base of all errors of keda-jobs. The text is one line for a person."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (self.__doc__ or "").splitlines()[0])

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors come back from worker processes. By default the class would be called with its text alone.
        return _restore, (type(self), self.args, self.__dict__)


def _restore(kind: type[JobError], args: tuple[Any, ...], attributes: dict[str, Any]) -> JobError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error


class Permanent(JobError):
    """Trying again cannot help: the message becomes a dead letter at once."""


class Transient(JobError):
    """Trying again may help: the message is delivered again after a linear backoff.

    `max_deliveries` lowers the limit for causes that deserve only a few tries, such as an unknown host.
    """

    max_deliveries: int | None = None

    def __init__(self, message: str = "", *, max_deliveries: int | None = None) -> None:
        super().__init__(message)
        self.max_deliveries = max_deliveries


class RetryAfter(Transient):
    """The other side asked for a pause of `delay_s` seconds (HTTP 429 or 503 with Retry-After)."""

    delay_s: float = 0.0

    def __init__(self, message: str, *, delay_s: float) -> None:
        super().__init__(message)
        self.delay_s = delay_s


class PlatformError(JobError):
    """The platform is unavailable, the message is fine: the loop backs off and no delivery is used up.

    `delay_s` is the pause that a server asks of everybody, such as a quota used up (HTTP 429 with Retry-After).
    """

    delay_s: float = 0.0

    def __init__(self, message: str = "", *, delay_s: float = 0.0) -> None:
        super().__init__(message)
        self.delay_s = delay_s


class BrokerUnavailable(PlatformError):
    """NATS did not confirm: unreachable, full, or a stream, a consumer or a permission is missing."""


class StoreUnavailable(PlatformError):
    """The object store is unreachable or refuses the credentials."""


class DatabaseUnavailable(PlatformError):
    """PostgreSQL is unreachable, restarting, or did not answer in time."""


class BrokerClosed(JobError):
    """The connection to NATS is permanently closed: the process exits and is started again."""


class Misconfigured(JobError):
    """A setting or a prerequisite is wrong: the process says so in one line and exits with 2."""


class PublishError(JobError):
    """An event was not confirmed."""


class NotStored(PublishError):
    """The event is not stored: the server refused it, or cannot be reached. Publish it again later."""


class Unpublishable(NotStored):
    """The event, its id or its time is wrong. Nothing was sent, and another try would end the same way."""


class MaybeStored(PublishError):
    """No answer came: the event may be stored or not.

    Publish it again with `id`. The server stores it once, if that is within two minutes.
    """

    def __init__(self, message: str, *, id: str) -> None:  # noqa: A002
        super().__init__(message)
        self.id = id


class NotAllStored(PublishError):
    """Some of many events are not stored. `outcomes` has for each event, in order, its receipt or its error."""

    def __init__(self, message: str, *, outcomes: Sequence[Any]) -> None:
        super().__init__(message)
        self.outcomes = outcomes
