"""`keda-jobs dlq replay | purge`: what takes dead letters out of the stream."""

from __future__ import annotations

from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated

import typer

from keda_jobs.cli.connection import INTERRUPTED, interruptible, run
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
    rate,
)
from keda_jobs.cli.terminal import pluralize, print_err, print_json, print_out, progress_meter
from keda_jobs.domain.broker import Outgoing
from keda_jobs.domain.dead_letter import DeadLetter
from keda_jobs.domain.subjects import DEAD_LETTER
from keda_jobs.errors import Misconfigured
from keda_jobs.jetstream.connection import Client
from keda_jobs.jetstream.dead_letters import DeadLetterFilter, Group, delete, group_key, select
from keda_jobs.jetstream.flow import messages_by_subject
from keda_jobs.jetstream.replay import Replay, Tally


def replay(
    sequences: SequencesArgument = None,
    subject: SubjectOption = None,
    job: JobOption = None,
    error_class: ErrorClassOption = None,
    older_than: OlderThanOption = None,
    newer_than: NewerThanOption = None,
    everything: AllOption = False,
    to_subject: Annotated[
        bool,
        typer.Option("--to-subject", help="To all consumers of the event's subject, not only the job that failed."),
    ] = False,
    per_second: Annotated[
        float | None, typer.Option("--rate", parser=rate, metavar="N/s", help="At most so many letters a second.")
    ] = None,
    dry_run: DryRunOption = False,
    json_: JsonOption = False,
    server: ServerOption = None,
) -> None:
    """Give dead letters back to the job that failed, as new messages with a fresh count of attempts.

    A letter is deleted once its copy is confirmed. Ctrl-C ends between two letters; run it again to go on. Even after
    a crash no letter is lost, and none is doubled when it is run again within two minutes.

    Examples:

    - `keda-jobs dlq replay 1234 1240`

    - `keda-jobs dlq replay --error-class Timeout --rate 20/s`

    - `keda-jobs dlq replay --all --dry-run`

    JSON: `{"dry_run", "replayed", "skipped": [{"sequence", "reason"}], "interrupted"}`
    """
    wanted = DeadLetterFilter(frozenset(sequences or ()), subject, job, error_class, older_than, newer_than)
    _require_selection(wanted, everything)
    how = Replay(to_subject, dry_run, per_second)
    tally = run(server, lambda client: _replay(client, wanted, how, as_json=json_))
    _end(interrupted=tally.interrupted, complete=not tally.skipped)


async def _replay(client: Client, wanted: DeadLetterFilter, how: Replay, *, as_json: bool) -> Tally:
    tally = Tally()

    def missing(sequence: int) -> None:
        tally.skipped.append((sequence, "there is no such dead letter (any more)"))

    try:
        with interruptible() as stop, progress_meter("replay", await _expected(client, wanted)) as progress:

            def watch(letter: DeadLetter, outgoing: Outgoing) -> None:
                progress(tally.replayed + len(tally.skipped))
                if how.dry_run:
                    print_err(f"{letter.sequence}: {letter.subject}, {len(outgoing.data)} bytes, to {outgoing.subject}")

            async with aclosing(select(client, wanted, missing=missing)) as letters:
                await how.run(client, letters, stop, tally, watch)
    finally:
        _report_replay(tally, dry_run=how.dry_run, as_json=as_json)
    return tally


def _report_replay(tally: Tally, *, dry_run: bool, as_json: bool) -> None:
    for sequence, reason in tally.skipped:
        print_err(f"skipped {sequence}: {reason}")
    if as_json:
        skipped = [{"sequence": sequence, "reason": reason} for sequence, reason in tally.skipped]
        print_json(
            {"dry_run": dry_run, "replayed": tally.replayed, "skipped": skipped, "interrupted": tally.interrupted}
        )
        return
    verb = "would be replayed" if dry_run else "replayed"
    rest = f", {len(tally.skipped)} skipped" if tally.skipped else ""
    end = "; interrupted, run it again to go on" if tally.interrupted else ""
    print_err(f"{pluralize(tally.replayed, 'dead letter')} {verb}{rest}{end}")


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
    """Delete dead letters for good, after showing which and asking.

    Examples:

    - `keda-jobs dlq purge --job image-download --older-than 30d`

    - `keda-jobs dlq purge 1234 --yes`

    JSON: `{"dry_run", "found", "deleted", "interrupted"}`
    """
    wanted = DeadLetterFilter(frozenset(sequences or ()), subject, job, error_class, older_than, newer_than)
    _require_selection(wanted, everything)
    doomed = run(server, lambda client: _doomed(client, wanted))
    missing = sorted(wanted.sequences - doomed.keys())
    for sequence in missing:
        print_err(f"{sequence} is not among these dead letters")
    if doomed and not json_:
        print_out(groups_table(Counter(doomed.values())))
    purged = Purged()
    if doomed and not dry_run and _is_confirmed(len(doomed), yes):
        run(server, lambda client: _delete_all(client, list(doomed), purged))
    _report_purge(purged, len(doomed), dry_run=dry_run, as_json=json_)
    left = len(missing) + (0 if dry_run else len(doomed) - purged.deleted)
    _end(interrupted=purged.interrupted, complete=not left)


@dataclass(slots=True)
class Purged:
    """What a purge did."""

    deleted: int = 0
    interrupted: bool = False


def _is_confirmed(count: int, yes: bool) -> bool:
    if yes:
        return True
    if not typer.get_text_stream("stdin").isatty():
        raise Misconfigured("purge asks before it deletes, and nobody can answer here: pass --yes")
    return typer.confirm(f"Delete {pluralize(count, 'dead letter')} for good?", err=True)


async def _doomed(client: Client, wanted: DeadLetterFilter) -> dict[int, Group]:
    async with aclosing(select(client, wanted)) as letters:
        return {letter.sequence: group_key(letter) async for letter in letters}


async def _delete_all(client: Client, sequences: list[int], purged: Purged) -> None:
    with interruptible() as stop, progress_meter("purge", len(sequences)) as progress:
        for sequence in sequences:
            if stop.is_set():
                purged.interrupted = True
                return
            await delete(client, sequence)
            purged.deleted += 1
            progress(purged.deleted)


def _report_purge(purged: Purged, found: int, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        print_json({"dry_run": dry_run, "found": found, "deleted": purged.deleted, "interrupted": purged.interrupted})
    elif dry_run:
        print_err(f"{pluralize(found, 'dead letter')} would be deleted")
    else:
        print_err(f"{purged.deleted:,} of {pluralize(found, 'dead letter')} deleted")


def _require_selection(wanted: DeadLetterFilter, everything: bool) -> None:
    if wanted.is_everything and not everything:
        raise Misconfigured("say which letters: SEQ, a filter, or --all")


async def _expected(client: Client, wanted: DeadLetterFilter) -> int | None:
    """How many letters will come, where that is known before they are read."""
    if wanted.sequences:
        return len(wanted.sequences)
    return (await messages_by_subject(client, DEAD_LETTER)).get(DEAD_LETTER, 0) if wanted.is_everything else None


def _end(*, interrupted: bool, complete: bool) -> None:
    if interrupted:
        raise typer.Exit(INTERRUPTED)
    if not complete:
        raise typer.Exit(1)
