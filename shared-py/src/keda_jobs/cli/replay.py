"""`keda-jobs replay`: send events that the stream still holds to one job again."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from keda_jobs.cli import options
from keda_jobs.cli.connection import run
from keda_jobs.cli.selected_events import Outcome, Request, describe, survey_events
from keda_jobs.cli.selected_run import Report, SelectedRun
from keda_jobs.cli.terminal import confirm, pluralize, print_err
from keda_jobs.cli.trial import try_events
from keda_jobs.errors import Misconfigured
from keda_jobs.jetstream.rerun import Condition, Rerun, Survey


def _condition(text: str) -> Condition:
    try:
        return Condition.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


_JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="Job that gets the events again.")]
_SinceOption = Annotated[
    timedelta | None,
    typer.Option("--since", parser=options.duration, metavar="2d", help="Events of this last time."),
]
_FromOption = Annotated[
    int | None,
    typer.Option("--from-seq", metavar="SEQ", min=1, max=options.MAX_NUMBER, help="Events from this number on."),
]
_ToOption = Annotated[
    int | None,
    typer.Option("--to-seq", metavar="SEQ", min=1, max=options.MAX_NUMBER, help="Events up to this number."),
]
_WhereOption = Annotated[
    list[Condition] | None,
    typer.Option(
        "--where",
        parser=_condition,
        metavar="url~png",
        help="Only events whose field contains (~) or is (=) this. Repeat it for more conditions.",
    ),
]
_OutcomeOption = Annotated[
    Outcome | None, typer.Option("--outcome", help="Only events of which the job has a dead letter.")
]
_IntoOption = Annotated[
    str | None,
    typer.Option("--into", metavar="NAME", help="Only try them: outputs go below trials/NAME/ in the job's bucket."),
]
_PythonOption = Annotated[
    str | None,
    typer.Option("--python", metavar="COMMAND", help="With --into: Python of the version to try. Default: this one."),
]


def replay(
    job: _JobArgument,
    since: _SinceOption = None,
    from_seq: _FromOption = None,
    to_seq: _ToOption = None,
    where: _WhereOption = None,
    outcome: _OutcomeOption = None,
    into: _IntoOption = None,
    python: _PythonOption = None,
    per_second: options.RateOption = None,
    yes: options.YesOption = False,
    dry_run: options.DryRunOption = False,
    json_: options.JsonOption = False,
    server: options.ServerOption = None,
) -> None:
    """Send events to one job again, oldest first, whatever became of them. No other job sees them.

    The stream keeps events for 14 days. Each is sent byte for byte as a new one, which starts at attempt 1. What the
    job has not got yet is left out: it comes anyway. Dead letters stay. The events are counted first. Ctrl-C stops
    between two of them, and the command to continue is printed.

    Examples:

    - `keda-jobs replay image-resize --since 2d --dry-run`

    - `keda-jobs replay image-download --from-seq 120000 --where 'url~.png' --rate 200`

    - `keda-jobs replay image-resize --since 1d --into bigger` (a trial, then: `keda-jobs compare bigger`)

    With --into nothing is sent. The events go to a process of the job that has the bucket's settings (R2_*) and the
    job's own from this shell, and no connection to NATS. Failures are listed. docs/replay.md has the whole story.

    JSON: `{"job", "dry_run", "from_seq", "to_seq", "found", "bytes", "sent", "skipped", "interrupted", "next_seq"}`;
    `next_seq` is where to continue, null when nothing is left. With --into `into`, `done`, `failed` and `events` take
    the place of `sent` and `skipped`: `events` has the numbers of unpublished events by subject.
    """
    if (since is None) == (from_seq is None):
        raise Misconfigured("say which events: --since 2d, or --from-seq SEQ")
    if python is not None and into is None:
        raise Misconfigured("--python is for a trial: add --into NAME")
    request = Request(job, from_seq, to_seq, tuple(where or ()), outcome, into, python)
    if into is not None:
        try_events(request, since, server, per_second=per_second, dry_run=dry_run, as_json=json_)
        return
    selection, survey = run(server, lambda connection: survey_events(connection, request, since))
    work = Rerun(per_second, lambda sequence, reason: print_err(f"skipped {sequence}: {reason}"), selection.first)
    report = Report(
        "send",
        "sent",
        lambda: _summary(survey, work),
        lambda: {"sent": work.sent, "skipped": work.skipped},
        lambda: work.skipped,
    )
    is_wanted = _is_confirmed(survey, job, yes=yes, dry_run=dry_run)
    SelectedRun(request, selection, survey, dry_run, json_).carry_out(server, work, report, is_wanted=is_wanted)


def _is_confirmed(survey: Survey, job: str, *, yes: bool, dry_run: bool) -> bool:
    """Show what was counted, and return whether to send it. Raises `Misconfigured` where nobody can be asked."""
    if not survey.count:
        return False
    print_err(describe(survey, job))
    question = f"Send {pluralize(survey.count, 'event')} to {job} again?"
    return survey.is_whole and not dry_run and (yes or confirm(question, "send them again"))


def _summary(survey: Survey, work: Rerun) -> str:
    rest = f", {work.skipped} skipped" if work.skipped else ""
    return f"{work.sent:,} of {pluralize(survey.count, 'event')} sent{rest}"
