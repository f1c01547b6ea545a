"""Record of a setup: digests of what it applies besides images, in ConfigMap `keda-jobs-setup`.

setup-all.sh stores it when it is done. CI compares it with its own commit before it deploys, because a job whose
stream, rights or tables are missing would start and wait for ever.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import environments
import nats_users
from changed_jobs import SETUP_FILES
from cluster.errors import ClusterError, run
from cluster.kubernetes import PART_OF, kubectl
from environments import ROOT
from keda_jobs.errors import Misconfigured

CONFIG_MAP = "keda-jobs-setup"
# In place of the digest of a part that a setup left out, as it does with the database where there is no PG_DSN.
SKIPPED = "skipped"


def record(root: Path = ROOT) -> dict[str, str]:
    """Compute the digest of each part of a setup. Raises `ClusterError` for a job that cannot be read."""
    parts = {part: _digest(_contents(part, root)) for part in SETUP_FILES}
    try:
        # Their rights follow from the code of the jobs: what each one reads and emits.
        return parts | {"nats-users": _digest(repr(user).encode() for user in nats_users.users())}
    except Misconfigured as error:
        raise ClusterError(str(error)) from error


def manifest(skipped: set[str]) -> str:
    """Build the ConfigMap, with `SKIPPED` for the parts in `skipped`."""
    data = {part: SKIPPED if part in skipped else digest for part, digest in record().items()}
    metadata = {
        "name": CONFIG_MAP,
        "namespace": environments.current().jobs_namespace,
        "labels": PART_OF,
    }
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})


def stored() -> dict[str, str]:
    """Read what the cluster was set up for, nothing where it was not. Raises `ClusterError`."""
    place = ("configmap", CONFIG_MAP, f"--namespace={environments.current().jobs_namespace}")
    found = kubectl("get", *place, "--ignore-not-found", "--output=json")
    data: dict[str, str] = json.loads(found)["data"] if found.strip() else {}
    return data


def differing(of_setup: Mapping[str, str]) -> list[str]:
    """List the parts that are not as in this work tree. A skipped part is somebody else's."""
    return sorted(part for part, digest in record().items() if of_setup.get(part) not in (digest, SKIPPED))


def _contents(part: str, root: Path) -> Iterator[bytes]:
    files = sorted({path for pattern in SETUP_FILES[part] for path in root.glob(pattern) if path.is_file()})
    for path in files:
        yield f"{path.relative_to(root).as_posix()}\n".encode() + path.read_bytes()
    if part == "streams":
        yield from _schedules(root)


def _schedules(root: Path) -> Iterator[bytes]:
    """Yield the schedules of each job.toml. A deploy applies what else is in it."""
    for path in sorted(root.glob("jobs/*/job.toml")):
        if schedules := tomllib.loads(path.read_text()).get("schedules"):
            yield f"{path.parent.name}\n{schedules}".encode()


def _digest(pieces: Iterator[bytes]) -> str:
    each = [hashlib.sha256(piece).hexdigest() for piece in pieces]
    return hashlib.sha256("\n".join(each).encode()).hexdigest()[:16]


def _check() -> int:
    environment = environments.current().environment
    if parts := differing(stored()):
        raise ClusterError(
            f"the environment was set up for another commit, which differs in {', '.join(parts)}; "
            f"run ENV={environment} k8s/setup-scripts/setup-all.sh at this commit, then this again"
        )
    return 0


def main() -> int:
    """Print the ConfigMap, or with `check` compare it with that of the cluster, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m cluster.setup_record", description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    printing = commands.add_parser("print", help="print the ConfigMap")
    printing.add_argument("--skipped", action="append", default=[], choices=sorted(SETUP_FILES), help="part left out")
    commands.add_parser("check", help="fail if the cluster was set up for another commit")
    given = parser.parse_args()
    if given.command == "check":
        return _check()
    print(manifest(set(given.skipped)))
    return 0


if __name__ == "__main__":
    sys.exit(run("setup-record", main))
