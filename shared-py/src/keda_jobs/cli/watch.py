"""A status, shown once or every two seconds until Ctrl-C."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from typing import Annotated, Any, TypeVar

import typer
from rich.console import RenderableType
from rich.live import Live
from rich.text import Text

from keda_jobs.cli.connection import interruptible
from keda_jobs.cli.terminal import console, print_err, print_json, print_out, sanitize
from keda_jobs.errors import PlatformError
from keda_jobs.runtime.shutdown import cancel_on, wait_for

T = TypeVar("T")
Read = Callable[[], Coroutine[Any, Any, T]]
View = Callable[[T], RenderableType]
AsJson = Callable[[T], dict[str, Any]]
WatchOption = Annotated[bool, typer.Option("--watch", "-w", help="Refresh every two seconds, until Ctrl-C.")]

_EVERY_S = 2.0


def show(read: Read[T], view: View[T], as_json: AsJson[T] | None) -> None:
    """Show once what `read` returns, as JSON if that is wanted."""
    current = asyncio.run(read())
    if as_json:
        print_json(as_json(current))
    else:
        print_out(view(current))


async def watch(read: Read[T], *, screen: View[T], lines: View[T], as_json: AsJson[T] | None) -> None:
    """Show what `read` returns: on a full screen of the terminal, else as lines, or as JSON if that is wanted.

    A watch survives a restart of the server.
    """
    terminal = console()
    live = Live(console=terminal, screen=True, auto_refresh=False) if terminal.is_terminal and not as_json else None

    def complain(line: str) -> None:
        if live:
            live.update(Text(sanitize(line), style="red"), refresh=True)
        else:
            print_err(line)

    with interruptible() as stop, live or nullcontext():
        while not stop.is_set():
            try:
                current = await cancel_on(stop, read())
            except PlatformError as error:
                complain(f"{error}; trying again")
            else:
                if current is None:
                    return
                if live:
                    live.update(screen(current), refresh=True)
                elif as_json:
                    print_json(as_json(current), in_one_line=True)
                else:
                    print_out(lines(current))
            await wait_for(stop, _EVERY_S)
