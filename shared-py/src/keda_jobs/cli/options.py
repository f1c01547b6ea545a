"""Options that several commands share, and their parsers."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from keda_jobs.domain.durations import parse_duration
from keda_jobs.errors import Misconfigured
from keda_jobs.jetstream.dead_letters import DeadLetterFilter
from keda_jobs.jetstream.replay import parse_rate

MAX_NUMBER = 2**63 - 1
"""Largest number that a command takes: the servers count with 64 bits."""


def _or_global_value(ctx: typer.Context, value: str | None) -> str | None:
    return value or ctx.find_root().params.get("server")


ServerOption = Annotated[
    str | None,
    typer.Option("--server", "-s", metavar="URL", help="NATS server, instead of NATS_URL.", callback=_or_global_value),
]
JobsOption = Annotated[
    Path | None,
    typer.Option(
        "--jobs",
        metavar="DIR",
        help="Folder with stream.json; by default the nearest jobs/ in this folder or above.",
        exists=True,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on stdout, for scripts.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, change nothing.")]
SubjectOption = Annotated[str | None, typer.Option("--subject", help="Only events of this subject.")]
JobOption = Annotated[str | None, typer.Option("--job", help="Only dead letters of this job.")]
ErrorClassOption = Annotated[str | None, typer.Option("--error-class", help="Only dead letters with this error class.")]
SequencesArgument = Annotated[
    list[int] | None,
    typer.Argument(metavar="SEQ", help="Numbers of dead letters, as in `dlq ls`.", min=1, max=MAX_NUMBER),
]
AllOption = Annotated[bool, typer.Option("--all", help="All dead letters. Required without SEQ and filters.")]

AllowLossOption = Annotated[
    bool, typer.Option("--allow-loss", help="Lower limits that delete messages. Without it they are refused.")
]
ReplicasOption = Annotated[
    int | None,
    typer.Option(
        "--replicas",
        metavar="N",
        min=1,
        max=5,
        help="Replicas of each stream, on different servers. Default: unchanged, or 1 for a new stream.",
    ),
]

BatchNameArgument = Annotated[
    str | None, typer.Argument(metavar="NAME", help="Batch job. Required if the database has several.")
]
NameAndKeysArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME|KEY", help="Batch job, first, if there are several; then keys of rows."),
]
ReasonOption = Annotated[
    str | None, typer.Option("--reason", help="Only rows whose error contains this text; ... in it stands for any.")
]
GivenUpOption = Annotated[bool, typer.Option("--given-up", help="Only rows that failed permanently.")]
WaitingOption = Annotated[bool, typer.Option("--waiting", help="Only rows that wait for a retry.")]


def duration(text: str) -> timedelta:
    """Parse a duration such as `90s`, `2h`, `1d` or `1h30m`."""
    try:
        return timedelta(seconds=parse_duration(text))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    except OverflowError:
        raise typer.BadParameter("longer than any event waits or is old") from None


def moment(text: str) -> datetime:
    """Parse a time such as `2026-12-24T18:00Z` or `2026-12-24T18:00+01:00`."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a time such as 2026-12-24T18:00Z") from None


def rate(text: str) -> float:
    """Parse a rate such as `20` or `20/s`, in messages per second."""
    try:
        return parse_rate(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


RateOption = Annotated[
    float | None, typer.Option("--rate", parser=rate, metavar="N/s", help="At most N dead letters per second.")
]
OlderThanOption = Annotated[
    timedelta | None,
    typer.Option("--older-than", parser=duration, metavar="2h", help="Only dead letters older than this."),
]
NewerThanOption = Annotated[
    timedelta | None,
    typer.Option("--newer-than", parser=duration, metavar="1d", help="Only dead letters newer than this."),
]


def require_selection(selection: DeadLetterFilter, everything: bool) -> None:
    """Refuse to change all dead letters without `--all`. Raises `Misconfigured`."""
    if selection.is_everything and not everything:
        raise Misconfigured("no dead letters selected: pass SEQ, a filter, or --all")
