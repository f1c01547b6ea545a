"""Migrations of a claim queue, read from their files and rendered for its table.

A migration is a file `NNNN_name.sql`. Migrations are applied once, in order of their numbers, and never changed after.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable

from keda_jobs.claims.roles import EXPORTER, OPERATOR, scaler_role, worker_role
from keda_jobs.claims.table import STATUS_COLUMNS, ClaimTable, quote
from keda_jobs.errors import Misconfigured

FIRST = 4
"""Number of the migrations that a new queue starts with. Those before bring a queue of an earlier version up to it."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One migration file, rendered for a table. A new queue leaves out those that upgrade an earlier version.

    `text` reveals, by its digest, that an applied migration was changed.
    """

    scope: str
    number: int
    name: str
    sql: str
    text: str
    is_upgrade: bool = False

    @property
    def sha256(self) -> str:
        """Digest of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def tracking_migrations(table: ClaimTable) -> list[Migration]:
    """Return the migrations of what all queues share."""
    return list(_read("keda-jobs", _builtin("tracking"), table))


def queue_migrations(queue: ClaimTable) -> list[Migration]:
    """Return the migrations of one queue."""
    return list(_read(f"{queue.queue_name}_queue", _builtin("queue"), queue))


def own_migrations(table: ClaimTable, folder: Traversable) -> list[Migration]:
    """Return the job's own migrations, which create the table and change it."""
    found = []
    for number, file in _numbered(table.batch_name, folder):
        sql = _render(file, _plain_names(table))
        found.append(Migration(table.batch_name, number, file.name, sql, sql))
    return found


def render_rights(table: ClaimTable) -> Iterator[tuple[str, str]]:
    """Yield the files that are applied each time, by name."""
    for name in ("triggers.sql", "roles.sql"):
        yield name, _render(_builtin(name), _names(table))


def _builtin(path: str) -> Traversable:
    return resources.files("keda_jobs.claims").joinpath("migrations", path)


def _read(scope: str, folder: Traversable, table: ClaimTable) -> Iterator[Migration]:
    for number, file in _numbered(scope, folder):
        is_upgrade = number < FIRST
        sql = _render(file, _plain_names(table) if is_upgrade else _names(table))
        # The tables of queues that share a migration are in schemas of their own.
        text = sql if is_upgrade else file.read_text(encoding="utf-8")
        yield Migration(scope, number, file.name, sql, text, is_upgrade)


def _numbered(scope: str, folder: Traversable) -> Iterator[tuple[int, Traversable]]:
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if not file.name.endswith(".sql"):
            continue
        number = file.name.partition("_")[0]
        if not number.isdecimal():
            raise Misconfigured(f"{scope}/{file.name}: a migration is named by a number, _ and words: 0002_more.sql")
        yield int(number), file


def _render(file: Traversable, names: Mapping[str, str]) -> str:
    pattern = "|".join(f"{{{name}}}" for name in names)
    return re.sub(pattern, lambda found: names[found[0][1:-1]], _quote_bodies(file.read_text(encoding="utf-8"), names))


def _quote_bodies(sql: str, names: Mapping[str, str]) -> str:
    """Quote bodies by a tag that no name contains, because a name within its body would end it."""
    tag = "body"
    while any(f"${tag}" in name for name in names.values()):
        tag += "_"
    return sql.replace("$body$", f"${tag}$")


def _names(table: ClaimTable) -> dict[str, str]:
    schema = table.schema or ""
    return {
        "table": table.sql_name,
        "schema": quote(schema),
        "schema_literal": _literal(quote(schema)),
        "schema_name": _literal(schema),
        "table_literal": _literal(table.sql_name),
        "key": table.sql_key,
        "queue": table.queue_name,
        "batch_name": table.batch_name,
        "path": _literal(f"{quote(schema)}, pg_temp"),
        "triggers": f"{{{','.join(table.triggers)}}}",
        "worker": worker_role(table),
        "scaler": scaler_role(table),
        "exporter": EXPORTER,
        "operator": OPERATOR,
        "read": ", ".join(map(quote, dict.fromkeys((table.key, "xmin", "xmax", *STATUS_COLUMNS, *table.reads)))),
        "shown": ", ".join(map(quote, (table.key, *STATUS_COLUMNS))),
        "written": ", ".join(map(quote, (*STATUS_COLUMNS, *table.writes))),
        "and_delete": ", DELETE" if table.deletes_completed else "",
    }


def _plain_names(table: ClaimTable) -> dict[str, str]:
    """Return the names in a job's own migrations and in earlier versions, which knew plain names only."""
    schema = table.schema or ""
    return _names(table) | {
        "table": table.name,
        "key": table.key,
        "schema": schema if re.fullmatch(r"[a-z_][a-z0-9_$]*", schema) else quote(schema),
    }


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
