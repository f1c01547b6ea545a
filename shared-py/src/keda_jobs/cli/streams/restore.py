"""`keda-jobs streams restore`."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from keda_jobs.backup.places import Place, open_place
from keda_jobs.backup.restore import Plan, check_backup, newest_backup, plan_restore, restore_backup
from keda_jobs.cli import options
from keda_jobs.cli.connection import run
from keda_jobs.cli.streams.backup import PLACE_HELP, bytes_meter, manifest_json
from keda_jobs.cli.terminal import confirm, pluralize, print_err, print_json
from keda_jobs.errors import Misconfigured
from keda_jobs.jetstream.connection import NatsConnection


def restore(
    place: Annotated[str, typer.Option("--from", metavar="PLACE", help=PLACE_HELP)],
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Backup, as in `streams backups`. Default: the newest.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Delete streams that hold messages.")] = False,
    replicas: options.ReplicasOption = None,
    yes: options.YesOption = False,
    dry_run: options.DryRunOption = False,
    as_json: options.JsonOption = False,
    server: options.ServerOption = None,
) -> None:
    """Restore the streams from a backup, after checking all of its files and asking.

    Streams of the server that are empty are replaced. Streams with messages are replaced only with `--replace`, and
    their messages are lost.

    Examples:

    - `keda-jobs streams restore --from s3 --dry-run`

    - `keda-jobs streams restore --from /mnt/backups 2026-11-27T01-15-00Z --replicas 3`

    JSON: `{"dry_run", "restored", "name", "bytes", "streams": [{"name", "messages", "bytes"}], "replaced"}`;
    `replaced` is the number of messages of each stream that the server has.
    """

    async def work(connection: NatsConnection) -> bool:
        async with open_place(place) as opened:
            plan = await _plan(connection, opened, name)
            if not as_json:
                _print(plan)
            is_wanted = not dry_run and _is_confirmed(plan, replace=replace, yes=yes)
            if is_wanted:
                await _restore(connection, opened, plan, replicas)
        if as_json:
            done = {"dry_run": dry_run, "restored": is_wanted}
            print_json(done | manifest_json(plan.manifest) | {"replaced": dict(plan.replaced)})
        return is_wanted

    is_restored = run(server, work)
    if not as_json:
        print_err("restored" if is_restored else "nothing was changed")
    if not is_restored and not dry_run:
        raise typer.Exit(1)


async def _plan(connection: NatsConnection, place: Place, name: str | None) -> Plan:
    with bytes_meter("MiB checked", None) as progress:
        manifest = await check_backup(place, name or await newest_backup(place), progress)
    return await plan_restore(connection, manifest)


async def _restore(connection: NatsConnection, place: Place, plan: Plan, replicas: int | None) -> None:
    with bytes_meter("MiB restored", plan.manifest.bytes) as progress:
        try:
            await restore_backup(connection, place, plan, progress, replicas=replicas)
        except asyncio.CancelledError:
            print_err("interrupted: a stream is missing or holds a part of its messages, repeat this with --replace")
            raise


def _print(plan: Plan) -> None:
    print_err(f"backup {plan.manifest.name}: every file is as it was written")
    for stream in plan.manifest.streams:
        held = plan.replaced.get(stream.name)
        effect = "new" if held is None else f"replaces the server's, with {pluralize(held, 'message')}"
        print_err(f"{stream.name}: {pluralize(stream.messages, 'message')}, {effect}")


def _is_confirmed(plan: Plan, *, replace: bool, yes: bool) -> bool:
    if plan.loses and not replace:
        held = ", ".join(f"{name} ({pluralize(count, 'message')})" for name, count in plan.replaced.items() if count)
        raise Misconfigured(f"the server's streams hold messages: {held}; to delete them, pass --replace")
    return yes or not plan.replaced or confirm("Delete the server's streams and restore the backup?", "restore")
