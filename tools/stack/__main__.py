"""`python -m stack up | down`: the local stack in the background, on the standard ports or on others."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict
from pathlib import Path

from stack.local import Ports
from stack.ports import HOST
from stack.process import StackError
from stack.supervisor import FOLDER, State, down, supervise, up

_PICTURE = "https://www.python.org/static/community_logos/python-logo-master-v3-TM.png"


def main() -> int:
    """Run the command line and return the exit code: 0, or 1 after one line that says what is wrong."""
    arguments = _parse()
    ports = Ports(**{name: getattr(arguments, f"{name}_port") for name in asdict(Ports())})
    try:
        if arguments.command == "up":
            print(_instructions(up(ports, arguments.folder), arguments.folder))
        elif arguments.command == "down":
            print("stopped" if down(arguments.folder) else "nothing was running")
        else:
            supervise(ports, arguments.folder)
    except StackError as error:
        print(f"stack: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="stack", description=(__doc__ or "").partition(": ")[2])
    parser.add_argument("command", choices=["up", "down", "supervise"])
    parser.add_argument("--folder", type=Path, default=FOLDER, help="folder of configuration, data and logs")
    for name, default in asdict(Ports()).items():
        parser.add_argument(f"--{name}-port", type=int, default=default, metavar="PORT", help=f"{default} by default")
    return parser.parse_args()


def _instructions(state: State, folder: Path) -> str:
    nats, postgres = state.environment["NATS_URL"], state.environment["PG_DSN"]
    programs = os.path.relpath(Path(sys.executable).parent)
    cli = f"{programs}/keda-jobs"
    if nats != f"nats://{HOST}:{Ports().nats}":
        cli = f"NATS_URL={nats} {cli}"
    files = os.path.relpath(folder)
    jobs = "\n".join(f"  {job:<15} {url}/metrics" for job, url in state.jobs.items())
    event = f'{{"url": "{_PICTURE}"}}'
    return f"""\
Running:
  {"page":<16}{state.ui}, everything below in a browser
  {"NATS":<16}{nats}, monitoring {state.monitor_url}
  {"S3":<16}{state.environment["R2_ENDPOINT_URL"]}, objects as files in {files}/s3/{state.environment["R2_BUCKET"]}
  {"PostgreSQL":<16}{postgres}, tables of the batch jobs
{jobs}
  {"logs":<16}{files}/*.log
Pictures:
  {cli} pub image-download '{event}'
  nats -s {nats} pub image-download '{event}'
  {cli} status --watch
  {cli} dlq ls
Users, thousands at a time:
  export PG_DSN={postgres}
  {programs}/users-batch-seed all --rows 100000 --out {files}/users
  HTTP_PORT=0 {programs}/python -m users_batch
  {programs}/keda-jobs batch status --watch
Stop it:
  make down"""


if __name__ == "__main__":
    sys.exit(main())
