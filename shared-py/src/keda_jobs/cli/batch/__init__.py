"""`keda-jobs batch`: progress of batch jobs, their failed rows, retries of those, and checks of their queues."""

import typer

from keda_jobs.cli.batch import check, failures, retry, status

app = typer.Typer(no_args_is_help=True, help="Batch jobs: progress, failed rows and their retries, checks.")
app.command("status")(status.status)
app.command("failures")(failures.list_failures)
app.command("retry")(retry.retry)
app.command("check")(check.check)
