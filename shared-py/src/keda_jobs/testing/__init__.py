"""Tests of handlers without servers, and an in-memory broker that behaves like JetStream.

    result = await run_one(resize, {"key": "images/….jpg"}, store=InMemoryBucket({"images/….jpg": picture}))
    assert result.decision == Ack()
    assert "images_resized/….jpg" in result.store.objects

    result = await run_row(normalize, {"name": "Ada Lovelace", "email": "Ada@Example.com"})
    assert result.written == Profile("Ada Lovelace", "ada@example.com", "example.com", None)

`run_rows` is for a handler that takes many rows.

The fakes pass the same behaviour suite as the real servers (tests/behaviour).
"""

from keda_jobs.testing.broker import InMemoryBroker, InMemoryDelivery
from keda_jobs.testing.bucket import InMemoryBucket, StoredObject
from keda_jobs.testing.messages import Result, run_one
from keda_jobs.testing.rows import RowResult, run_row, run_rows

__all__ = [
    "InMemoryBroker",
    "InMemoryBucket",
    "InMemoryDelivery",
    "Result",
    "RowResult",
    "StoredObject",
    "run_one",
    "run_row",
    "run_rows",
]
