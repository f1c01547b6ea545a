"""`keda-jobs dlq purge`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Annotated

import typer

from keda_jobs.cli.connection import INTERRUPTED, interruptible, run
from keda_jobs.cli.dlq.selection import require_selection
from keda_jobs.cli.dlq.views import groups_table
from keda_jobs.cli.options import (
    AllOption,
    DryRunOption,
    ErrorClassOption,
    JobOption,
    JsonOption,
    NewerThanOption,
    OlderThanOption,
    SequencesArgument,
    ServerOption,
    SubjectOption,
)
from keda_jobs.cli.terminal import pluralize, print_err, print_json, print_out, progress_meter
from keda_jobs.errors import Misconfigured
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.dead_letters import DeadLetterFilter, Purge, group_dead_letters


def purge(
    sequences: SequencesArgument = None,
    subject: SubjectOption = None,
    job: JobOption = None,
    error_class: ErrorClassOption = None,
    older_than: OlderThanOption = None,
    newer_than: NewerThanOption = None,
    everything: AllOption = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: DryRunOption = False,
    json_: JsonOption = False,
    server: ServerOption = None,
) -> None:
    """Delete dead letters permanently, after showing which and asking.

    Examples:

    - `keda-jobs dlq purge --job image-download --older-than 30d`

    - `keda-jobs dlq purge 1234 --yes`

    JSON: `{"dry_run", "found", "deleted", "interrupted"}`
    """
    selection = DeadLetterFilter(frozenset(sequences or ()), subject, job, error_class, older_than, newer_than)
    require_selection(selection, everything)
    groups = run(server, lambda connection: group_dead_letters(connection, selection))
    missing = sorted(selection.sequences - groups.keys())
    for sequence in missing:
        print_err(f"{sequence} is not among these dead letters")
    if groups and not json_:
        print_out(groups_table(Counter(groups.values())))
    work = Purge()
    if groups and not dry_run and _is_confirmed(len(groups), yes):
        run(server, lambda connection: _delete(connection, groups, work))
    _report(work, len(groups), dry_run=dry_run, as_json=json_)
    if work.interrupted:
        raise typer.Exit(INTERRUPTED)
    if missing or (not dry_run and work.deleted < len(groups)):
        raise typer.Exit(1)


def _is_confirmed(count: int, yes: bool) -> bool:
    if yes:
        return True
    if not typer.get_text_stream("stdin").isatty():
        raise Misconfigured("refusing to delete without confirmation: stdin is not a terminal, pass --yes")
    return typer.confirm(f"Delete {pluralize(count, 'dead letter')} permanently?", err=True)


async def _delete(connection: NatsConnection, sequences: Collection[int], work: Purge) -> None:
    with interruptible() as stop, progress_meter("purge", len(sequences)) as progress:
        await work.run(connection, sequences, stop, progress)


def _report(work: Purge, found: int, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        print_json({"dry_run": dry_run, "found": found, "deleted": work.deleted, "interrupted": work.interrupted})
    elif dry_run:
        print_err(f"{pluralize(found, 'dead letter')} would be deleted")
    else:
        print_err(f"{work.deleted:,} of {pluralize(found, 'dead letter')} deleted")
