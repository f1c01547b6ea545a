"""`keda-jobs streams show`: size, subjects and servers of each stream."""

from __future__ import annotations

from typing import Any

from rich.console import Group
from rich.filesize import decimal
from rich.text import Text

from keda_jobs.cli.connection import run
from keda_jobs.cli.options import JsonOption, ServerOption
from keda_jobs.cli.terminal import add_row, json_fields, new_table, pluralize, print_json, print_out
from keda_jobs.status.stream_details import StreamDetails, read_details


def show(as_json: JsonOption = False, server: ServerOption = None) -> None:
    """Show the size, the subjects and the servers of each stream. Waiting retries are one line, whatever their number.

    `behind` is the number of messages that a server does not have yet, `seen` how long ago it answered the leader.

    Example: `keda-jobs streams show`

    JSON: `[{"name", "messages", "bytes", "leader", "replicas": [{"server", "behind", "is_current", "is_offline",
    "seen_s"}], "subjects": {subject: messages}}]`; a single server has no `leader` and no `replicas`.
    """
    found = run(server, read_details)
    if as_json:
        print_json([json_fields(one) for one in found])
    else:
        print_out(view(found))


def view(found: list[StreamDetails]) -> Group:
    """Build the lines and tables of each stream."""
    parts: list[Any] = []
    for stream in found:
        parts += [Text(f"{stream.name}: {pluralize(stream.messages, 'message')}, {decimal(stream.bytes)}")]
        parts += [_subjects(stream), Text()]
        parts += [_servers(stream), Text()] if stream.leader or stream.replicas else []
    return Group(*parts[:-1])


def _subjects(stream: StreamDetails) -> Any:
    table = new_table("subject", "messages", right=("messages",))
    for subject, count in stream.subjects.items():
        add_row(table, subject, f"{count:,}")
    return table


def _servers(stream: StreamDetails) -> Any:
    table = new_table("server", "state", "behind", "seen", right=("behind", "seen"))
    add_row(table, stream.leader or "-", Text("leader") if stream.leader else Text("no leader", style="red"), "", "")
    for one in stream.replicas:
        state = "offline" if one.is_offline else "current" if one.is_current else "catching up"
        style = "green" if state == "current" else "red"
        add_row(table, one.server, Text(state, style=style), f"{one.behind:,}", f"{one.seen_s:.1f} s")
    return table
