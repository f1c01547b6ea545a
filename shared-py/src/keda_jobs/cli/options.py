"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

import typer

_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def _here_or_before(ctx: typer.Context, value: str | None) -> str | None:
    return value or ctx.find_root().params.get("server")


ServerOption = Annotated[
    str | None,
    typer.Option("--server", "-s", metavar="URL", help="NATS server, instead of NATS_URL.", callback=_here_or_before),
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on stdout, for scripts.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, change nothing.")]
SubjectOption = Annotated[str | None, typer.Option("--subject", help="Only events of this subject.")]
JobOption = Annotated[str | None, typer.Option("--job", help="Only letters of this job.")]
ErrorClassOption = Annotated[str | None, typer.Option("--error-class", help="Only letters with this error class.")]
SequencesArgument = Annotated[
    list[int] | None, typer.Argument(metavar="SEQ", help="Numbers of letters, as `dlq ls` shows them.", min=1)
]
AllOption = Annotated[bool, typer.Option("--all", help="All letters; needed where neither SEQ nor a filter is given.")]

BatchNameArgument = Annotated[
    str | None, typer.Argument(metavar="NAME", help="The batch job; needed where the database has several.")
]
NameAndKeysArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME|KEY", help="The batch job, first, where there are several; keys of rows."),
]
ReasonOption = Annotated[str | None, typer.Option("--reason", help="Only rows whose error has this text in it.")]
GivenUpOption = Annotated[bool, typer.Option("--given-up", help="Only rows that failed for good.")]
WaitingOption = Annotated[bool, typer.Option("--waiting", help="Only rows that wait for a retry.")]


def duration(text: str) -> timedelta:
    """`90s`, `2h`, `1d`, `1h30m` as a duration."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise typer.BadParameter(f"{text!r} is not a duration such as 90s, 2h, 1d or 1h30m")
    return timedelta(seconds=sum(float(number) * _SECONDS[unit] for number, unit in parts))


def rate(text: str) -> float:
    """`20` or `20/s` as messages a second."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(?:/s)?", text)
    if match is None or float(match[1]) == 0:
        raise typer.BadParameter(f"{text!r} is not a rate such as 20/s or 0.5/s")
    return float(match[1])


OlderThanOption = Annotated[
    timedelta | None, typer.Option("--older-than", parser=duration, metavar="2h", help="Only letters older than this.")
]
NewerThanOption = Annotated[
    timedelta | None, typer.Option("--newer-than", parser=duration, metavar="1d", help="Only letters newer than this.")
]
