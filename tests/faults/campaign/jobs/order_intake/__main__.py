"""First event job under test: it stores each order as an object and passes its key on."""

from __future__ import annotations

import asyncio

from faults.campaign.orders import Fate

from keda_jobs import Context, Event, JobSettings, Permanent, StoreSettings, Transient, event_job, run


class OrderPlaced(Event, subject="order-placed"):
    """Order as it comes in."""

    number: int
    fate: Fate


class OrderStored(Event, subject="order-stored"):
    """Order that is in the store."""

    number: int
    key: str


class Settings(JobSettings, StoreSettings):
    """Settings with a store."""


async def take(event: OrderPlaced, job: Context[Settings]) -> OrderStored:
    """Store the order, unless its fate is another one."""
    match event.fate:
        case Fate.REFUSED:
            raise Permanent("refused on purpose")
        case Fate.HOPELESS:
            raise Transient("fails on purpose", max_deliveries=3)
        case Fate.FAILS_ONCE if job.message.attempt == 1:
            raise Transient("fails once on purpose")
        case Fate.SLOW:
            await asyncio.sleep(0.3)
    key = f"orders/{event.number}"
    await job.store.put(key, b"%d" % event.number, content_type="text/plain")
    return OrderStored(number=event.number, key=key)


if __name__ == "__main__":
    run(event_job(take, Settings))
