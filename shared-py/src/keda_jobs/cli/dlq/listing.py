"""`keda-jobs dlq ls | show | count`."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Annotated

import typer

from keda_jobs.cli import options
from keda_jobs.cli.connection import run
from keda_jobs.cli.dlq.views import as_json, data_text, dead_letters_table, facts_table, groups_table
from keda_jobs.cli.terminal import console, pluralize, print_err, print_json, print_out
from keda_jobs.domain.dead_letter import DeadLetter
from keda_jobs.errors import JobError
from keda_jobs.jetstream.api import server_time
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.dead_letters import DeadLetterFilter, find_dead_letter, group_dead_letters, newest_dead_letters


def list_dead_letters(
    subject: options.SubjectOption = None,
    job: options.JobOption = None,
    error_class: options.ErrorClassOption = None,
    older_than: options.OlderThanOption = None,
    newer_than: options.NewerThanOption = None,
    limit: Annotated[int, typer.Option(help="Show only the newest N; 0 shows all.", metavar="N", min=0)] = 50,
    json_: options.JsonOption = False,
    server: options.ServerOption = None,
) -> None:
    """List dead letters, the newest last.

    Examples:

    - `keda-jobs dlq ls --job image-download --newer-than 1d`

    - `keda-jobs dlq ls --json --limit 0 | jq -r '.[].data.url'`

    JSON: `[{"sequence", "died_at", "published_at", "job", "subject", "num_delivered", "error_class", "reason",
    "data_kind", "data", "headers"}]`; `data_kind` is json, text or truncated.
    """
    selection = DeadLetterFilter(frozenset(), subject, job, error_class, older_than, newer_than)
    newest, total, now = run(server, lambda connection: _newest(connection, selection, limit))
    if json_:
        print_json([as_json(dead) for dead in newest])
        return
    if newest:
        print_out(dead_letters_table(newest, now, console().width))
    cut = f", the newest {limit} shown (--limit 0: all)" if total > limit > 0 else ""
    print_err(pluralize(total, "dead letter") + cut)


async def _newest(
    connection: NatsConnection, selection: DeadLetterFilter, limit: int
) -> tuple[list[DeadLetter], int, datetime]:
    now = await server_time(connection)
    newest, total = await newest_dead_letters(connection, selection, limit)
    return newest, total, now


def show_dead_letter(
    sequence: Annotated[int, typer.Argument(metavar="SEQ", help="Number of the dead letter, as in `dlq ls`.", min=1)],
    json_: options.JsonOption = False,
    server: options.ServerOption = None,
) -> None:
    """Show one dead letter completely: its reason, its headers and its data.

    Example: `keda-jobs dlq show 1234`

    JSON: one object with the keys of `dlq ls`.
    """
    dead = run(server, lambda connection: find_dead_letter(connection, sequence))
    if dead is None:
        raise JobError(f"there is no dead letter {sequence}; see `keda-jobs dlq ls`")
    if json_:
        print_json(as_json(dead))
        return
    print_out(facts_table(dead))
    print_out(data_text(dead))


def count_dead_letters(
    subject: options.SubjectOption = None,
    job: options.JobOption = None,
    error_class: options.ErrorClassOption = None,
    older_than: options.OlderThanOption = None,
    newer_than: options.NewerThanOption = None,
    json_: options.JsonOption = False,
    server: options.ServerOption = None,
) -> None:
    """Count dead letters by job, error class and subject.

    Example: `keda-jobs dlq count --newer-than 1h`

    JSON: `{"total", "groups": [{"job", "error_class", "subject", "count"}]}`, the largest group first.
    """
    selection = DeadLetterFilter(frozenset(), subject, job, error_class, older_than, newer_than)
    groups = Counter(run(server, lambda connection: group_dead_letters(connection, selection)).values())
    if json_:
        keys = ("job", "error_class", "subject")
        listed = [dict(zip(keys, group, strict=True)) | {"count": count} for group, count in groups.most_common()]
        print_json({"total": groups.total(), "groups": listed})
        return
    if groups:
        print_out(groups_table(groups))
    print_err(pluralize(groups.total(), "dead letter"))
