"""Which dead letters a page is about, as its address says it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from multidict import MultiMapping

from keda_jobs.domain.durations import parse_duration
from keda_jobs.jetstream.dead_letter_search import Summary
from keda_jobs.jetstream.dead_letters import DeadLetterFilter, Snapshot
from keda_jobs.ui.page import BadInput

# More numbers than this are not named one by one.
_NAMED = 5
_LONGEST = timedelta(days=36_500)
_NUMBER = re.compile("[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class DeadLetterQuery:
    """Conditions as they are typed, and the number that the page ends before."""

    job: str = ""
    error_class: str = ""
    subject: str = ""
    older: str = ""
    newer: str = ""
    text: str = ""
    sequences: tuple[int, ...] = ()
    before: int | None = None

    @classmethod
    def parse(cls, fields: MultiMapping[str]) -> DeadLetterQuery:
        """Read an address or a form. Raises `BadInput`."""

        def typed(name: str) -> str:
            return _text(fields.get(name, ""))

        return cls(
            job=typed("job"),
            error_class=typed("class"),
            subject=typed("subject"),
            older=typed("older"),
            newer=typed("newer"),
            text=typed("text"),
            sequences=tuple(sorted({parse_sequence(_text(value)) for value in fields.getall("seq", [])})),
            before=parse_sequence(typed("before")) if typed("before") else None,
        )

    @property
    def is_filtered(self) -> bool:
        """True if it has a condition."""
        return replace(self, before=None) != DeadLetterQuery()

    def selection(self) -> DeadLetterFilter:
        """Build the filter. Raises `BadInput`."""
        return DeadLetterFilter(
            sequences=frozenset(self.sequences),
            job=self.job or None,
            error_class=self.error_class or None,
            subject=self.subject or None,
            older_than=_duration(self.older),
            newer_than=_duration(self.newer),
            text=self.text or None,
        )

    def pairs(self) -> list[tuple[str, str]]:
        """Return names and values, for an address or the hidden fields of a form."""
        values = {
            "job": self.job,
            "class": self.error_class,
            "subject": self.subject,
            "older": self.older,
            "newer": self.newer,
            "text": self.text,
        }
        pairs = [(name, value) for name, value in values.items() if value]
        return pairs + [("seq", str(sequence)) for sequence in self.sequences]

    def path(self, view: str = "", before: int | None = None) -> str:
        """Return the address of a view about the same dead letters."""
        pairs = self.pairs() + ([("before", str(before))] if before else [])
        return f"/dead-letters{view}{'?' if pairs else ''}{urlencode(pairs, errors='replace')}"

    def narrowed(self, *, job: str = "", error_class: str = "") -> DeadLetterQuery:
        """Return it with another job or class."""
        return replace(self, before=None, job=job or self.job, error_class=error_class or self.error_class)

    def only(self, found: Iterable[Summary]) -> DeadLetterQuery:
        """Return a query for these alone."""
        return DeadLetterQuery(sequences=tuple(sorted(one.sequence for one in found)))

    def words(self) -> str:
        """Return the conditions in words."""
        if self.sequences:
            return f"number {', '.join(map(str, self.sequences))}" if len(self.sequences) <= _NAMED else "selected"
        parts = {
            "of job": self.job,
            "of class": self.error_class,
            "of subject": self.subject,
            "older than": self.older,
            "newer than": self.newer,
            "with": f"“{self.text}”" if self.text else "",
        }
        return " ".join(f"{name} {value}" for name, value in parts.items() if value)


def parse_sequence(text: str) -> int:
    """Return the number of a dead letter. Raises `BadInput`."""
    if not _NUMBER.fullmatch(text) or int(text) == 0:
        raise BadInput(f"{text!r} is not the number of a dead letter")
    return int(text)


def parse_snapshot(fields: Mapping[str, object]) -> Snapshot:
    """Return the moment of what was counted, as the form says it. Raises `BadInput`."""
    try:
        now = datetime.fromisoformat(str(fields["now"])).astimezone(UTC)
        return Snapshot(now, parse_sequence(str(fields["last"])))
    except (KeyError, ValueError) as error:
        raise BadInput("this form does not say what was counted: open the page again") from error


def _duration(text: str) -> timedelta | None:
    if not text:
        return None
    try:
        duration = timedelta(seconds=parse_duration(text))
    except ValueError as error:
        raise BadInput(str(error)) from error
    except OverflowError:
        duration = timedelta.max
    if duration > _LONGEST:
        raise BadInput(f"{text} is longer than any dead letter is old")
    return duration


def _text(value: object) -> str:
    """Return a typed value without characters that are no text, which cannot be sent on."""
    return str(value).strip().encode(errors="replace").decode()
