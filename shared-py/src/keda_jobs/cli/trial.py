"""`keda-jobs replay --into`: try a version of a job on stored events, with its output to the side."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from datetime import timedelta
from typing import Any

import typer

from keda_jobs.cli.connection import INTERRUPTED, interruptible, run
from keda_jobs.cli.selected_events import Request, describe, survey_events
from keda_jobs.cli.terminal import pluralize, print_err, print_json, progress_meter
from keda_jobs.domain.trial import TrialOutcome, trial_prefix
from keda_jobs.errors import JobError, Misconfigured
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.rerun import Selection, Survey
from keda_jobs.jetstream.trial import Trial


def try_events(
    request: Request,
    since: timedelta | None,
    server: str | None,
    *,
    per_second: float | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Count the events and try them. Raises as `Trial.run`, and `Exit` unless the job has done all of them."""
    command = _command(request)
    selection, survey = run(server, lambda connection: survey_events(connection, request, since))
    if survey.count:
        print_err(describe(survey, request.job))
    work = Trial(command, per_second, _print_failure, selection.first)
    try:
        if survey.count and survey.is_whole and not dry_run:
            run(server, lambda connection: _try(connection, selection, work, survey.count))
    except JobError:
        work.interrupted = True
        raise
    finally:
        left = replace(request, from_seq=work.next_sequence, to_seq=selection.last) if work.interrupted else None
        if as_json:
            print_json(_as_json(request, selection, survey, work, left) | {"dry_run": dry_run})
        else:
            _report(request, survey, work, left, dry_run=dry_run)
    if code := INTERRUPTED if work.interrupted or not survey.is_whole else int(work.failed > 0):
        raise typer.Exit(code)


def prefix_of(name: str) -> str:
    """Return the prefix of a trial's output. Raises `Misconfigured`."""
    try:
        return trial_prefix(name)
    except ValueError as error:
        raise Misconfigured(str(error)) from None


def _command(request: Request) -> list[str]:
    """Return the command that starts the process of the trial. Raises `Misconfigured`."""
    prefix_of(request.into or "")
    try:
        python = [sys.executable] if request.python is None else shlex.split(request.python)
    except ValueError as error:
        raise Misconfigured(f"--python {request.python!r} is no command: {error}") from None
    if not python:
        raise Misconfigured("--python is empty: name a command, or leave it out")
    return [*python, "-m", "keda_jobs.event.trial", request.job.replace("-", "_"), request.into or ""]


async def _try(connection: NatsConnection, selection: Selection, work: Trial, count: int) -> None:
    with interruptible() as stop, progress_meter("trial", count) as progress:
        await work.run(connection, selection, stop, progress)


def _print_failure(outcome: TrialOutcome) -> None:
    print_err(f"event {outcome.sequence} {outcome.outcome}: {outcome.reason}")


def _report(request: Request, survey: Survey, work: Trial, left: Request | None, *, dry_run: bool) -> None:
    if not survey.is_whole:
        print_err("interrupted while counting; nothing was tried")
        return
    if dry_run or not survey.count:
        print_err(f"{pluralize(survey.count, 'event')} would be tried" if dry_run else "no event to try")
        return
    unpublished = "".join(f", {count:,} {subject} not published" for subject, count in sorted(work.events.items()))
    print_err(f"{work.done:,} of {pluralize(survey.count, 'event')} done, {work.failed:,} failed{unpublished}")
    if left:
        print_err(f"interrupted, to continue: {left.command()}")
    else:
        print_err(f"what differs: keda-jobs compare {request.into}")


def _as_json(
    request: Request, selection: Selection, survey: Survey, work: Trial, left: Request | None
) -> dict[str, Any]:
    return {
        "job": selection.job,
        "into": request.into,
        "from_seq": selection.first,
        "to_seq": selection.last,
        "found": survey.count,
        "bytes": survey.size,
        "done": work.done,
        "failed": work.failed,
        "events": dict(work.events),
        "interrupted": work.interrupted or not survey.is_whole,
        "next_seq": left.from_seq if left else None,
    }
