"""A URL that fails for a while: asked at growing distance, no lag while it waits, nobody else's business."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from stack import until

from .origin import Answer, Origin
from .processes import Declare, StartJob, write_job
from .stream_view import NO_LAG, StreamView

pytestmark = pytest.mark.slow

ONLOOKER = """
from pathlib import Path
from keda_jobs import Context, Event, JobSettings, event_job, run

class ImageDownload(Event, subject="image-download"):
    url: str

class Settings(JobSettings):
    seen: Path

async def note(event: ImageDownload, job: Context[Settings]) -> None:
    with job.settings.seen.open("a") as file:
        print(job.message.attempt, event.url, file=file)

if __name__ == "__main__":
    run(event_job(note, Settings))
"""


async def test_a_url_that_always_answers_503_is_asked_four_times_and_dead_lettered(
    declare: Declare, start: StartJob, origin: Origin, stream: StreamView, tmp_path: Path
) -> None:
    await declare()
    await stream.add_consumer("onlooker", "image-download", ack_wait_s=60)
    seen = tmp_path / "seen.txt"
    await start("onlooker", SEEN=str(seen), **write_job(tmp_path / "packages", "onlooker", ONLOOKER))
    await start("image-download", RETRY_STEP_S="1", RETRY_MAX_DELIVERIES="4")
    origin.answers["/away"] = Answer(status=503)
    url = origin.url("/away")
    await stream.publish("image-download", [{"url": url}])

    for asked in (1, 2, 3):

        async def the_retry_waits_without_lag(asked: int = asked) -> bool:
            lags = await stream.lag("image-download"), await stream.lag_for_keda("image-download")
            # Still waiting after the lags were read, so it waited while they were.
            waiting = await stream.count("retry.wait.image-download.>")
            return len(origin.asked) == asked and waiting == 1 and lags == (NO_LAG, NO_LAG)

        await until(the_retry_waits_without_lag)

    async def dead() -> bool:
        return await stream.count("dead-letter") == 1

    await until(dead)
    [dead_letter] = await stream.dead_letters()
    assert (dead_letter.subject, dead_letter.data, dead_letter.num_delivered) == ("image-download", {"url": url}, 4)
    assert (dead_letter.job, dead_letter.error_class) == ("image-download", "HttpUnavailable")
    times = [time for time, _ in origin.asked]
    distances = [after - before for before, after in pairwise(times)]
    assert len(times) == 4
    assert all(distance >= least for distance, least in zip(distances, (1, 2, 3), strict=True)), distances
    assert await stream.lag_for_keda("image-download") == NO_LAG
    assert seen.read_text() == f"1 {url}\n"
    assert await stream.lag("onlooker") == NO_LAG
    assert await stream.deliveries("onlooker") == 1
