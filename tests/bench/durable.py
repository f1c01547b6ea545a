"""PostgreSQL that writes to the disk at each commit, as in production."""

from __future__ import annotations

from pathlib import Path

from stack import PostgresServer


class DurableServer(PostgresServer):
    """Server of the local stack with fsync and full_page_writes on."""

    def command(self) -> list[str]:
        return [*super().command(), "-cfsync=on", "-cfull_page_writes=on"]


def postgres_server(folder: Path, *, durable: bool) -> PostgresServer:
    """Build the server of the local stack, or one that writes to the disk."""
    return DurableServer(folder) if durable else PostgresServer(folder)
