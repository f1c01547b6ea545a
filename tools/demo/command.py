"""Command line of the demo: its arguments, its scenarios, its exit code."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from demo.pictures.scenario import run_all_pictures, run_one_picture
from demo.resources import claim
from demo.users.scenario import run_users
from keda_jobs.cli.terminal import sanitize
from keda_jobs.errors import JobError
from stack import StackError
from stack.jobs import ROOT

_FOLDER = ROOT / ".stack" / "demo"
_SCENARIOS = ("pictures", "users")
_MOST_FAILURES = 5
_INTERRUPTED = 130


def main() -> int:
    """Return 0 when everything came out as it should, 1 after one line that says what did not, 130 after Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return _exit_code(_run(_parse()))
    except (StackError, JobError, OSError) as error:
        _print_error(str(error))
        return 1
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _print_error("interrupted, everything is stopped")
        return _INTERRUPTED


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
                failures = run_all_pictures(folder, arguments.picture)
            else:
                failures = run_users(folder)
        if failures:
            return failures
    return []


def _exit_code(failures: list[str]) -> int:
    if not failures:
        return 0
    more = [f"and {len(failures) - _MOST_FAILURES} more"] if len(failures) > _MOST_FAILURES else []
    _print_error("; ".join(failures[:_MOST_FAILURES] + more))
    return 1


def _print_error(line: str) -> None:
    print(f"demo: {sanitize(line)}", file=sys.stderr)
