"""Errors survive the way back from a worker process, and each has a text."""

import asyncio
import os
import pickle
import signal

import pytest
from asyncpg import RaiseError

from keda_jobs.errors import JobError, Permanent, RetryAfter, StoreUnavailable, Transient
from keda_jobs.postgres import translate_all_errors
from keda_jobs.runtime.cpu import CpuPool, WorkerDied
from keda_jobs.storage import ObjectMissing


@pytest.mark.parametrize(
    "error",
    [
        Permanent("no"),
        Transient("later", max_deliveries=3),
        RetryAfter("busy", delay_s=2.5),
        StoreUnavailable("away"),
        ObjectMissing("images/1.jpg"),
    ],
)
def test_an_error_survives_pickling(error: JobError) -> None:
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_an_error_without_a_text_uses_the_docstring_of_its_class() -> None:
    assert str(StoreUnavailable()) == "The object store is unreachable or refuses the credentials."


async def test_a_dying_worker_process_costs_one_attempt_and_says_so() -> None:
    cpu = CpuPool(1)
    with pytest.raises(WorkerDied) as caught:
        await cpu(os.kill, await cpu(os.getpid), signal.SIGKILL)
    assert caught.value.max_deliveries == 3
    assert await cpu(os.getpid) != os.getpid()


async def test_a_cancelled_call_stops_its_worker_process() -> None:
    cpu = CpuPool(1)
    worker = await cpu(os.getpid)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await cpu(signal.pause)
    assert await cpu(os.getpid) != worker


def test_a_command_reports_any_error_of_postgresql_in_one_line() -> None:
    with pytest.raises(JobError, match=r"^PostgreSQL: the trigger says no$"), translate_all_errors():
        raise RaiseError("the trigger says no\n")
