"""`keda-jobs streams apply`: apply the repository's declaration of streams, consumers and schedules to a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.text import Text

from keda_jobs.cli.connection import run
from keda_jobs.cli.options import AllowLossOption, DryRunOption, JobsOption, JsonOption, ReplicasOption, ServerOption
from keda_jobs.cli.terminal import print_err, print_json, print_out, sanitize
from keda_jobs.jetstream import declaration, streams
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.stream_diff import Action, Change
from keda_jobs.jetstream.streams import Changes, RefusedChange

_STYLES = {
    Action.CREATE: "green",
    Action.UPDATE: "yellow",
    Action.SAME: "dim",
    Action.UNDECLARED: "magenta",
    Action.CANCEL: "red",
}


def apply(
    jobs: JobsOption = None,
    replicas: ReplicasOption = None,
    allow_loss: AllowLossOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    server: ServerOption = None,
) -> None:
    """Apply streams, consumers and schedules: jobs/stream*.json, jobs/*/consumer.json, `[[schedules]]` of job.toml.

    Only differences are changed, and each is shown: `+` created, `~` updated, `=` as declared, `-` a schedule that is
    no longer declared (cancelled), `?` on the server but not declared (left alone). A change that would lose messages
    is refused. A lower limit says what it deletes, and is applied only with `--allow-loss`.

    Examples:

    - `keda-jobs streams apply --dry-run`

    - `keda-jobs streams apply --jobs deploy/jobs`

    - `keda-jobs streams apply --replicas 3`

    - `keda-jobs streams apply --allow-loss --dry-run`

    JSON: `{"dry_run", "changes": [{"action", "kind", "name", "fields": [{"key", "before", "after"}], "refusals",
    "losses"}]}`; `action` is create, update, same, cancel or undeclared.
    """
    declared = declaration.read_declaration(jobs or declaration.find_jobs(Path.cwd()))
    if replicas is not None:
        declared = declaration.with_replicas(declared, replicas)

    async def work(connection: NatsConnection) -> Changes:
        try:
            return await streams.apply(connection, declared, dry_run=dry_run, allow_loss=allow_loss)
        except RefusedChange as error:
            _print(error.changes, dry_run=True, as_json=as_json)
            raise

    changes = run(server, work)
    for line in changes.losses:
        print_err(line)
    _print(changes, dry_run=dry_run, as_json=as_json)


def _print(changes: Changes, *, dry_run: bool, as_json: bool) -> None:
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
        "fields": [{"key": field.key, "before": field.before, "after": field.after} for field in change.fields],
        "refusals": list(change.refusals),
        "losses": list(change.losses),
    }
