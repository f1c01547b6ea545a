"""`keda-jobs batch`: how far batch jobs are, which rows failed, and trying those again."""

import typer

from keda_jobs.cli.batch import failures, retry, status

app = typer.Typer(no_args_is_help=True, help="Batch jobs: how far they are, which rows failed, try those again.")
app.command("status")(status.status)
app.command("failures")(failures.list_failures)
app.command("retry")(retry.retry)
