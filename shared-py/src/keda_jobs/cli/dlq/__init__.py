"""`keda-jobs dlq`: look at dead letters, replay them, purge them."""

import typer

from keda_jobs.cli.dlq import change, look

app = typer.Typer(no_args_is_help=True, help="Dead letters: look at them, replay them, purge them.")
app.command("ls")(look.list_letters)
app.command("show")(look.show_letter)
app.command("count")(look.count_letters)
app.command("replay")(change.replay)
app.command("purge")(change.purge)
