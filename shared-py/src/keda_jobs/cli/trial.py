"""`keda-jobs replay --into`: try a version of a job on stored events, with its output to the side."""

from __future__ import annotations

import shlex
import sys
from datetime import timedelta

from keda_jobs.cli.connection import run
from keda_jobs.cli.selected_events import Request, describe, survey_events
from keda_jobs.cli.selected_run import Report, SelectedRun
from keda_jobs.cli.terminal import pluralize, print_err
from keda_jobs.domain.trial import TrialOutcome, trial_prefix
from keda_jobs.errors import Misconfigured
from keda_jobs.jetstream.rerun import Survey
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
    report = Report(
        "try",
        "tried",
        lambda: _summary(survey, work),
        lambda: {"into": request.into, "done": work.done, "failed": work.failed, "events": dict(work.events)},
        lambda: work.failed,
        next_step=f"what differs: keda-jobs compare {request.into}",
    )
    found = SelectedRun(request, selection, survey, dry_run, as_json)
    found.carry_out(server, work, report, is_wanted=survey.count > 0)


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


def _print_failure(outcome: TrialOutcome) -> None:
    print_err(f"event {outcome.sequence} {outcome.outcome}: {outcome.reason}")


def _summary(survey: Survey, work: Trial) -> str:
    unpublished = "".join(f", {count:,} {subject} not published" for subject, count in sorted(work.events.items()))
    return f"{work.done:,} of {pluralize(survey.count, 'event')} done, {work.failed:,} failed{unpublished}"
