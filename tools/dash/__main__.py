"""`python -m dash`: Prometheus and Grafana on the running local stack, until Ctrl-C."""

from __future__ import annotations

import argparse
import json
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
from stack.supervisor import FOLDER, State, running_pid

_PROMETHEUS_PORT, _GRAFANA_PORT = 9090, 3000
# Workers come and go by themselves; one that listens there is seen.
WORKER_PORT = 8090
_WATCH_S = 0.5


def main() -> int:
    """The exit code: 0 after Ctrl-C, 1 after one line that says what is wrong."""
    parser = argparse.ArgumentParser(prog="dash", description=(__doc__ or "").partition(": ")[2])
    parser.add_argument("--folder", type=Path, default=FOLDER, help="that of the running stack")
    folder: Path = parser.parse_args().folder
    # Ctrl-C too: what a shell starts in the background ignores it.
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
        print(f"Grafana     is left out: {error}")


def _state(folder: Path) -> State:
    if running_pid(folder) is None:
        raise StackError("the local stack is not up: run `make up` first")
    return State(**json.loads((folder / "state.json").read_text()))


def _free(port: int) -> int:
    """This port, or any where something listens on it."""
    try:
        check_port_free("", port, "")
    except StackError:
        return free_port()
    return port


if __name__ == "__main__":
    sys.exit(main())
