"""Databases of the batch benchmark: filled once and copied for each turn, so that all start from the same pages."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from stack import PostgresServer, StackError
from stack.postgres import DATABASE, USER
from stack.postgres_programs import program
from stack.schema import apply_schemas

_TURN = "turn"
_COPY = "\\copy users (id, name, email) FROM '{file}' WITH (FORMAT csv, HEADER true)"

# The same columns and key, without what makes the table a claim queue.
_WITHOUT_QUEUE = """
ALTER TABLE users RENAME TO loaded;
CREATE TABLE users (LIKE loaded INCLUDING DEFAULTS INCLUDING INDEXES);
INSERT INTO users SELECT * FROM loaded;
DROP TABLE loaded CASCADE"""


class Databases:
    """Databases of one server, each named after its content."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server

    async def make_templates(self, files: Sequence[Path]) -> None:
        """Create the databases that turns copy.

        `empty` has the schema. `loaded` also has the rows of `files`. `bare` has them in a plain table.
        """
        await self.make_empty()
        await self.copy("empty", "loaded")
        await self.psql("loaded", files)
        await self.run("loaded", "VACUUM ANALYZE")
        await self.copy("loaded", "bare")
        await self.run("bare", _WITHOUT_QUEUE, "VACUUM ANALYZE")

    async def make_empty(self) -> None:
        """Create `empty`, which has the schema, and `unqueued`, whose triggers are off."""
        await self.copy("template1", "empty")
        await apply_schemas(self.dsn("empty"))
        await self.copy("empty", "unqueued")
        await self.run("unqueued", "ALTER TABLE users DISABLE TRIGGER USER")

    def dsn(self, database: str, role: str = USER) -> str:
        """Return the DSN of the owner or of `role`."""
        return self._server.dsn_of(database, role)

    async def copy(self, template: str, name: str) -> None:
        """Create the database `name`. The server writes a checkpoint before and after."""
        await self.run(DATABASE, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")

    @asynccontextmanager
    async def fresh(self, template: str) -> AsyncIterator[str]:
        """Yield a copy of `template` that lasts as long as the block."""
        await self.copy(template, _TURN)
        try:
            yield _TURN
        finally:
            await self.run(DATABASE, f"DROP DATABASE {_TURN} WITH (FORCE)")

    async def run(self, database: str, *statements: str) -> None:
        """Run `statements` as the owner."""
        async with self._connection(database) as connection:
            for statement in statements:
                await connection.execute(statement)

    async def row(self, database: str, query: str) -> Sequence[Any]:
        """Return the first row of `query`."""
        async with self._connection(database) as connection:
            return tuple(await connection.fetchrow(query) or ())

    @asynccontextmanager
    async def _connection(self, database: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        connection = await asyncpg.connect(self.dsn(database))
        try:
            yield connection
        finally:
            await connection.close()

    async def psql(self, database: str, files: Sequence[Path]) -> None:
        r"""Load `files` with psql's \copy, one after the other. Raises `StackError`."""
        copies = [part for file in files for part in ("-c", _COPY.format(file=file))]
        command = [str(program("psql")), "-Xq", "-v", "ON_ERROR_STOP=1", self.dsn(database), *copies]
        ended = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise StackError(f"batch: psql: {(ended.stderr.strip() or 'failed').splitlines()[-1]}")
