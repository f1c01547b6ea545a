"""`/healthz`, `/readyz` and `/metrics` of a worker."""

from __future__ import annotations

import functools
import re
import signal

from stack import until

from .parcels import Parcels
from .workers import Control, Start, Worker, get


def metric(worker: Worker, name: str) -> float:
    [value] = re.findall(rf"^{re.escape(name)} (\S+)$", get(f"{worker.http_url}/metrics")[1], re.MULTILINE)
    return float(value)


def counts_one(worker: Worker, name: str) -> bool:
    return metric(worker, name) == 1


async def test_a_worker_is_ready_from_its_first_claim_on(parcels: Parcels, start: Start, control: Control) -> None:
    await parcels.insert(waits=1)
    async with parcels.owner.transaction():
        await parcels.owner.execute("LOCK TABLE keda_jobs.parcels_queue")
        worker = start()
        await until(lambda: get(f"{worker.http_url}/healthz") == (200, "ok\n"))
        assert get(f"{worker.http_url}/readyz") == (503, "nothing claimed yet\n")
    await until(lambda: get(f"{worker.http_url}/readyz") == (200, "ok\n"))
    assert await parcels.statuses() == {"processing": 1}
    control.open_gate()
    assert await worker.finish() == 0


async def test_metrics_count_rows_batches_and_claims(parcels: Parcels, start: Start, control: Control) -> None:
    await parcels.insert(fine=10, fails=3, is_refused=2, waits=1)
    worker = start(CLAIM_SIZE="8")
    labels = f'{{job="{worker.name}",outcome='

    def all_but_one() -> bool:
        return (
            get(f"{worker.http_url}/readyz")[0] == 200
            and metric(worker, f'keda_jobs_rows_total{labels}"completed"}}') == 10
            and metric(worker, f'keda_jobs_rows_total{labels}"retried"}}') == 3
            and metric(worker, f'keda_jobs_rows_total{labels}"failed_permanently"}}') == 2
        )

    await until(all_but_one)
    assert metric(worker, f'keda_jobs_batches_total{labels}"completed"}}') == 1
    assert metric(worker, f'keda_jobs_claim_duration_seconds_count{{job="{worker.name}"}}') == 2
    assert metric(worker, f'keda_jobs_batch_duration_seconds_count{{job="{worker.name}"}}') == 1
    control.open_gate()
    assert await worker.finish() == 0


async def test_the_heartbeat_age_falls_with_each_renewal_and_is_0_without_a_batch(
    parcels: Parcels, start: Start, control: Control
) -> None:
    worker = start(LEASE_S="3")

    def age() -> float:
        return metric(worker, f'keda_jobs_heartbeat_age_seconds{{job="{worker.name}"}}')

    async with parcels.owner.transaction():
        await parcels.owner.execute("LOCK TABLE keda_jobs.parcels_queue")
        await until(lambda: get(f"{worker.http_url}/healthz")[0] == 200)
        assert age() == 0
        await parcels.insert(waits=1)
    for _ in range(2):
        await until(lambda: age() > 0.8)
        await until(lambda: 0 < age() < 0.5)
    control.open_gate()
    assert await worker.finish() == 0


async def test_lost_and_recovered_batches_are_counted(parcels: Parcels, start: Start, control: Control) -> None:
    await parcels.insert(waits=2)
    worker = start(LEASE_S="1")
    await until(lambda: len(control.runs) == 2)
    worker.signal(signal.SIGSTOP)
    await until(parcels.claimable)
    worker.signal(signal.SIGCONT)
    for outcome in ("lost", "recovered"):
        labels = f'{{job="{worker.name}",outcome="{outcome}"}}'
        await until(functools.partial(counts_one, worker, f"keda_jobs_batches_total{labels}"))
    control.open_gate()
    assert await worker.finish() == 0


async def test_a_handler_that_never_awaits_starves_neither_probes_nor_heartbeat(
    parcels: Parcels, start: Start, control: Control
) -> None:
    await parcels.insert(spins=20_000)
    worker = start(LEASE_S="3", WORKERS="64")
    await until(lambda: len(control.runs) > 10)
    first = (await parcels.batch())["heartbeat_at"]

    async def answers_and_beats() -> bool:
        assert get(f"{worker.http_url}/healthz") == (200, "ok\n")
        return bool((await parcels.batch())["heartbeat_at"] > first)

    await until(answers_and_beats)
    assert len(control.runs) < 20_000
    control.open_gate()
    assert await worker.finish() == 0
    assert await parcels.statuses() == {"completed": 20_000}
    assert len(await parcels.batches()) == 1
