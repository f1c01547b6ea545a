"""Roles of a claim queue.

There are five. `keda_jobs_owner` owns everything and cannot log in. `<queue>_worker` claims rows and writes what the
handler returns. `<queue>_scaler` reads one number. `keda_jobs_exporter` reads the state of every queue, but no row.
`keda_jobs_operator` is for people on call: it reads that too, and of each row the key and what the queue writes.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Iterable, Mapping

from asyncpg import exceptions as pg

from keda_jobs.claims.table import ClaimTable
from keda_jobs.errors import Misconfigured
from keda_jobs.postgres import Connection, one_line

OWNER = "keda_jobs_owner"
EXPORTER = "keda_jobs_exporter"
OPERATOR = "keda_jobs_operator"

# KEDA keeps one connection for each trigger and asks a second time when the first query failed.
_SCALER_LIMITS = "CONNECTION LIMIT 3"
_READER_SETTINGS = {"statement_timeout": "5s", "lock_timeout": "1s", "default_transaction_read_only": "on"}
# One scrape at a time, another while a new pod takes over, and one left behind by a failed scrape.
_EXPORTER_LIMITS = "CONNECTION LIMIT 3"
# Some people at once. They list failed rows, which may take longer than a scrape.
_OPERATOR_LIMITS = "CONNECTION LIMIT 10"
_OPERATOR_SETTINGS = _READER_SETTINGS | {"statement_timeout": "60s"}
_WORKER_SETTINGS = {"idle_in_transaction_session_timeout": "60s"}

# Roles belong to the server, but each database knows its own dependencies on them.
_ELSEWHERE = """
SELECT datname, string_agg(DISTINCT rolname::text, ', ' ORDER BY rolname::text)
FROM pg_shdepend JOIN pg_database ON pg_database.oid = dbid JOIN pg_roles ON pg_roles.oid = refobjid
WHERE refclassid = 'pg_authid'::regclass AND rolname = ANY($1) AND datname <> current_database()
GROUP BY datname ORDER BY datname LIMIT 1"""


def worker_role(table: ClaimTable) -> str:
    """Return the role that workers log in with."""
    return f"{table.queue_name}_worker"


def scaler_role(table: ClaimTable) -> str:
    """Return the role that KEDA logs in with."""
    return f"{table.queue_name}_scaler"


def login_roles(table: ClaimTable) -> tuple[str, ...]:
    """Return the roles that need a password. The last two are the same for every table."""
    return worker_role(table), scaler_role(table), EXPORTER, OPERATOR


async def create_roles(connection: Connection, table: ClaimTable, passwords: Mapping[str, str]) -> None:
    """Create the roles that are missing, and set passwords.

    Raises `Misconfigured` for a missing right, and for a password of a role that another database uses too.
    """
    verifiers = {role: _verifier(role, password) for role, password in passwords.items()}
    await _check_used_here_only(connection, passwords)
    worker, scaler = worker_role(table), scaler_role(table)
    try:
        await _create_role(connection, OWNER, "NOLOGIN")
        await _create_role(connection, worker, "LOGIN", _WORKER_SETTINGS)
        await _create_role(connection, scaler, f"LOGIN {_SCALER_LIMITS}", _READER_SETTINGS)
        await _create_role(connection, EXPORTER, f"LOGIN {_EXPORTER_LIMITS}", _READER_SETTINGS)
        await _create_role(connection, OPERATOR, f"LOGIN {_OPERATOR_LIMITS}", _OPERATOR_SETTINGS)
        if not await connection.fetchval("SELECT pg_has_role($1, 'USAGE')", OWNER):
            await connection.execute(f"GRANT {OWNER} TO CURRENT_USER")
        for role, verifier in verifiers.items():
            await connection.execute(f"ALTER ROLE {role} PASSWORD '{verifier}'")
    except pg.InsufficientPrivilegeError as error:
        raise Misconfigured(
            f"{one_line(error)}; apply the schema as the database's owner, with the right to create the roles"
            f" {OWNER}, {EXPORTER}, {OPERATOR}, {worker} and {scaler}"
        ) from error


async def _check_used_here_only(connection: Connection, roles: Iterable[str]) -> None:
    """Raise `Misconfigured` for a role with rights in another database: whoever uses it there would be locked out."""
    if found := await connection.fetchrow(_ELSEWHERE, list(roles)):
        database, names = found
        raise Misconfigured(
            f"the roles {names} have rights in the database {database} of this server too, where a new password locks"
            f" them out; give each environment a PostgreSQL server of its own, or, where nobody needs {database} any"
            " more, drop it or revoke their rights there"
        )


async def _create_role(
    connection: Connection, role: str, options: str, settings: Mapping[str, str] | None = None
) -> None:
    if await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role):
        return
    await connection.execute(f"CREATE ROLE {role} {options}")
    for name, value in (settings or {}).items():
        await connection.execute(f"ALTER ROLE {role} SET {name} = '{value}'")


def _verifier(role: str, password: str) -> str:
    """Compute the SCRAM-SHA-256 verifier of `password`, which keeps it out of server logs (RFC 5803, RFC 7677)."""
    if not (password and password.isascii() and password.isprintable()):
        raise Misconfigured(f"the password of {role} must be one or more printable ASCII characters")
    salt, iterations = os.urandom(16), 4096
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    salt64, stored64, server64 = (base64.b64encode(part).decode() for part in (salt, stored, server))
    return f"SCRAM-SHA-256${iterations}:{salt64}${stored64}:{server64}"
