"""PostgreSQL that writes to the disk at each commit, as in production."""

from __future__ import annotations

from stack import PostgresServer


class DurableServer(PostgresServer):
    """Server of the local stack with fsync and full_page_writes on."""

    def command(self) -> list[str]:
        return [*super().command(), "-cfsync=on", "-cfull_page_writes=on"]
