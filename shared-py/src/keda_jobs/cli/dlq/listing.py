"""`keda-jobs dlq ls | show | count`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

import typer

from keda_jobs.cli import options
from keda_jobs.cli.connection import run
from keda_jobs.cli.dlq.views import data_text, dead_letter_json, dead_letters_table, facts_table, groups_table
from keda_jobs.cli.terminal import JsonArray, console, pluralize, print_err, print_json, print_out
from keda_jobs.domain.dead_letter import DeadLetter
from keda_jobs.errors import JobError
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.dead_letters import (
    DeadLetterFilter,
    DeadLetterSurvey,
    Snapshot,
    find_dead_letter,
    find_newest,
    select_dead_letters,
)

# Dead letters are printed in pages of this size, because there may be millions.
_PAGE = 1000


def list_dead_letters(
    subject: options.SubjectOption = None,
    job: options.JobOption = None,
    error_class: options.ErrorClassOption = None,
    older_than: options.OlderThanOption = None,
    newer_than: options.NewerThanOption = None,
    limit: Annotated[
        int, typer.Option(help="Show only the newest N; 0 shows all.", metavar="N", min=0, max=options.MAX_NUMBER)
    ] = 50,
    json_: options.JsonOption = False,
    server: options.ServerOption = None,
) -> None:
    """List dead letters, the newest last.

    Examples:

    - `keda-jobs dlq ls --job image-download --newer-than 1d`

    - `keda-jobs dlq ls --json --limit 0 | jq -r '.[].data.url'`

    JSON: `[{"sequence", "died_at", "published_at", "job", "subject", "num_delivered", "error_class", "reason",
    "data_kind", "data", "headers"}]`; `data_kind` is json, text, escaped or truncated,
    and `data` is what was published, to the digit.
    """
    selection = DeadLetterFilter(frozenset(), subject, job, error_class, older_than, newer_than)
    run(server, lambda connection: _list(connection, selection, limit, as_json=json_))


async def _list(connection: NatsConnection, selection: DeadLetterFilter, limit: int, *, as_json: bool) -> None:
    """Print the newest `limit` dead letters in pages. They are read twice, so that no number fills the memory."""
    snapshot = await Snapshot.take(connection)
    first, total = await find_newest(connection, selection, snapshot, limit) if limit else (1, 0)
    shown, array = 0, JsonArray()
    async with aclosing(select_dead_letters(connection, selection, snapshot, first=first)) as selected:
        async for page in _pages(selected):
            if as_json:
                array.add(map(dead_letter_json, page))
            else:
                print_out(dead_letters_table(page, snapshot.now, console().width))
            shown += len(page)
    if as_json:
        array.close()
        return
    cut = f", the newest {limit} shown (--limit 0: all)" if total > limit > 0 else ""
    print_err(pluralize(max(total, shown), "dead letter") + cut)


async def _pages(dead_letters: AsyncIterator[DeadLetter]) -> AsyncIterator[list[DeadLetter]]:
    page: list[DeadLetter] = []
    async for dead in dead_letters:
        page.append(dead)
        if len(page) == _PAGE:
            yield page
            page = []
    if page:
        yield page


def show_dead_letter(
    sequence: Annotated[
        int,
        typer.Argument(metavar="SEQ", help="Number of the dead letter, as in `dlq ls`.", min=1, max=options.MAX_NUMBER),
    ],
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
        typer.echo(dead_letter_json(dead))
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
    survey = DeadLetterSurvey(selection)
    run(server, survey.run)
    groups = survey.groups
    if json_:
        keys = ("job", "error_class", "subject")
        listed = [dict(zip(keys, group, strict=True)) | {"count": count} for group, count in groups.most_common()]
        print_json({"total": groups.total(), "groups": listed})
        return
    if groups:
        print_out(groups_table(groups))
    print_err(pluralize(groups.total(), "dead letter"))
