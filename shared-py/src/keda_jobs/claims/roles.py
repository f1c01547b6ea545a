"""Roles of a claim queue.

There are four. `keda_jobs_owner` owns everything and cannot log in. `<queue>_worker` claims rows and writes what the
handler returns. `<queue>_scaler` reads one number. `keda_jobs_exporter` reads the state of every queue, but no row.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Mapping

from asyncpg import exceptions as pg

from keda_jobs.claims.table import ClaimTable
from keda_jobs.errors import Misconfigured
from keda_jobs.postgres import Connection, one_line

OWNER = "keda_jobs_owner"
EXPORTER = "keda_jobs_exporter"

# KEDA keeps one connection for each trigger and asks a second time when the first query failed.
_SCALER_LIMITS = "CONNECTION LIMIT 3"
_READER_SETTINGS = {"statement_timeout": "5s", "lock_timeout": "1s", "default_transaction_read_only": "on"}
# One scrape at a time, another while a new pod takes over, and one left behind by a failed scrape.
_EXPORTER_LIMITS = "CONNECTION LIMIT 3"
_WORKER_SETTINGS = {"idle_in_transaction_session_timeout": "60s"}


def worker_role(table: ClaimTable) -> str:
    """Return the role that workers log in with."""
    return f"{table.queue_name}_worker"


def scaler_role(table: ClaimTable) -> str:
    """Return the role that KEDA logs in with."""
    return f"{table.queue_name}_scaler"


def login_roles(table: ClaimTable) -> tuple[str, ...]:
    """Return the roles that need a password. The exporter's is the same for every table."""
    return worker_role(table), scaler_role(table), EXPORTER


async def create_roles(connection: Connection, table: ClaimTable, passwords: Mapping[str, str]) -> None:
    """Create the roles that are missing, and set passwords. Raises `Misconfigured` for a missing right."""
    worker, scaler = worker_role(table), scaler_role(table)
    try:
        await _create_role(connection, OWNER, "NOLOGIN")
        await _create_role(connection, worker, "LOGIN", _WORKER_SETTINGS)
        await _create_role(connection, scaler, f"LOGIN {_SCALER_LIMITS}", _READER_SETTINGS)
        await _create_role(connection, EXPORTER, f"LOGIN {_EXPORTER_LIMITS}", _READER_SETTINGS)
        if not await connection.fetchval("SELECT pg_has_role($1, 'USAGE')", OWNER):
            await connection.execute(f"GRANT {OWNER} TO CURRENT_USER")
        for role, password in passwords.items():
            await connection.execute(f"ALTER ROLE {role} PASSWORD '{_verifier(role, password)}'")
    except pg.InsufficientPrivilegeError as error:
        raise Misconfigured(
            f"{one_line(error)}; apply the schema as the database's owner, with the right to create the roles"
            f" {OWNER}, {EXPORTER}, {worker} and {scaler}"
        ) from error


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
