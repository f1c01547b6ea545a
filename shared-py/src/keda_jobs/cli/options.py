"""Options that several commands share, and their parsers."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import Annotated

import typer

from keda_jobs.errors import Misconfigured
from keda_jobs.jetstream.dead_letters import DeadLetterFilter

MAX_NUMBER = 2**63 - 1
"""Largest number that a command takes: the servers count with 64 bits."""

_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")
# One a day.
_SLOWEST = 1 / 86_400
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def _or_global_value(ctx: typer.Context, value: str | None) -> str | None:
    return value or ctx.find_root().params.get("server")


ServerOption = Annotated[
    str | None,
    typer.Option("--server", "-s", metavar="URL", help="NATS server, instead of NATS_URL.", callback=_or_global_value),
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

BatchNameArgument = Annotated[
    str | None, typer.Argument(metavar="NAME", help="Batch job. Required if the database has several.")
]
NameAndKeysArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME|KEY", help="Batch job, first, if there are several; then keys of rows."),
]
ReasonOption = Annotated[str | None, typer.Option("--reason", help="Only rows whose error contains this text.")]
GivenUpOption = Annotated[bool, typer.Option("--given-up", help="Only rows that failed permanently.")]
WaitingOption = Annotated[bool, typer.Option("--waiting", help="Only rows that wait for a retry.")]


def duration(text: str) -> timedelta:
    """Parse a duration such as `90s`, `2h`, `1d` or `1h30m`."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise typer.BadParameter(f"{text!r} is not a duration such as 90s, 2h, 1d or 1h30m")
    try:
        return timedelta(seconds=sum(float(number) * _SECONDS[unit] for number, unit in parts))
    except OverflowError:
        raise typer.BadParameter("longer than any dead letter is old") from None


def rate(text: str) -> float:
    """Parse a rate such as `20` or `20/s`, in messages per second."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(?:/s)?", text)
    if match is None or not _SLOWEST <= float(match[1]) < math.inf:
        raise typer.BadParameter(f"{text!r} is not a rate such as 20/s or 0.5/s")
    return float(match[1])


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
