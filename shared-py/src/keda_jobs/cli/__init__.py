"""`keda-jobs`: what an operator does with the stream, its consumers, its dead letters, and with batch jobs."""

from __future__ import annotations

from importlib import metadata
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typing_extensions import override

from keda_jobs.cli import batch, dlq, pub, status, streams
from keda_jobs.cli.connection import INTERRUPTED
from keda_jobs.cli.options import ServerOption
from keda_jobs.cli.terminal import print_err
from keda_jobs.errors import JobError, Misconfigured
from keda_jobs.jetstream.connection import NatsError
from keda_jobs.postgres import PostgresError


class _Commands(TyperGroup):
    """The one place where an error becomes a line on stderr and an exit code."""

    @override
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except JobError as error:
            raise _said(str(error), 2 if isinstance(error, Misconfigured) else 1) from error
        except NatsError as error:
            raise _said(f"NATS: {str(error).removeprefix('nats: ') or type(error).__name__}", 1) from error
        except PostgresError as error:
            raise _said(f"PostgreSQL: {error}", 1) from error


def _said(line: str, code: int) -> typer.Exit:
    print_err(f"keda-jobs: {line}")
    return typer.Exit(code)


app = typer.Typer(
    name="keda-jobs",
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="NATS is found by NATS_URL (nats://localhost:4222), NATS_USER, NATS_PASSWORD, NATS_CREDS and NATS_TLS_CA; "
    "the database of `batch` by PG_DSN. "
    "Exit codes: 0 done, 1 not all of it, 2 wrong use or settings, 130 interrupted.",
)
app.command("pub")(pub.pub)
app.command("status")(status.status)
app.add_typer(batch.app, name="batch")
app.add_typer(dlq.app, name="dlq")
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
    """Streams, events, dead letters and batch jobs of keda-jobs."""


def main() -> None:
    """The console script."""
    app(prog_name="keda-jobs")
