"""`run`: the one line that makes a process of a handler."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import NoReturn, TypeVar

from keda_jobs.domain.event import Event
from keda_jobs.event.context import Context
from keda_jobs.event.job import Job, Result, event_type
from keda_jobs.runtime.job import job_name
from keda_jobs.settings import JobSettings

E = TypeVar("E", bound=Event)
S = TypeVar("S", bound=JobSettings)
R = TypeVar("R")


def run(
    handler: Callable[[E, Context[S, R]], Awaitable[Result]],
    settings: type[S],
    *,
    resources: Callable[[S], AbstractAsyncContextManager[R]] | None = None,
) -> NoReturn:
    """Run the job of `handler` until SIGTERM or SIGINT, then exit: 0 drained, 1 lost NATS for good, 2 misconfigured.

    `handler(event, context)` is an async function; events it returns are published before the input is acked.
    `resources` makes, from the settings, an async context manager that is open while the job runs; its value is
    `Context.resources`.
    """
    # Worker processes of `Context.cpu` import the main module too, and need neither NATS nor HTTP.
    from keda_jobs.event.process import serve

    sys.exit(serve(Job(job_name(handler), handler, event_type(handler), settings, resources)))
