"""`keda-jobs dlq ls | show | count`: look at dead letters. The commands that change them are in `dlq_changes`."""

from __future__ import annotations

from collections import Counter, deque
from contextlib import aclosing
from datetime import datetime
from typing import Annotated

import typer

from keda_jobs.cli.connection import run
from keda_jobs.cli.dlq.views import as_json, data_text, facts_table, groups_table, letters_table
from keda_jobs.cli.options import (
    ErrorClassOption,
    JobOption,
    JsonOption,
    NewerThanOption,
    OlderThanOption,
    ServerOption,
    SubjectOption,
)
from keda_jobs.cli.terminal import console, pluralize, print_err, print_json, print_out
from keda_jobs.domain.dead_letter import DeadLetter
from keda_jobs.errors import JobError
from keda_jobs.jetstream.api import stream_info
from keda_jobs.jetstream.connection import Client
from keda_jobs.jetstream.dead_letters import DeadLetterFilter, Group, group_key, letter_at, select
from keda_jobs.jetstream.reader import moment


def list_letters(
    subject: SubjectOption = None,
    job: JobOption = None,
    error_class: ErrorClassOption = None,
    older_than: OlderThanOption = None,
    newer_than: NewerThanOption = None,
    limit: Annotated[int, typer.Option(help="The newest so many; 0 shows all.", min=0)] = 50,
    json_: JsonOption = False,
    server: ServerOption = None,
) -> None:
    """List dead letters, the newest last.

    Examples:

    - `keda-jobs dlq ls --job image-download --newer-than 1d`

    - `keda-jobs dlq ls --json --limit 0 | jq -r '.[].data.url'`

    JSON: `[{"sequence", "died_at", "published_at", "job", "subject", "num_delivered", "error_class", "reason",
    "data_kind", "data", "headers"}]`; `data_kind` is json, text or truncated.
    """
    wanted = DeadLetterFilter(frozenset(), subject, job, error_class, older_than, newer_than)
    letters, matched, now = run(server, lambda client: _newest(client, wanted, limit))
    if json_:
        print_json([as_json(letter) for letter in letters])
        return
    if letters:
        print_out(letters_table(letters, now, console().width))
    cut = f", the newest {limit} shown (--limit 0: all)" if matched > limit > 0 else ""
    print_err(pluralize(matched, "dead letter") + cut)


async def _newest(client: Client, wanted: DeadLetterFilter, limit: int) -> tuple[list[DeadLetter], int, datetime]:
    newest: deque[DeadLetter] = deque(maxlen=limit or None)
    matched = 0
    now = moment((await stream_info(client))["ts"])
    async with aclosing(select(client, wanted)) as letters:
        async for letter in letters:
            newest.append(letter)
            matched += 1
    return list(newest), matched, now


def show_letter(
    sequence: Annotated[int, typer.Argument(metavar="SEQ", help="Number of the letter, as `dlq ls` shows it.", min=1)],
    json_: JsonOption = False,
    server: ServerOption = None,
) -> None:
    """Show one dead letter whole: why it died, its headers and its data.

    Example: `keda-jobs dlq show 1234`

    JSON: one object with the keys of `dlq ls`.
    """
    letter = run(server, lambda client: letter_at(client, sequence))
    if letter is None:
        raise JobError(f"there is no dead letter {sequence}; see `keda-jobs dlq ls`")
    if json_:
        print_json(as_json(letter))
        return
    print_out(facts_table(letter))
    print_out(data_text(letter))


def count_letters(
    subject: SubjectOption = None,
    job: JobOption = None,
    error_class: ErrorClassOption = None,
    older_than: OlderThanOption = None,
    newer_than: NewerThanOption = None,
    json_: JsonOption = False,
    server: ServerOption = None,
) -> None:
    """Count dead letters by job, error class and subject.

    Example: `keda-jobs dlq count --newer-than 1h`

    JSON: `{"total", "groups": [{"job", "error_class", "subject", "count"}]}`, the largest group first.
    """
    wanted = DeadLetterFilter(frozenset(), subject, job, error_class, older_than, newer_than)
    groups = run(server, lambda client: _groups(client, wanted))
    if json_:
        keys = ("job", "error_class", "subject")
        listed = [dict(zip(keys, group, strict=True)) | {"count": count} for group, count in groups.most_common()]
        print_json({"total": groups.total(), "groups": listed})
        return
    if groups:
        print_out(groups_table(groups))
    print_err(pluralize(groups.total(), "dead letter"))


async def _groups(client: Client, wanted: DeadLetterFilter) -> Counter[Group]:
    async with aclosing(select(client, wanted)) as letters:
        return Counter([group_key(letter) async for letter in letters])
