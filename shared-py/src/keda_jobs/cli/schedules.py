"""`keda-jobs schedules`: events that NATS publishes later."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from keda_jobs.cli.connection import run
from keda_jobs.cli.options import JsonOption, ServerOption, YesOption
from keda_jobs.cli.terminal import (
    add_row,
    confirm,
    format_due,
    json_fields,
    new_table,
    pluralize,
    print_err,
    print_json,
    print_out,
)
from keda_jobs.domain.schedule import DECLARED
from keda_jobs.errors import Misconfigured
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.schedules import Schedule, cancel_schedule, earliest_first, read_schedules

app = typer.Typer(no_args_is_help=True, help="Events for later: list them, cancel one.")


@app.command("ls")
def list_schedules(
    limit: Annotated[int, typer.Option("--limit", min=1, help="Show this many, the earliest first.")] = 100,
    as_json: JsonOption = False,
    server: ServerOption = None,
) -> None:
    """List the events that wait to be published, the earliest first. One that is published repeatedly has its rule.

    Example: `keda-jobs schedules ls`

    JSON: `[{"key", "subject", "when", "timezone", "due", "sender", "event_id", "sequence"}]`
    """
    found = earliest_first(run(server, _read_all))
    if as_json:
        print_json([json_fields(one) for one in found[:limit]])
        return
    table = new_table("key", "event", "due", "sender", "id", cut=("id",))
    for one in found[:limit]:
        due = one.rule if one.due is None else format_due(one.due, datetime.now(UTC))
        add_row(table, one.key, one.subject, due, one.sender, one.event_id)
    print_out(table)
    print_err(pluralize(len(found), "event") + (f", the first {limit:,} shown" if len(found) > limit else ""))


@app.command("cancel")
def cancel(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Key as in `schedules ls`, or its first characters.")],
    yes: YesOption = False,
    as_json: JsonOption = False,
    server: ServerOption = None,
) -> None:
    """Cancel one event that waits, after asking. It is never published.

    Example: `keda-jobs schedules cancel de2076d1`

    JSON: `{"key", "subject", "cancelled"}`
    """

    async def work(connection: NatsConnection) -> tuple[Schedule, bool]:
        schedule = _only([one async for one in read_schedules(connection, key)], key)
        question = f"Cancel {schedule.subject}, {schedule.rule}, from {schedule.sender}{_note(schedule)}?"
        if not (yes or confirm(question, "cancel")):
            raise typer.Abort
        return schedule, await cancel_schedule(connection, schedule.sequence)

    schedule, is_cancelled = run(server, work)
    if as_json:
        print_json({"key": schedule.key, "subject": schedule.subject, "cancelled": is_cancelled})
    else:
        print_err(
            f"cancelled{_note(schedule)}"
            if is_cancelled
            else "not cancelled: it has been published or replaced meanwhile"
        )
    if not is_cancelled:
        raise typer.Exit(1)


async def _read_all(connection: NatsConnection) -> list[Schedule]:
    return [one async for one in read_schedules(connection)]


def _note(schedule: Schedule) -> str:
    if schedule.sender != DECLARED:
        return ""
    return f" until the next `streams apply`, unless jobs/{schedule.key.partition('.')[0]}/job.toml loses it too"


def _only(found: list[Schedule], key: str) -> Schedule:
    """Return the one schedule that was found. Raises `Misconfigured` for none and for several."""
    found = [one for one in found if one.key == key] or found
    if not found:
        raise Misconfigured(f"no event waits under {key!r}: see `keda-jobs schedules ls`")
    if len(found) > 1:
        raise Misconfigured(f"{len(found)} events wait under {key!r}: write more of the key")
    return found[0]
