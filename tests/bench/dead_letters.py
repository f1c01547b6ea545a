"""Time and peak memory of the CLI, the exporter and the page with many dead letters, and as many waiting retries.

    PYTHONPATH=tools python tests/bench/dead_letters.py --folder DIR [--numbers 10000 100000 1000000]

DIR gets a NATS server, the output and the logs, about 2 GB for a million. NATS writes to the disk at each message, so a
folder in memory is faster.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table
from running import Bench, Script, run_together, started

from keda_jobs.cli.terminal import add_row, new_table, print_out
from keda_jobs.domain.broker import Outgoing
from keda_jobs.domain.dead_letter import dead_letter
from keda_jobs.domain.identity import Identity
from keda_jobs.domain.message import Message
from keda_jobs.domain.policy import Dead
from keda_jobs.domain.retry import scheduled_retry
from keda_jobs.jetstream.connection import NatsConnection, connect
from keda_jobs.jetstream.publish import publish
from keda_jobs.settings import NatsSettings
from stack import JobProcess, NatsServer, StackError, UiProcess, until
from stack.process import Process
from stack.servers import binary
from stack.streams import apply_streams

_NUMBERS = (10_000, 100_000, 1_000_000)
_JOB, _OTHER_JOB, _RARE, _NEVER = "image-download", "image-resize", "Refused", "Never"
# One in so many dead letters is of the other job, and one of the rare error.
_EVERY = 100
_WINDOW = 500
_DAY_S = 86_400.0
_DEADLINE_S = 3600.0
_SCRAPE, _SCRAPES = "a scrape of the exporter", 5
_VIEW = "first look at dead letters in keda-jobs ui"
_STORED = f'keda_jobs_dead_letters_stored{{job="{_JOB}"}}'


@dataclass(frozen=True, slots=True)
class Command:
    """Command of the CLI, how to read the number of dead letters from its output, and which share of all it must be."""

    arguments: str
    count: Callable[[Path], int]
    share: float = 1.0


def _number(*keys: str) -> Callable[[Path], int]:
    """Return a function that reads a number from a JSON document."""

    def count(file: Path) -> int:
        value = json.loads(file.read_text())
        for key in keys:
            value = value[key]
        return int(value)

    return count


def _lines(file: Path) -> int:
    """Count the items of an array with one in a line."""
    with file.open("rb") as lines:
        return sum(line.startswith(b"  {") for line in lines)


_COMMANDS = (
    Command("status --json", _number("dead_letters", "total")),
    Command("dlq count --json", _number("total")),
    Command("dlq ls --json --limit 0", _lines),
    Command(f"dlq replay --job {_OTHER_JOB} --json", _number("replayed"), 1 / _EVERY),
    Command(f"dlq purge --error-class {_RARE} --yes --json", _number("deleted"), 1 / _EVERY),
    Command("dlq purge --all --yes --json", _number("deleted"), 1 - 2 / _EVERY),
)


async def measure(folder: Path, number: int) -> Mapping[str, str]:
    """Store that number of dead letters and of retries, and return a cell with the figures of each program."""
    figures: dict[str, str] = {}
    async with started(NatsServer(folder / "server")) as server:
        await apply_streams(server.url)
        await _fill(server.url, number)
        async with started(JobProcess("exporter", server.environment(), folder / "exporter.log")) as exporter:
            figures[_SCRAPE] = await _scrape(exporter)
        async with started(UiProcess(server.environment(), folder / "ui.log")) as ui:
            figures[_VIEW] = await _first_look(ui)
        bench = Bench(folder, 1, print)
        for command in _COMMANDS:
            output = folder / "output"
            arguments = (output, binary("keda-jobs"), *command.arguments.split())
            script = bench.script("keda-jobs", "peak_memory", *arguments, NATS_URL=server.url)
            await run_together(script, deadline_s=_DEADLINE_S)
            found, expected = command.count(output), round(number * command.share)
            if found != expected:
                raise StackError(f"keda-jobs {command.arguments}: {found:,} dead letters instead of {expected:,}")
            figures[command.arguments] = _cell(script)
    return figures


async def _scrape(exporter: JobProcess) -> str:
    """Scrape until the exporter has read every dead letter, and then some times more for the figures."""

    async def has_read_all() -> bool:
        return _STORED in await asyncio.to_thread(_page, exporter)

    await until(has_read_all, _DEADLINE_S)
    before_s = _cpu_s(exporter)
    for _ in range(_SCRAPES):
        await asyncio.to_thread(_page, exporter)
    each_s = (_cpu_s(exporter) - before_s) / _SCRAPES
    return f"{_peak_megabytes(exporter):.0f} MB, {each_s:.2f} s of CPU"


def _page(exporter: JobProcess) -> str:
    return _read(f"{exporter.http_url}/metrics").decode()


async def _first_look(ui: UiProcess) -> str:
    """Time the first page of dead letters, and a search that finds nothing. Return both with the peak of memory."""
    began = time.monotonic()
    await asyncio.to_thread(_read, f"{ui.url}/dead-letters")
    first_s = time.monotonic() - began
    rare = f"{ui.url}/dead-letters?class={_NEVER}"

    async def has_looked_at_all() -> bool:
        return b"No dead letter matches" in await asyncio.to_thread(_read, rare)

    began = time.monotonic()
    await until(has_looked_at_all, _DEADLINE_S)
    return f"{_peak_megabytes(ui):.0f} MB, {first_s:.2f} s; a search through all {time.monotonic() - began:.0f} s"


def _read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=_DEADLINE_S) as response:
        content: bytes = response.read()
    return content


def _cpu_s(exporter: JobProcess) -> float:
    user, system = Path(f"/proc/{exporter.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _peak_megabytes(process: Process) -> float:
    [kilobytes] = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    return int(kilobytes) / 1000


def _cell(script: Script) -> str:
    seconds, megabytes = script.figures()
    return f"{megabytes:.0f} MB, {seconds:.1f} s"


async def _fill(url: str, number: int) -> None:
    """Store the messages."""
    async with connect(NatsSettings(nats_url=url), name="bench", wait=False) as connection:
        for start in range(0, number, _WINDOW):
            messages = [_message(n) for n in range(start, min(start + _WINDOW, number))]
            dead = [_dead_letter(message, connection.max_payload) for message in messages]
            await _publish(connection, dead)
            await _publish(connection, [scheduled_retry(one, _JOB, _DAY_S, one.id.stored_at) for one in messages])


def _message(number: int) -> Message:
    event = b'{"url": "https://pictures.example.org/%d.jpg"}' % number
    now = datetime.now(UTC)
    return Message("image-download", event, {}, Identity.of(_JOB, number + 1, now), 15, number + 1, now)


def _dead_letter(message: Message, max_payload: int) -> Outgoing:
    job = _OTHER_JOB if message.sequence % _EVERY == 0 else _JOB
    error_class = _RARE if message.sequence % _EVERY == 1 else "NotFound"
    dead = Dead(f"{error_class}: 404 for the picture", error_class)
    return dead_letter(message, job, dead, max_payload, message.id.stored_at)


async def _publish(connection: NatsConnection, messages: Sequence[Outgoing]) -> None:
    """Publish messages. Only the last one is confirmed, which the server does in their order."""
    *others, last = messages
    for outgoing in others:
        headers = {**outgoing.headers, "Nats-Msg-Id": outgoing.msg_id}
        await connection.client.publish(outgoing.subject, outgoing.data, headers=headers)
    await publish(connection, last)


def table(figures: Mapping[int, Mapping[str, str]]) -> Table:
    """Build the table with a row for each program and a column for each number."""
    columns = [f"{number:,}" for number in figures]
    rows = new_table("peak memory, time", *columns, right=columns)
    for name in (_SCRAPE, _VIEW, *(command.arguments for command in _COMMANDS)):
        add_row(rows, name, *(those[name] for those in figures.values()))
    return rows


def main() -> int:
    """Measure with each number of dead letters, print the table, and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="created if it does not exist")
    parser.add_argument("--numbers", type=int, nargs="+", default=_NUMBERS, help="dead letters of each run")
    arguments = parser.parse_args()
    figures: dict[int, Mapping[str, str]] = {}
    try:
        for number in arguments.numbers:
            folder = arguments.folder.resolve() / str(number)
            folder.mkdir(parents=True, exist_ok=True)
            figures[number] = asyncio.run(measure(folder, number))
    except StackError as error:
        print(f"dead letters: {error}", file=sys.stderr)
        return 1
    print_out(table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
