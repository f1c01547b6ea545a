"""Hand-over of results to the block that writes them, without those that the driver or the server refuses as such."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self, TypeAlias

import asyncpg.prepared_stmt

from keda_jobs.claims.isolate import ERRORS, Refusal, isolate, refusal_of
from keda_jobs.claims.result_statements import ResultStatements
from keda_jobs.claims.rows import CompletedRow
from keda_jobs.claims.values import NotedValues, Progress, to_texts
from keda_jobs.postgres import Connection

_Statement: TypeAlias = "asyncpg.prepared_stmt.PreparedStatement[asyncpg.Record]"

# Rows of a part that may have values which the driver cannot encode. It encodes the part again for each of them.
_PART_ROWS = 40


class HandOver:
    """Hand-over of results. `refused` are those that were left out, by their keys."""

    def __init__(self, connection: Connection, statement: _Statement) -> None:
        self.refused: dict[int, Refusal] = {}
        self._connection = connection
        self._statement = statement
        self._progress = Progress()
        self._texts: dict[int, Sequence[object]] = {}

    @classmethod
    async def begin(cls, connection: Connection, sql: ResultStatements, results: Mapping[int, CompletedRow]) -> Self:
        """Begin to hand over results."""
        # Without a name nothing stays behind on the connection of a pooler. The driver encodes values before it sends.
        self = cls(connection, await connection.prepare(sql.hand_over, name=""))
        encoding = connection.get_settings().server_encoding
        for key, row in results.items():
            try:
                self._texts[key] = to_texts(sql.types, row.values, encoding)
            except ValueError as error:
                self.refused[key] = refusal_of(error)
        return self

    async def hand_over_all(self) -> list[int]:
        """Hand over all results that are not refused, and return their keys."""
        refused = await isolate(self._connection, sorted(self._texts), self._hand_over_most)
        self.refused |= refused
        keys = sorted(self._texts.keys() - self.refused.keys())
        if refused and keys:
            await self.hand_over(keys)
        return keys

    async def hand_over(self, keys: Sequence[int]) -> None:
        """Hand over the results of these rows."""
        self._progress.row = None
        columns = zip(*(self._texts[key] for key in keys), strict=True)
        await self._statement.fetchval(keys, *(NotedValues(column, self._progress) for column in columns))

    async def _hand_over_most(self, keys: Sequence[int]) -> None:
        """Hand over the results of these rows, except those that the driver cannot encode."""
        try:
            await self.hand_over(keys)
        except ERRORS:
            if self._progress.row is None:
                raise
            parts = [keys[start : start + _PART_ROWS] for start in range(0, len(keys), _PART_ROWS)]
            encoded = [key for part in parts for key in await self._leave_out_unencodable(part)]
            if encoded:
                await self.hand_over(encoded)

    async def _leave_out_unencodable(self, part: Sequence[int]) -> list[int]:
        """Return the keys of results that the driver can encode. The others are refused."""
        keys = list(part)
        while keys:
            try:
                await self.hand_over(keys)
                break
            except ERRORS as error:
                if self._progress.row is None:
                    raise
                self.refused[keys.pop(self._progress.row)] = refusal_of(error)
        return keys
