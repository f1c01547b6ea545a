"""`keda-jobs streams`: make the server's stream and consumers what the repository declares."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from keda_jobs.cli.connection import run
from keda_jobs.cli.options import DryRunOption, JsonOption, ServerOption
from keda_jobs.cli.terminal import print_json, print_out, sanitize
from keda_jobs.jetstream import streams
from keda_jobs.jetstream.connection import Client
from keda_jobs.jetstream.stream_diff import Action, Change
from keda_jobs.jetstream.streams import Changes, RefusedChange

app = typer.Typer(no_args_is_help=True, help="The stream and its consumers.")
JobsOption = Annotated[
    Path | None,
    typer.Option(
        "--jobs", metavar="DIR", help="Folder with stream.json; by default the nearest jobs/ upward.", exists=True
    ),
]
ReplicasOption = Annotated[
    int | None,
    typer.Option(
        "--replicas",
        metavar="N",
        min=1,
        max=5,
        help="Copies of the stream, on as many servers; by default what the server has, and 1 for a new stream.",
    ),
]
_STYLES = {Action.CREATE: "green", Action.UPDATE: "yellow", Action.SAME: "dim", Action.UNDECLARED: "magenta"}


@app.command()
def apply(
    jobs: JobsOption = None,
    replicas: ReplicasOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    server: ServerOption = None,
) -> None:
    """Create and update stream and consumers from jobs/stream.json and jobs/*/consumer.json.

    Only what differs is changed, and shown: `+` created, `~` updated, `=` as declared, `?` on the server but not
    declared (left alone). A change that would lose messages is refused.

    Examples:

    - `keda-jobs streams apply --dry-run`

    - `keda-jobs streams apply --jobs deploy/jobs`

    - `keda-jobs streams apply --replicas 3`

    JSON: `{"dry_run", "changes": [{"action", "kind", "name", "fields": [{"key", "before", "after"}], "refusals"}]}`;
    `action` is create, update, same or undeclared.
    """
    declaration = streams.read_declaration(jobs or streams.find_jobs(Path.cwd()))
    if replicas is not None:
        declaration = streams.with_replicas(declaration, replicas)

    async def work(client: Client) -> Changes:
        try:
            return await streams.apply(client, declaration, dry_run=dry_run)
        except RefusedChange as error:
            _show(error.changes, dry_run=True, as_json=as_json)
            raise

    _show(run(server, work), dry_run=dry_run, as_json=as_json)


def _show(changes: Changes, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        print_json({"dry_run": dry_run, "changes": [_as_json(change) for change in changes.items]})
        return
    for change in changes.items:
        print_out(Text(sanitize(str(change)), style=_STYLES[change.action]))
    if not changes.pending:
        print_out(Text("nothing to change"))
    elif dry_run:
        print_out(Text("nothing was changed"))


def _as_json(change: Change) -> dict[str, Any]:
    return {
        "action": change.action.name.lower(),
        "kind": change.kind,
        "name": change.name,
        "fields": [{"key": one.key, "before": one.before, "after": one.after} for one in change.fields],
        "refusals": list(change.refusals),
    }
