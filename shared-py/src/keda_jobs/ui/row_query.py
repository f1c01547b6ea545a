"""Selection of failed rows in the address of a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from urllib.parse import urlencode

from aiohttp import web

from keda_jobs.claims.failed_rows import FailedRow, FailedRowCount, RowFilter, parse_keys
from keda_jobs.errors import Misconfigured

_KINDS = {"": None, "permanently": True, "waiting": False}
_MOST_KEYS = 1000


@dataclass(frozen=True, slots=True)
class RowQuery:
    """Selection as a viewer has written it. Empty texts select all."""

    reason: str = ""
    kind: str = ""
    keys: str = ""

    @classmethod
    def parse(cls, fields: Mapping[str, Any]) -> Self:
        """Read it from an address or a form. A wrong one is answered with 400."""
        query = cls(*(str(fields.get(name, "")).replace("\0", "").strip() for name in ("reason", "kind", "keys")))
        if query.kind not in _KINDS:
            raise web.HTTPBadRequest(text=f"{query.kind!r} is no kind of failed rows: choose one of the list")
        query.row_filter()
        return query

    def row_filter(self) -> RowFilter:
        """Return the selection for the queue. A key that is none is answered with 400."""
        texts = self.keys.replace(",", " ").split()
        if len(texts) > _MOST_KEYS:
            raise web.HTTPBadRequest(text=f"{len(texts):,} keys are too many: write at most {_MOST_KEYS:,}")
        return RowFilter(_parse(texts), self.reason or None, _KINDS[self.kind])

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Names and values of what is selected."""
        pairs = (("reason", self.reason), ("kind", self.kind), ("keys", self.keys))
        return [(name, value) for name, value in pairs if value]

    def path(self, of: str, **more: object) -> str:
        """Return an address with this selection."""
        pairs = [*self.pairs, *((name, value) for name, value in more.items() if value is not None)]
        return f"{of}?{urlencode(pairs)}" if pairs else of


@dataclass(frozen=True, slots=True)
class FoundRows:
    """Some failed rows at the server's time `now`. `count` is that of all that are selected, where it was asked for."""

    now: datetime
    key: str
    rows: list[FailedRow]
    count: FailedRowCount | None = None


def parse_key(text: str) -> int | None:
    """Return the key of a row in an address, None without one. A wrong one is answered with 400."""
    return next(iter(_parse([text])), None) if text else None


def _parse(keys: list[str]) -> frozenset[int]:
    try:
        return parse_keys(keys)
    except Misconfigured as error:
        raise web.HTTPBadRequest(text=str(error)) from error
