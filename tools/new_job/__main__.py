"""`python -m new_job`, which is what `make new-job` runs."""

from __future__ import annotations

import argparse
import sys

from new_job.make import make
from new_job.plan import EVENT, Plan, Refused, planned
from stack.process import StackError


def main() -> int:
    """The exit code: 0, or 1 after one line that says why nothing was made."""
    arguments = _parse()
    try:
        plan = planned(arguments.name, arguments.kind, arguments.subject, arguments.table)
        steps = _next_steps(plan)
        changed = make(plan)
    except (Refused, StackError, OSError) as error:
        print(f"new-job: {error}", file=sys.stderr)
        return 1
    print(f"new-job: wrote {', '.join(changed)}\n\n{steps}")
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="new-job", description="Make a job from the template.")
    parser.add_argument("--name", required=True)
    parser.add_argument("--kind", default=EVENT)
    parser.add_argument("--subject", default="", help="what an event job reads")
    parser.add_argument("--table", default="", help="what a batch job works on; its package's name by default")
    return parser.parse_args()


def _next_steps(plan: Plan) -> str:
    source = f"jobs/{plan.name}/src/{plan.package}"
    if plan.kind == EVENT:
        what = f"what it reads and does: {source}/events.py, {source}/handler.py"
        event = f'{{"{plan.words()["field"]}": "a"}}'
        tried = f"make down up && .venv/bin/keda-jobs pub {plan.subject} '{event}' && .venv/bin/keda-jobs status"
    else:
        what = f"its columns and what it does: {source}/migrations/0001_table.sql, {source}/handler.py"
        tried = f"make down up, and what stands under “Try it” in jobs/{plan.name}/README.md"
    return f"""\
1. Write {what}
   make test ARGS=jobs/{plan.name}
2. Try it: {tried}
3. Ship it: make test lint && make build JOB={plan.name}; then, on the cluster's side,
   ./k8s/setup-scripts/setup-all.sh && make deploy JOB={plan.name}"""


if __name__ == "__main__":
    sys.exit(main())
