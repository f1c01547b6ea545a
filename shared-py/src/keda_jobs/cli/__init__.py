"""`keda-jobs`: the operator's command for streams, events, dead letters and batch jobs."""

from __future__ import annotations

from importlib import metadata
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typing_extensions import override

from keda_jobs.cli import batch, cancel, compare, dlq, events, pub, replay, schedules, status, streams, ui
from keda_jobs.cli.connection import INTERRUPTED
from keda_jobs.cli.options import ServerOption
from keda_jobs.cli.standard_streams import standard_streams
from keda_jobs.cli.terminal import print_err
from keda_jobs.errors import JobError, Misconfigured


class _Commands(TyperGroup):
    """Commands whose errors become one line on stderr and an exit code."""

    @override
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, typer.Abort):
            raise typer.Exit(INTERRUPTED) from None
        except JobError as error:
            print_err(f"keda-jobs: {error}")
            raise typer.Exit(2 if isinstance(error, Misconfigured) else 1) from error


app = typer.Typer(
    name="keda-jobs",
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Settings for NATS: NATS_URL (nats://localhost:4222), NATS_USER, NATS_PASSWORD, NATS_CREDS, NATS_TLS_CA. "
    "For the database of `batch`: PG_DSN. For the bucket of `compare` and `streams backup`: R2_*. "
    "Exit codes: 0 done, 1 failed or incomplete, 2 wrong arguments or settings, 130 interrupted.",
)
app.command("cancel")(cancel.cancel)
app.command("compare")(compare.compare_outputs)
app.command("events")(events.events)
app.command("pub")(pub.pub)
app.command("replay")(replay.replay)
app.command("status")(status.status)
app.command("ui")(ui.ui)
app.add_typer(batch.app, name="batch")
app.add_typer(dlq.app, name="dlq")
app.add_typer(schedules.app, name="schedules")
app.add_typer(streams.app, name="streams")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"keda-jobs {metadata.version('keda-jobs')}")
        raise typer.Exit


@app.callback()
def keda_jobs(
    server: ServerOption = None,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Manage streams, events, dead letters and batch jobs of keda-jobs."""


def main() -> None:
    """Run the console script."""
    with standard_streams():
        app(prog_name="keda-jobs")
