"""`keda-jobs dlq`: list dead letters, replay them, purge them."""

import typer

from keda_jobs.cli.dlq import listing, purge, replay

app = typer.Typer(no_args_is_help=True, help="Dead letters: list them, replay them, purge them.")
app.command("ls")(listing.list_dead_letters)
app.command("show")(listing.show_dead_letter)
app.command("count")(listing.count_dead_letters)
app.command("replay")(replay.replay)
app.command("purge")(purge.purge)
