"""A message that kills its worker every time costs fifteen workers, and no more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from stack import JobProcess, until

from .processes import Declare, reported, write_job
from .stream_view import NO_LAG, StreamView

pytestmark = pytest.mark.slow

MakeJob = Callable[..., Awaitable[JobProcess]]


@pytest.fixture
def make_job(declare: Declare, stream: StreamView, stack_environment: dict[str, str], tmp_path: Path) -> MakeJob:
    """Return a function that makes a job with its consumer: `await make_job("deaf", DEAF, CONCURRENCY="1")`."""

    async def make(name: str, program: str, ack_wait_s: float = 60, **environment: str) -> JobProcess:
        await declare()
        await stream.add_consumer(name, "image-downloaded", ack_wait_s=ack_wait_s)
        package = write_job(tmp_path / "packages", name, program)
        return JobProcess(name, stack_environment | package | environment, tmp_path / f"{name}.log")

    return make


DOOMED = """
import os
import signal
from pathlib import Path
from keda_jobs import Context, Event, JobSettings, event_job, run

class ImageDownloaded(Event, subject="image-downloaded"):
    key: str

class Settings(JobSettings):
    runs: Path

async def die(event: ImageDownloaded, job: Context[Settings]) -> None:
    with job.settings.runs.open("a") as file:
        print(job.message.attempt, event.key, file=file)
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    run(event_job(die, Settings))
"""


QUITTING = """
import asyncio
import sys
from keda_jobs import Context, Event, JobSettings, event_job, run

class ImageDownloaded(Event, subject="image-downloaded"):
    key: str

async def quit_program() -> None:
    sys.exit(0)

async def press_ctrl_c() -> None:
    raise KeyboardInterrupt

async def handle(event: ImageDownloaded, job: Context[JobSettings]) -> None:
    match event.key:
        case "child":
            await asyncio.gather(asyncio.sleep(60), quit_program())
        case "group":
            async with asyncio.TaskGroup() as group:
                group.create_task(press_ctrl_c())
        case "left behind":
            asyncio.get_running_loop().call_soon(sys.exit, 0)
            asyncio.create_task(quit_program())
        case "worker":
            await job.cpu(sys.exit, 0)
        case "itself":
            sys.exit(0)

if __name__ == "__main__":
    run(event_job(handle, JobSettings))
"""


async def test_no_handler_ends_the_process(make_job: MakeJob, stream: StreamView) -> None:
    quitting = await make_job("quitting", QUITTING, RETRY_MAX_DELIVERIES="1")
    await asyncio.to_thread(quitting.start)
    keys = ["itself", "child", "group", "left behind", "worker", "good"]
    await stream.publish("image-downloaded", [{"key": key} for key in keys])
    said = await reported(quitting, len(keys))
    assert quitting.alive
    assert quitting.stop() == 0
    assert sorted(line["outcome"] for line in said) == ["acked"] * 2 + ["dead_lettered"] * 4
    dead = {dead_letter.data["key"]: dead_letter for dead_letter in await stream.dead_letters()}
    assert dead.keys() == {"itself", "child", "group", "worker"}
    assert {dead_letter.num_delivered for dead_letter in dead.values()} == {1}
    assert dead["itself"].reason == "HandlerQuit: the handler raised SystemExit: 0"


DEAF = """
import asyncio
from keda_jobs import Context, Event, JobSettings, event_job, run

class ImageDownloaded(Event, subject="image-downloaded"):
    key: str

async def handle(event: ImageDownloaded, job: Context[JobSettings]) -> None:
    while event.key == "deaf":
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass

if __name__ == "__main__":
    run(event_job(handle, JobSettings))
"""


async def test_a_handler_that_ignores_its_cancellation_holds_up_neither_its_slot_nor_the_exit(
    make_job: MakeJob, stream: StreamView
) -> None:
    deaf = await make_job("deaf", DEAF, RETRY_MAX_DELIVERIES="1", HANDLER_TIMEOUT_S="0.5", CONCURRENCY="1")
    await asyncio.to_thread(deaf.start)
    await stream.publish("image-downloaded", [{"key": "deaf"}, {"key": "good"}])
    said = await reported(deaf, 2)
    assert [line["outcome"] for line in said] == ["dead_lettered", "acked"]
    [dead_letter] = await stream.dead_letters()
    assert dead_letter.error_class == "HandlerTimeout"
    assert deaf.stop() == 1
    assert "does not end, exiting without it" in deaf.log.read_text()


async def test_a_message_whose_worker_is_killed_every_time_is_dead_at_the_16th_delivery_without_its_handler(
    make_job: MakeJob, stream: StreamView, tmp_path: Path
) -> None:
    runs = tmp_path / "runs.txt"
    doomed = await make_job("doomed", DOOMED, ack_wait_s=0.5, RUNS=str(runs), ACK_WAIT_S="0.5")
    await stream.publish("image-downloaded", [{"key": "deadly"}])
    for _ in range(15):
        doomed.launch()
        assert await asyncio.to_thread(doomed.wait) == -9

    async def dead() -> bool:
        assert doomed.alive
        return await stream.count("dead-letter") == 1 and await stream.lag("doomed") == NO_LAG

    await asyncio.to_thread(doomed.start)
    await until(dead)
    assert doomed.stop() == 0
    assert runs.read_text() == "".join(f"{attempt} deadly\n" for attempt in range(1, 16))
    [dead_letter] = await stream.dead_letters()
    assert (dead_letter.subject, dead_letter.data, dead_letter.num_delivered) == (
        "image-downloaded",
        {"key": "deadly"},
        16,
    )
    assert (dead_letter.job, dead_letter.error_class) == ("doomed", "DeliveriesExhausted")
