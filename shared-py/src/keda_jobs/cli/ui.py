"""`keda-jobs ui`: the web page for operators."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from keda_jobs.cli.connection import interruptible
from keda_jobs.cli.options import ServerOption
from keda_jobs.errors import Misconfigured
from keda_jobs.runtime import logs
from keda_jobs.settings import load_settings


def ui(
    port: Annotated[
        int, typer.Option("--port", min=0, max=65_535, help="Port of the page. 0 takes a free one.")
    ] = 8070,
    listen: Annotated[
        str, typer.Option("--listen", metavar="IP", help="Address to listen on. Beyond loopback a token is needed.")
    ] = "127.0.0.1",
    allow_actions: Annotated[
        bool, typer.Option("--allow-actions", help="Let viewers replay, delete, retry. Without it they only look.")
    ] = False,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", metavar="FILE", help="File with the token that viewers type in.")
    ] = None,
    server: ServerOption = None,
) -> None:
    """Serve a web page: what runs, what waits, what died. Ctrl-C stops it.

    Batch jobs are on it where PG_DSN is set. Whoever can connect to it sees everything, so by default only this machine
    can.

    Example: `keda-jobs ui --allow-actions`
    """
    if find_spec("jinja2") is None:
        raise Misconfigured("the page needs an extra of keda-jobs: pip install 'keda-jobs[ui]'")
    from keda_jobs.ui.app import serve
    from keda_jobs.ui.settings import Options, ServerSettings, is_loopback, read_token

    if token_file is None and not is_loopback(listen):
        raise Misconfigured(
            f"refusing to listen on {listen} without a token: pass --token-file, or listen on 127.0.0.1"
        )
    options = Options(listen, port, allow_actions, read_token(token_file) if token_file else None)
    settings = load_settings(ServerSettings, **({"nats_url": server} if server else {}))
    logs.setup("ui")

    async def run() -> None:
        with interruptible() as stop:
            await serve(settings, options, stop, lambda address: typer.echo(f"keda-jobs ui: {address}"))

    asyncio.run(run())
