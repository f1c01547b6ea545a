"""Replay and deletion of dead letters: counted first, then confirmed, then done as one action."""

from __future__ import annotations

import re
from dataclasses import dataclass

from aiohttp import web
from multidict import MultiDict

from keda_jobs.domain.broker import Outgoing
from keda_jobs.domain.dead_letter import DeadLetter
from keda_jobs.jetstream.dead_letters import DeadLetterFilter, DeadLetterSurvey, Snapshot, delete_dead_letters
from keda_jobs.jetstream.replay import Replay, parse_rate
from keda_jobs.ui.actions import Action
from keda_jobs.ui.dead_letter_query import DeadLetterQuery, parse_snapshot
from keda_jobs.ui.page import LIVE, UI, BadInput, Ui, render
from keda_jobs.ui.pages.actions import new_action, run_action

_GROUPS = 100
_MISSING = 20
_COUNTS = {"count": "Count", "replay": "Replay", "purge": "Delete"}


def routes() -> list[web.RouteDef]:
    """Return the routes of the view."""
    return [
        web.get("/dead-letters/{what:count|replay|purge}", survey),
        web.post("/dead-letters/replay", replay),
        web.post("/dead-letters/purge", purge),
    ]


async def survey(request: web.Request) -> web.Response:
    """Count the dead letters that are asked for, by job, class and subject, and ask whether to act."""
    what, ui = request.match_info["what"], request.app[UI]
    query = DeadLetterQuery.parse(request.query)
    if "chosen" in request.query and not query.sequences:
        raise BadInput("no dead letter is chosen: go back and tick some")
    selection = query.selection()
    counted, error = await ui.surveys.look(
        (what, selection), lambda: DeadLetterSurvey(selection), anew=LIVE not in request.headers
    )
    return render(
        request,
        "dead_letter_survey.html",
        title=f"{_COUNTS[what]} dead letters",
        what=what,
        query=query,
        survey=counted,
        found=counted.groups.total(),
        groups=counted.groups.most_common(_GROUPS),
        missing=counted.missing[:_MISSING],
        error=error,
    )


async def replay(request: web.Request) -> web.Response:
    """Replay the dead letters that the form names."""
    form = await _Form.read(request)
    fields = await request.post()
    work = _ReplayWork(request.app[UI], form, to_subject="to-subject" in fields, per_second=_rate(fields.get("rate")))
    title = f"Replay {form.title}"
    return await run_action(request, new_action(request, title, form.back, form.found), work.run)


async def purge(request: web.Request) -> web.Response:
    """Delete the dead letters that the form names."""
    form, ui = await _Form.read(request), request.app[UI]

    async def work(action: Action) -> str:
        def progress(deleted: int) -> None:
            action.done = deleted

        connection = await ui.nats.connection()
        snapshot = form.snapshot or await Snapshot.take(connection)
        action.done = await delete_dead_letters(connection, form.selection, snapshot, action.stop, progress)
        return f"{action.done:,} of {_count(form.found)} deleted{_stopped(action)}"

    return await run_action(request, new_action(request, f"Delete {form.title}", form.back, form.found), work)


@dataclass(frozen=True, slots=True)
class _Form:
    """Confirmed form: what it is about, and the moment at which that was counted. `found` is how many there were."""

    query: DeadLetterQuery
    selection: DeadLetterFilter
    snapshot: Snapshot | None
    found: int

    @classmethod
    async def read(cls, request: web.Request) -> _Form:
        """Read the form. Raises `BadInput`, also where it would be about everything without having been counted."""
        fields = await request.post()
        query = DeadLetterQuery.parse(MultiDict((name, str(value)) for name, value in fields.items()))
        if query.sequences:
            return cls(query, query.selection(), None, len(query.sequences))
        found = str(fields.get("found", ""))
        if not re.fullmatch("[0-9]{1,18}", found):
            raise BadInput("this form does not say how many were counted: open the page again")
        return cls(query, query.selection(), parse_snapshot(fields), int(found))

    @property
    def title(self) -> str:
        """Description in words."""
        return f"{_count(self.found)} {self.query.words()}".strip()

    @property
    def back(self) -> str:
        """Path to go on from the end."""
        return "/dead-letters" if self.query.sequences else self.query.path()


class _ReplayWork:
    """Replay as the work of an action."""

    def __init__(self, ui: Ui, form: _Form, *, to_subject: bool, per_second: float | None) -> None:
        self._ui = ui
        self._form = form
        self._to_subject = to_subject
        self._per_second = per_second

    async def run(self, action: Action) -> str:
        """Replay until the end or until the action is stopped, and return the result."""
        work = Replay(
            self._to_subject, False, self._per_second, lambda sequence, reason: action.note(f"{sequence}: {reason}")
        )

        def announce(_dead: DeadLetter, _copy: Outgoing) -> None:
            action.done = work.done

        connection = await self._ui.nats.connection()
        try:
            await work.run(connection, self._form.selection, action.stop, announce, self._form.snapshot)
        finally:
            action.done = work.done
        skipped = f", {work.skipped:,} left out" if work.skipped else ""
        return f"{_count(work.replayed)} replayed{skipped}{_stopped(action)}"


def _count(number: int) -> str:
    return f"{number:,} dead letter{'' if number == 1 else 's'}"


def _stopped(action: Action) -> str:
    return "; stopped before the end, do it again to go on" if action.stop.is_set() else ""


def _rate(text: object) -> float | None:
    """Return the limit of messages per second that was typed, if one was. Raises `BadInput`."""
    typed = str(text or "").strip()
    try:
        return parse_rate(typed) if typed else None
    except ValueError as error:
        raise BadInput(str(error)) from error
