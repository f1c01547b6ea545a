"""`keda-jobs dlq replay`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from keda_jobs.cli import options
from keda_jobs.cli.connection import INTERRUPTED, interruptible, run
from keda_jobs.cli.terminal import JsonArray, pluralize, print_err, progress_meter
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

    The job gets the very bytes that were published. A dead letter that cannot give them back is skipped with the
    reason, and stays. The others are deleted once their copy is confirmed. Ctrl-C stops between two of them. Run it
    again to continue. Even after a crash no dead letter is lost, and none is doubled if you run it again within two
    minutes. Two operators at once double none.

    Examples:

    - `keda-jobs dlq replay 1234 1240`

    - `keda-jobs dlq replay --error-class Timeout --rate 20/s`

    - `keda-jobs dlq replay --all --dry-run`

    JSON: `{"dry_run", "skipped": [{"sequence", "reason"}], "replayed", "interrupted"}`
    """
    selection = DeadLetterFilter(frozenset(sequences or ()), subject, job, error_class, older_than, newer_than)
    options.require_selection(selection, everything)
    output = _Output(dry_run=dry_run, as_json=json_)
    work = Replay(to_subject, dry_run, per_second, output.skip)
    run(server, lambda connection: _replay(connection, selection, work, output))
    if work.interrupted:
        raise typer.Exit(INTERRUPTED)
    if work.skipped:
        raise typer.Exit(1)


class _Output:
    """Output of a replay. It prints what is skipped at once, because there may be millions."""

    def __init__(self, *, dry_run: bool, as_json: bool) -> None:
        self._as_json = as_json
        self._skipped = JsonArray()
        if as_json:
            typer.echo(f'{{"dry_run": {json.dumps(dry_run)}, "skipped": ', nl=False)

    def skip(self, sequence: int, reason: str) -> None:
        """Print the number of a dead letter that is skipped, and the reason."""
        print_err(f"skipped {sequence}: {reason}")
        if self._as_json:
            self._skipped.add([json.dumps({"sequence": sequence, "reason": reason})])

    def summarize(self, work: Replay) -> None:
        """Print the counts."""
        if self._as_json:
            self._skipped.close(end="")
            interrupted = json.dumps(work.interrupted)
            typer.echo(f', "replayed": {work.replayed}, "interrupted": {interrupted}}}')
            return
        verb = "would be replayed" if work.dry_run else "replayed"
        rest = f", {work.skipped} skipped" if work.skipped else ""
        end = "; interrupted, run it again to continue" if work.interrupted else ""
        print_err(f"{pluralize(work.replayed, 'dead letter')} {verb}{rest}{end}")


async def _replay(connection: NatsConnection, selection: DeadLetterFilter, work: Replay, output: _Output) -> None:
    try:
        with interruptible() as stop, progress_meter("replay", await expected_count(connection, selection)) as progress:

            def announce(dead: DeadLetter, copy: Outgoing) -> None:
                progress(work.done)
                if work.dry_run:
                    print_err(f"{dead.sequence}: {dead.subject}, {len(copy.data)} bytes, to {copy.subject}")

            await work.run(connection, selection, stop, announce)
    finally:
        output.summarize(work)
