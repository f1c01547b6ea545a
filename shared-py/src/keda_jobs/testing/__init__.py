"""Tests of handlers and of applications without servers, and a broker in memory that behaves like JetStream.

    result = await run_one(resize, {"key": "images/….jpg"}, store=InMemoryBucket({"images/….jpg": picture}))
    assert result.decision == Ack()
    assert "images_resized/….jpg" in result.store.objects

    result = await run_row(normalize, {"name": "Ada Lovelace", "email": "Ada@Example.com"})
    assert result.written == Profile("Ada Lovelace", "ada@example.com", "example.com", None)

`run_rows` is for a handler that takes many rows.

    jobs = InMemoryClient()
    await order(jobs)
    assert [published.event for published in jobs.published] == [ImageDownload(url="https://…")]

The fakes pass the same behaviour suite as the real servers (tests/behaviour). Each name is imported when it is used: an
application that only sends events needs nats-py and pydantic alone, here too.
"""

from typing import TYPE_CHECKING

from keda_jobs.lazy import importer

if TYPE_CHECKING:
    from keda_jobs.testing.broker import InMemoryBroker, InMemoryDelivery
    from keda_jobs.testing.bucket import InMemoryBucket, StoredObject
    from keda_jobs.testing.client import InMemoryClient, InMemorySyncClient, Published
    from keda_jobs.testing.messages import Result, run_one
    from keda_jobs.testing.rows import RowResult, run_row, run_rows

__all__ = [
    "InMemoryBroker",
    "InMemoryBucket",
    "InMemoryClient",
    "InMemoryDelivery",
    "InMemorySyncClient",
    "Published",
    "Result",
    "RowResult",
    "StoredObject",
    "run_one",
    "run_row",
    "run_rows",
]

__getattr__ = importer(
    __name__,
    {
        "InMemoryBroker": "broker",
        "InMemoryBucket": "bucket",
        "InMemoryClient": "client",
        "InMemoryDelivery": "broker",
        "InMemorySyncClient": "client",
        "Published": "client",
        "Result": "messages",
        "RowResult": "rows",
        "StoredObject": "bucket",
        "run_one": "messages",
        "run_row": "rows",
        "run_rows": "rows",
    },
)
