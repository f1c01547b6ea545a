"""Command that runs Prometheus and Grafana on the local stack until Ctrl-C: `python -m dash`."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from dash.grafana import Grafana, get_image
from dash.prometheus import Prometheus, program
from prometheus_rules import groups
from stack.ports import HOST, check_port_free, free_port
from stack.process import StackError
from stack.supervisor import FOLDER, State, read_state, running_pid

_PROMETHEUS_PORT, _GRAFANA_PORT = 9090, 3000
# Batch workers come and go. One that listens on this port is scraped.
WORKER_PORT = 8090
_WATCH_S = 0.5


def main() -> int:
    """Run until Ctrl-C. Return 1 after a one-line error."""
    parser = argparse.ArgumentParser(prog="dash", description="Run Prometheus and Grafana on the local stack.")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="folder of the running stack")
    folder: Path = parser.parse_args().folder
    # SIGINT too: a process that a shell starts in the background ignores it by default.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        _run(folder)
    except StackError as error:
        print(f"dash: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


def _run(folder: Path) -> None:
    program("prometheus")
    state = _state(folder)
    targets = {**state.jobs, "batch-worker": f"http://{HOST}:{WORKER_PORT}"}
    prometheus = Prometheus(folder / "dash", groups(), port=_free(_PROMETHEUS_PORT))
    prometheus.scrape(targets)
    with ExitStack() as running:
        running.callback(prometheus.stop)
        prometheus.start()
        print(f"Prometheus  {prometheus.url}, scraping {', '.join(state.jobs)}")
        print(
            f"            and a batch worker: PG_DSN={state.environment['PG_DSN']} HTTP_PORT={WORKER_PORT} python -m …"
        )
        _try_grafana(Grafana(folder / "dash", prometheus.port, _free(_GRAFANA_PORT)), running)
        print("Ctrl-C stops it", flush=True)
        while prometheus.alive:
            time.sleep(_WATCH_S)
        prometheus.raise_if_exited()


def _try_grafana(grafana: Grafana, running: ExitStack) -> None:
    try:
        get_image()
        running.callback(grafana.stop)
        grafana.start()
        print(f"Grafana     {grafana.url}")
    except StackError as error:
        print(f"Grafana     not started: {error}")


def _state(folder: Path) -> State:
    if running_pid(folder) is None:
        raise StackError("the local stack is not running: run `make up` first")
    return read_state(folder)


def _free(port: int) -> int:
    """Return this port, or any free one when it is taken."""
    try:
        check_port_free("", port, "")
    except StackError:
        return free_port()
    return port


if __name__ == "__main__":
    sys.exit(main())
