"""Second event job under test: it reads the object of each order and enters its number in the ledger."""

from __future__ import annotations

from pathlib import Path

from faults.campaign.orders import enter

from keda_jobs import Context, Event, JobSettings, StoreSettings, event_job, run


class OrderStored(Event, subject="order-stored"):
    """Order that is in the store."""

    number: int
    key: str


class Settings(JobSettings, StoreSettings):
    """Settings with a store and the ledger."""

    ledger: Path


async def enter_order(event: OrderStored, job: Context[Settings]) -> None:
    """Enter what the store holds, so that an object with other bytes is another number."""
    enter(job.settings.ledger, int(await job.store.get(event.key)))


if __name__ == "__main__":
    run(event_job(enter_order, Settings))
