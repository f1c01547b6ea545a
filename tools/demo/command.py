"""Command line of the demo."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from demo.pictures.scenario import run_one_picture, run_pictures
from demo.resources import claim
from demo.users import run_users
from keda_jobs.cli.terminal import sanitize
from keda_jobs.errors import JobError
from stack import StackError
from stack.jobs import ROOT

_FOLDER = ROOT / ".stack" / "demo"
_SCENARIOS = ("pictures", "users")
_INTERRUPTED = 130


def main() -> int:
    """Return 0 when everything came out as it should, 1 after a line for each failure, 130 after Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        failures = _run(_parse())
    except (StackError, JobError, OSError) as error:
        failures = [str(error)]
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _print_error("interrupted, everything is stopped")
        return _INTERRUPTED
    for failure in failures:
        _print_error(failure)
    return 1 if failures else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo", description="Pictures and users through the real jobs.")
    parser.add_argument("url", nargs="?", metavar="URL", help="run only this picture, instead of the demo's own")
    parser.add_argument("--only", choices=_SCENARIOS, help="run one scenario instead of both")
    parser.add_argument("--folder", type=Path, default=_FOLDER, help="data, logs and contact sheet; emptied at start")
    parser.add_argument("--picture", type=Path, help="write the README's picture there: free pictures, small")
    return parser.parse_args()


def _run(arguments: argparse.Namespace) -> list[str]:
    """Run the scenarios up to the first with failures, and return these."""
    only = "pictures" if arguments.url else arguments.only
    for name in [only] if only else _SCENARIOS:
        with claim(arguments.folder.resolve() / name) as folder:
            if arguments.url:
                failures = run_one_picture(arguments.url, folder)
            elif name == "pictures":
                failures = run_pictures(folder, arguments.picture)
            else:
                failures = run_users(folder)
        if failures:
            return failures
    return []


def _print_error(line: str) -> None:
    print(f"demo: {sanitize(line)}", file=sys.stderr)
