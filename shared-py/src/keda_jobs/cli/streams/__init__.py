"""`keda-jobs streams`: show, apply the declaration, back up, restore."""

import typer

from keda_jobs.cli.streams import apply, backup, restore, show

app = typer.Typer(no_args_is_help=True, help="Streams and consumers: show, apply, back up, restore.")
app.command("show")(show.show)
app.command("apply")(apply.apply)
app.command("backup")(backup.backup)
app.command("backups")(backup.list_stored)
app.command("restore")(restore.restore)
