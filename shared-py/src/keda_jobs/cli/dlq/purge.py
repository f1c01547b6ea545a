"""`keda-jobs dlq purge`."""

from __future__ import annotations

import typer

from keda_jobs.cli import options
from keda_jobs.cli.connection import INTERRUPTED, interruptible, run
from keda_jobs.cli.dlq.views import groups_table
from keda_jobs.cli.terminal import confirm, pluralize, print_err, print_json, print_out, progress_meter
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.dead_letters import DeadLetterFilter, DeadLetterSurvey, delete_dead_letters


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
    survey = DeadLetterSurvey(selection)
    run(server, survey.run)
    for sequence, _reason in survey.missing:
        print_err(f"{sequence} is not among these dead letters")
    found = survey.groups.total()
    if found and not json_:
        print_out(groups_table(survey.groups))
    question = f"Delete {pluralize(found, 'dead letter')} permanently?"
    is_confirmed = found > 0 and not dry_run and (yes or confirm(question, "delete"))
    deleted, is_interrupted = 0, False
    if is_confirmed:
        deleted, is_interrupted = run(server, lambda connection: _delete(connection, survey))
    if json_:
        print_json({"dry_run": dry_run, "found": found, "deleted": deleted, "interrupted": is_interrupted})
    else:
        counted = pluralize(found, "dead letter")
        print_err(f"{counted} would be deleted" if dry_run else f"{deleted:,} of {counted} deleted")
    if is_interrupted:
        raise typer.Exit(INTERRUPTED)
    if survey.missing or (not dry_run and deleted < found):
        raise typer.Exit(1)


async def _delete(connection: NatsConnection, survey: DeadLetterSurvey) -> tuple[int, bool]:
    """Return the number of dead letters deleted, and whether the command was interrupted."""
    with interruptible() as stop, progress_meter("purge", survey.groups.total()) as progress:
        deleted = await delete_dead_letters(connection, survey.selection, survey.snapshot, stop, progress)
        return deleted, stop.is_set()
