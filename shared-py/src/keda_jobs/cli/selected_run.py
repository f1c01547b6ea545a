"""Run of a command over selected events: carried out, reported, and the exit code."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import typer

from keda_jobs.cli.connection import INTERRUPTED, interruptible, run
from keda_jobs.cli.selected_events import Request
from keda_jobs.cli.terminal import pluralize, print_err, print_json, progress_meter
from keda_jobs.errors import JobError
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.rerun import Selection, Survey


class Work(Protocol):
    """Work on selected events, such as `Rerun` and `Trial`."""

    next_sequence: int
    interrupted: bool

    async def run(
        self, connection: NatsConnection, selection: Selection, stop: asyncio.Event, progress: Callable[[int], None]
    ) -> None:
        """Work until the end or until `stop`."""


@dataclass(frozen=True, slots=True)
class Report:
    """Report of a run: the words for what it does, such as `send` and `sent`, and the numbers of the work."""

    verb: str
    done: str
    summary: Callable[[], str]
    counts: Callable[[], dict[str, Any]]
    failures: Callable[[], int]
    next_step: str = ""


@dataclass(frozen=True, slots=True)
class SelectedRun:
    """Run over the events of `selection`, which `survey` has counted."""

    request: Request
    selection: Selection
    survey: Survey
    dry_run: bool
    as_json: bool

    def carry_out(self, server: str | None, work: Work, report: Report, *, is_wanted: bool) -> None:
        """Work on the events if `is_wanted`, and report. Raises as `Work.run`, and `Exit` unless all is done."""
        try:
            if is_wanted and self.survey.is_whole and not self.dry_run:
                run(server, lambda connection: self._work(connection, work, report))
        except JobError:
            work.interrupted = True
            raise
        finally:
            self._report(work, report)
        if code := INTERRUPTED if self._is_interrupted(work) else int(report.failures() > 0):
            raise typer.Exit(code)

    async def _work(self, connection: NatsConnection, work: Work, report: Report) -> None:
        with interruptible() as stop, progress_meter(report.verb, self.survey.count) as progress:
            await work.run(connection, self.selection, stop, progress)

    def _is_interrupted(self, work: Work) -> bool:
        return work.interrupted or not self.survey.is_whole

    def _report(self, work: Work, report: Report) -> None:
        left = None
        if work.interrupted:
            left = replace(self.request, from_seq=work.next_sequence, to_seq=self.selection.last)
        if self.as_json:
            print_json(self._json(work, left) | report.counts())
        elif not self.survey.is_whole:
            print_err(f"interrupted while counting; nothing was {report.done}")
        elif self.dry_run:
            print_err(f"{pluralize(self.survey.count, 'event')} would be {report.done}")
        elif not self.survey.count:
            print_err(f"no event to {report.verb}")
        else:
            self._print_end(report, left)

    def _print_end(self, report: Report, left: Request | None) -> None:
        print_err(report.summary())
        if left:
            print_err(f"interrupted, to continue: {left.command()}")
        elif report.next_step:
            print_err(report.next_step)

    def _json(self, work: Work, left: Request | None) -> dict[str, Any]:
        return {
            "job": self.selection.job,
            "dry_run": self.dry_run,
            "from_seq": self.selection.first,
            "to_seq": self.selection.last,
            "found": self.survey.count,
            "bytes": self.survey.size,
            "interrupted": self._is_interrupted(work),
            "next_seq": left.from_seq if left else None,
        }
