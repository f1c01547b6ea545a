"""Program of `make soak`: mixed load on the local stack for an hour, and whether what each process uses stays flat."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import shutil
import sys
from collections.abc import Sequence

from faults.origin import Origin

from stack import FREE_PORTS, LocalStack, StackError
from stack.jobs import ROOT

from .load import RETRY_STEP_S, run_load, serve_pictures
from .report import failures, table, write_report
from .samples import Sample, read_use

_FOLDER = ROOT / ".stack" / "soak"
_SAMPLES = 360
# Events are kept for this share of the time, less than the warm-up. NATS allows no less than its duplicate window.
_KEPT, _KEPT_AT_LEAST_S = 1 / 6, 120


def main() -> int:
    """Return 0 when everything is flat, 1 after a line for each use that rises or when a process ends."""
    arguments = _parse()
    logging.getLogger("keda_jobs").setLevel(logging.CRITICAL)
    shutil.rmtree(_FOLDER, ignore_errors=True)
    try:
        samples = asyncio.run(_soak(arguments.minutes * 60))
    except (StackError, ExceptionGroup) as error:
        print(f"soak: {error}; logs: {_FOLDER}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("soak: interrupted, everything is stopped", file=sys.stderr)
        return 130
    (_FOLDER / "samples.json").write_text(json.dumps(samples))
    print(table(samples))
    if arguments.report:
        write_report(samples)
    rising = failures(samples)
    print("\n".join(f"soak: {line}" for line in rising) or "soak: all flat")
    return 1 if rising else 0


async def _soak(duration_s: float) -> Sequence[Sample]:
    """Run the load for that time, and take samples of the processes. Raises `StackError`, `ExceptionGroup`."""
    async with Origin() as origin:
        serve_pictures(origin)
        environment = {"DOWNLOAD_ALLOW_ADDRESSES": origin.address, "RETRY_STEP_S": RETRY_STEP_S}
        stack = LocalStack(_FOLDER, FREE_PORTS, environment)
        try:
            await asyncio.to_thread(stack.start)
            return await _watch_load(stack, origin, duration_s)
        finally:
            stack.kill()


async def _watch_load(stack: LocalStack, origin: Origin, duration_s: float) -> Sequence[Sample]:
    kept_s = max(int(duration_s * _KEPT), _KEPT_AT_LEAST_S)
    load = asyncio.create_task(run_load(stack, origin, _FOLDER, kept_s))
    try:
        return await _take_samples(stack, load, duration_s)
    finally:
        load.cancel()
        await asyncio.wait([load])


async def _take_samples(stack: LocalStack, load: asyncio.Task[None], duration_s: float) -> Sequence[Sample]:
    samples = []
    clock = asyncio.get_running_loop().time
    began = clock()
    while clock() < began + duration_s:
        await asyncio.wait([load], timeout=duration_s / _SAMPLES)
        if load.done():
            load.result()
        for process in stack.processes:
            process.raise_if_exited()
        uses = {process.name: read_use(process.pid) for process in stack.processes if process.pid}
        samples.append(Sample(round(clock() - began, 1), uses))
        _show(samples[-1], duration_s)
    return samples


def _show(sample: Sample, duration_s: float) -> None:
    memory = ", ".join(f"{name} {use.memory:.0f}" for name, use in sample.uses.items())
    print(f"{sample.at_s:.0f} of {duration_s:.0f} s, MB: {memory}", file=sys.stderr, flush=True)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="soak", description="Load the local stack, and watch what its processes use.")
    parser.add_argument("--minutes", type=float, default=60, help="how long (60)")
    parser.add_argument("--report", action="store_true", help="write table and chart of docs/measured.md")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
