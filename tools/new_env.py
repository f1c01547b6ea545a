"""`make new-env`: an environment made from another. Its overlay is a copy, with names of its own."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from environments import DEFAULT, FACTS, NAME, OVERLAYS, BadEnvironment, load, names
from stack.jobs import ROOT
from stack.process import StackError

_LINE = re.compile(r"^([A-Z_]+)=.*$", re.MULTILINE)
_LONGEST_NAMESPACE = 63


def make(name: str, model: str, root: Path = ROOT) -> Path:
    """Copy the overlay of `model` for a new environment and return its folder. Raises `StackError`."""
    facts = _facts(name, model, root)
    for fault in _faults(name, facts, root):
        raise StackError(fault)
    folder = root / OVERLAYS / name
    # In a folder of the repository: a move is atomic only inside one file system.
    (root / ".build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="new-env-", dir=root / ".build") as scratch:
        copy = Path(scratch) / name
        shutil.copytree(root / OVERLAYS / model, copy)
        file = copy / FACTS
        file.write_text(_LINE.sub(lambda line: f"{line[1]}={facts[line[1]]}", file.read_text()))
        copy.rename(folder)
    return folder


def _facts(name: str, model: str, root: Path) -> dict[str, str]:
    nats = f"nats-{name}"
    return {
        "ENVIRONMENT": name,
        "JOBS_NAMESPACE": f"keda-jobs-{name}",
        "NATS_NAMESPACE": nats,
        "NATS_URL": f"nats://nats.{nats}.svc.cluster.local:4222",
        "NATS_MONITORING": f"nats-headless.{nats}.svc.cluster.local:8222",
        "TEST_NAMESPACE": f"keda-jobs-{name}-test" if load(model, root).test_namespace else "",
        "KUBE_CONTEXT": "",
    }


def _faults(name: str, facts: dict[str, str], root: Path) -> Iterator[str]:
    if not name:
        yield "name the environment: make new-env NAME=staging"
    longest = _LONGEST_NAMESPACE - len("keda-jobs--test")
    if not NAME.fullmatch(name) or len(name) > longest:
        yield (
            f"'{name}' is no name for an environment: use lower-case letters, digits and single dashes, a letter first,"
            f" at most {longest} characters"
        )
    if (root / OVERLAYS / name).exists():
        yield f"{OVERLAYS}/{name} exists already"
    for other in names(root):
        if taken := {facts[key] for key in facts if key.endswith("_NAMESPACE")} & {*load(other, root).namespaces}:
            yield f"'{name}' is taken: the environment {other} has the namespace {taken.pop()}"


def _next_steps(name: str, has_test_servers: bool) -> str:
    where = f"{OVERLAYS}/{name}"
    outside = (
        ""
        if has_test_servers
        else f"""\
   Open the routes to its store and its database: store.yaml and postgres.yaml there.
   Fill in k8s/.env.{name} from k8s/.env.template: a bucket and a PostgreSQL server of its own, as roles belong to it.
"""
    )
    return f"""\
1. In {where}/{FACTS}, set KUBE_CONTEXT if it is in another cluster.
{outside}2. make manifests
3. ENV={name} ./k8s/setup-scripts/setup-all.sh && make deploy JOB=… ENV={name}"""


def main() -> int:
    """Make the environment and return the exit code: 0, or 1 after one line that says why nothing was made."""
    parser = argparse.ArgumentParser(prog="new-env", description="Make an environment from another.")
    parser.add_argument("--name", required=True)
    parser.add_argument("--from", dest="model", default=DEFAULT)
    given = parser.parse_args()
    try:
        folder = make(given.name, given.model)
        steps = _next_steps(given.name, bool(load(given.name).test_namespace))
    except (StackError, BadEnvironment, OSError) as error:
        print(f"new-env: {error}", file=sys.stderr)
        return 1
    print(f"new-env: wrote {folder.relative_to(ROOT)}\n\n{steps}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
