"""`keda-jobs batch`: progress of batch jobs, their failed rows, and retries of those."""

import typer

from keda_jobs.cli.batch import failures, retry, status

app = typer.Typer(no_args_is_help=True, help="Batch jobs: their progress, failed rows, and retries of those.")
app.command("status")(status.status)
app.command("failures")(failures.list_failures)
app.command("retry")(retry.retry)
