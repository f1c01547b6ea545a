"""Command line of `make new-job`."""

from __future__ import annotations

import argparse
import sys

from generated_files import SourceError
from new_job.kinds import KINDS, Plan, kinds_with
from new_job.make import make
from new_job.plan import Refused, planned
from stack.process import StackError


def main() -> int:
    """Make the job and return the exit code: 0, or 1 after one line that says why nothing was made."""
    try:
        plan = planned(**vars(_parse()))
        steps = _next_steps(plan)
        changed = make(plan)
    except (Refused, SourceError, StackError, OSError) as error:
        print(f"new-job: {error}", file=sys.stderr)
        return 1
    print(f"new-job: wrote {', '.join(changed)}\n\n{steps}")
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="new-job", description="Make a job from the template.")
    parser.add_argument("--name", required=True)
    parser.add_argument("--kind", default=next(iter(KINDS)))
    for option in sorted({kind.option for kind in KINDS.values() if kind.option}):
        parser.add_argument(f"--{option}", default="", help=f"for --kind={kinds_with(option)}")
    return parser.parse_args()


def _next_steps(plan: Plan) -> str:
    files, command = plan.next_steps()
    return f"""\
1. In jobs/{plan.name}/src/{plan.package}, write {files}
   make test ARGS=jobs/{plan.name}
2. Try it: {command}
3. Ship it: make job-files test lint && make build JOB={plan.name}; then, with the cluster,
   ./k8s/setup-scripts/setup-all.sh && make deploy JOB={plan.name}"""


if __name__ == "__main__":
    sys.exit(main())
