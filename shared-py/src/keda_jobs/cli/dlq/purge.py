"""`keda-jobs dlq purge`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import typer

from keda_jobs.cli import options
from keda_jobs.cli.connection import INTERRUPTED, interruptible, run
from keda_jobs.cli.dlq.views import groups_table
from keda_jobs.cli.terminal import confirm, pluralize, print_err, print_json, print_out, progress_meter, report_missing
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.dead_letters import DeadLetterFilter, delete_dead_letters, group_dead_letters


def purge(
    sequences: options.SequencesArgument = None,
    subject: options.SubjectOption = None,
    job: options.JobOption = None,
    error_class: options.ErrorClassOption = None,
    older_than: options.OlderThanOption = None,
    newer_than: options.NewerThanOption = None,
    everything: options.AllOption = False,
    yes: options.YesOption = False,
    dry_run: options.DryRunOption = False,
    json_: options.JsonOption = False,
    server: options.ServerOption = None,
) -> None:
    """Delete dead letters permanently, after showing which and asking.

    Examples:

    - `keda-jobs dlq purge --job image-download --older-than 30d`

    - `keda-jobs dlq purge 1234 --yes`

    JSON: `{"dry_run", "found", "deleted", "interrupted"}`
    """
    selection = DeadLetterFilter(frozenset(sequences or ()), subject, job, error_class, older_than, newer_than)
    options.require_selection(selection, everything)
    groups = run(server, lambda connection: group_dead_letters(connection, selection))
    has_missing = report_missing(selection.sequences, groups, "dead letters")
    if groups and not json_:
        print_out(groups_table(Counter(groups.values())))
    found = pluralize(len(groups), "dead letter")
    is_confirmed = len(groups) > 0 and not dry_run and (yes or confirm(f"Delete {found} permanently?", "delete"))
    deleted = run(server, lambda connection: _delete(connection, groups)) if is_confirmed else 0
    is_interrupted = is_confirmed and deleted < len(groups)
    if json_:
        print_json({"dry_run": dry_run, "found": len(groups), "deleted": deleted, "interrupted": is_interrupted})
    else:
        print_err(f"{found} would be deleted" if dry_run else f"{deleted:,} of {found} deleted")
    if is_interrupted:
        raise typer.Exit(INTERRUPTED)
    if has_missing or (not dry_run and deleted < len(groups)):
        raise typer.Exit(1)


async def _delete(connection: NatsConnection, sequences: Collection[int]) -> int:
    with interruptible() as stop, progress_meter("purge", len(sequences)) as progress:
        return await delete_dead_letters(connection, sequences, stop, progress)
