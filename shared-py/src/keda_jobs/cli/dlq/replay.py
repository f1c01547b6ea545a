"""`keda-jobs dlq replay`."""

from __future__ import annotations

from typing import Annotated

import typer

from keda_jobs.cli import options
from keda_jobs.cli.connection import INTERRUPTED, interruptible, run
from keda_jobs.cli.terminal import pluralize, print_err, print_json, progress_meter
from keda_jobs.domain.broker import Outgoing
from keda_jobs.domain.dead_letter import DeadLetter
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.dead_letters import DeadLetterFilter, expected_count
from keda_jobs.jetstream.replay import Replay


def replay(
    sequences: options.SequencesArgument = None,
    subject: options.SubjectOption = None,
    job: options.JobOption = None,
    error_class: options.ErrorClassOption = None,
    older_than: options.OlderThanOption = None,
    newer_than: options.NewerThanOption = None,
    everything: options.AllOption = False,
    to_subject: Annotated[
        bool,
        typer.Option("--to-subject", help="To all consumers of the event's subject, not only to the job that failed."),
    ] = False,
    per_second: options.RateOption = None,
    dry_run: options.DryRunOption = False,
    json_: options.JsonOption = False,
    server: options.ServerOption = None,
) -> None:
    """Return dead letters to the job that failed, as new messages that start at attempt 1.

    A dead letter is deleted once its copy is confirmed. Ctrl-C stops between two dead letters. Run it again to
    continue. Even after a crash no dead letter is lost, and none is doubled if you run it again within two minutes.

    Examples:

    - `keda-jobs dlq replay 1234 1240`

    - `keda-jobs dlq replay --error-class Timeout --rate 20/s`

    - `keda-jobs dlq replay --all --dry-run`

    JSON: `{"dry_run", "replayed", "skipped": [{"sequence", "reason"}], "interrupted"}`
    """
    selection = DeadLetterFilter(frozenset(sequences or ()), subject, job, error_class, older_than, newer_than)
    options.require_selection(selection, everything)
    work = Replay(to_subject, dry_run, per_second)
    run(server, lambda connection: _replay(connection, selection, work, as_json=json_))
    if work.interrupted:
        raise typer.Exit(INTERRUPTED)
    if work.skipped:
        raise typer.Exit(1)


async def _replay(connection: NatsConnection, selection: DeadLetterFilter, work: Replay, *, as_json: bool) -> None:
    try:
        with interruptible() as stop, progress_meter("replay", await expected_count(connection, selection)) as progress:

            def announce(dead: DeadLetter, copy: Outgoing) -> None:
                progress(work.done)
                if work.dry_run:
                    print_err(f"{dead.sequence}: {dead.subject}, {len(copy.data)} bytes, to {copy.subject}")

            await work.run(connection, selection, stop, announce)
    finally:
        _report(work, as_json=as_json)


def _report(work: Replay, *, as_json: bool) -> None:
    for sequence, reason in work.skipped:
        print_err(f"skipped {sequence}: {reason}")
    if as_json:
        skipped = [{"sequence": sequence, "reason": reason} for sequence, reason in work.skipped]
        counts = {"dry_run": work.dry_run, "replayed": work.replayed}
        print_json(counts | {"skipped": skipped, "interrupted": work.interrupted})
        return
    verb = "would be replayed" if work.dry_run else "replayed"
    rest = f", {len(work.skipped)} skipped" if work.skipped else ""
    end = "; interrupted, run it again to continue" if work.interrupted else ""
    print_err(f"{pluralize(work.replayed, 'dead letter')} {verb}{rest}{end}")
