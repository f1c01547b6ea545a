"""`keda-jobs batch status`: progress of a batch job, once or every two seconds."""

from __future__ import annotations

import asyncio
from functools import partial

from keda_jobs.cli.batch.views import status_json, status_line, status_view
from keda_jobs.cli.options import BatchNameArgument, JsonOption
from keda_jobs.cli.watch import WatchOption, show
from keda_jobs.cli.watch import watch as repeat
from keda_jobs.settings import PgSettings, load_settings
from keda_jobs.status.batch import StatusReader


def status(
    name: BatchNameArgument = None,
    watch: WatchOption = False,
    json_: JsonOption = False,
) -> None:
    """Show the progress of a batch job: rows by status, running batches, rate, ETA and failure reasons.

    The numbers come from the records of the queue, which workers, inserts and retries write in their own transactions,
    and from the failed rows, which are counted as they are now. The command reads no other row. Completed counts what
    workers completed: rows that somebody deletes, or sets to another status later, still count, in the total too. The
    last line says what `keda-jobs batch check` found when it compared the queue with all rows.

    Claimable is what the scaler sees: pending rows, due retries, and rows of batches with an expired lease. The rate is
    that of the last minute. The ETA includes the last waiting retry.

    Examples:

    - `keda-jobs batch status --watch`

    - `keda-jobs batch status users-batch --json | jq .rows.given_up`

    JSON: `{"time", "batch_name", "table", "rows": {"total", "pending", "processing", "completed", "waiting",
    "given_up"}, "set_aside", "claimable", "next_retry_at", "rows_per_s", "eta_s", "running": [{"batch_id", "pod_name",
    "claimed", "completed", "failed", "rows_per_s", "started_at", "heartbeat_at", "lease_expires_at", "is_lease_over"}],
    "reasons": [{"reason", "rows", "given_up"}], "other_reasons", "counted_at", "count_duration_s",
    "checked_at", "stranded_rows", "held_until", "hold_reason"}`; with --watch one object a line. `waiting` rows failed
    and are retried, `given_up` rows failed permanently. `eta_s` is null without a rate. `reasons` are the ten most
    common, with … for values in them. At `counted_at` the failed rows were read. `stranded_rows` is what the last check
    left, null without one. Rows that are `set_aside` have their reason in the queue. Until `held_until` no row is
    claimable: a service that the job needs asked everybody to wait.
    """
    reader = StatusReader(load_settings(PgSettings), name)
    as_json = status_json if json_ else None
    if watch:
        screen = partial(status_view, with_bar=True)
        asyncio.run(repeat(reader.read, screen=screen, lines=status_line, as_json=as_json))
    else:
        show(reader.read, status_view, as_json)
