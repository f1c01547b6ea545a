"""A batch is one span, however many rows it has."""

from __future__ import annotations

import signal

from stack import until
from stack.collector import Collector

from .parcels import Parcels
from .workers import Control, Start


async def test_a_batch_is_one_span_with_its_counts(parcels: Parcels, start: Start) -> None:
    await parcels.insert(fine=50, fails=2, is_refused=1)
    async with Collector() as collector:
        worker = start(OTEL_EXPORTER_OTLP_ENDPOINT=f"{collector.url}\n")
        assert await worker.finish() == 0
    (span,) = collector.spans
    (line,) = [line for line in worker.lines if "batch_id" in line]
    assert (span.service, span.name, span.parent, span.is_error) == (
        "scripted-batch",
        "batch scripted-batch",
        "",
        False,
    )
    assert span.trace_id == line["trace_id"]
    assert span.attributes == {
        "keda_jobs.batch.id": line["batch_id"],
        "keda_jobs.batch.rows": 53,
        "keda_jobs.batch.completed": 50,
        "keda_jobs.batch.failed": 3,
        "keda_jobs.batch.given_up": 1,
        "keda_jobs.batch.returned": 0,
        "keda_jobs.outcome": "completed",
    }


async def test_a_lost_batch_is_an_error(parcels: Parcels, start: Start, control: Control) -> None:
    await parcels.insert(waits=2)
    async with Collector() as collector:
        worker = start(LEASE_S="1", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
        await until(lambda: len(control.runs) == 2)
        worker.signal(signal.SIGSTOP)
        await until(parcels.claimable)
        worker.signal(signal.SIGCONT)
        await until(lambda: worker.has_logged("recovered 2 rows from a worker whose lease expired"))
        control.open_gate()
        assert await worker.finish() == 0
    lost = collector.spans[0]
    assert lost.is_error
    assert (lost.attributes["error.type"], lost.attributes["keda_jobs.outcome"]) == ("LeaseLost", "lost")
