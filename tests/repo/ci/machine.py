"""Machine of a workflow, with stand-ins for programs that only such a machine has.

A stand-in logs its calls. git, kustomize and the scripts are real.
"""

from __future__ import annotations

import base64
import functools
import json
import os
import subprocess
import time
from pathlib import Path
from unittest.mock import patch

import environments
from cluster import setup_record
from environments import DEFAULT

from .repository import Repository

DIGEST = f"sha256:{'0123456789abcdef' * 4}"
REGISTRY = "registry.example/team"
GITHUB = {
    "GITHUB_REPOSITORY": "team/keda-jobs",
    "GITHUB_SERVER_URL": "https://git.example",
    "GITHUB_REF": "refs/heads/main",
    "GITHUB_EVENT_NAME": "push",
    "GITHUB_SHA": "0123456789abcdef" * 2 + "01234567",
}
DAY_S = 86_400

# Renders like kubectl, and writes manifests to a file instead of a cluster.
KUBECTL = """
case $1 in
  kustomize) exec "$REAL_KUBECTL" "$@" ;;
  config) [ "$2" != view ] && echo a-cluster || printf %s "${TOKEN:-}" ;;
  create) echo "$TOKEN" ;;
  apply) cat >>"$LOG.applied" && echo "---" >>"$LOG.applied" ;;
  get) case " $EXISTING " in *" $2 "*) echo "$2" ;; *) [ "$2" != configmap ] || printf %s "$RECORD" ;; esac ;;
  wait) [ "$2" != "${FAILING:-}" ] || exit 1 ;;
esac
[ -z "${KUBECONFIG_CONTENT:-}" ] || stat --format %a "$KUBECONFIG" >>"$LOG.mode"
"""
DOCKER = """
case "$1 $2" in
  "login "*) cat >>"$LOG.stdin" ;;
  "image inspect") case "$*" in *RepoDigests*) echo "${DIGESTS_OF_BASE:-1}" ;; *) echo 1000000 ;; esac ;;
  "buildx build")
    while [ $# -gt 0 ]; do
      [ "$1" != --metadata-file ] || printf '{\\n  "containerimage.digest": "%s"\\n}\\n' "$DIGEST" >"$2"
      shift
    done ;;
esac
"""


def token(days: float) -> str:
    """Build a JWT that ends in `days`, as far as its reader looks."""
    claims = json.dumps({"exp": time.time() + days * DAY_S}).encode()
    return f"e30.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.c2ln"


class Machine:
    """Machine of a workflow: a copy of the repository, and stand-ins for missing programs."""

    def __init__(self, folder: Path) -> None:
        self.repository = Repository.with_jobs(folder / "repository")
        self.programs = folder / "bin"
        self.log = folder / "log"
        self.programs.mkdir()

    def stand_in(self, name: str, does: str = "") -> None:
        """Put a stand-in before all programs called `name`."""
        path = self.programs / name
        path.write_text(f'#!/usr/bin/env bash\necho "{name} $*" >>"$LOG"\n{does}')
        path.chmod(0o755)

    def run(self, command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a step's command like the runner, with only its variables and the given ones."""
        inherited = {name: os.environ[name] for name in ("HOME", "PATH") if name in os.environ}
        real = subprocess.run(["bash", "-c", "command -v kubectl"], capture_output=True, text=True, check=True)
        own = {"LOG": str(self.log), "DIGEST": DIGEST, "REAL_KUBECTL": real.stdout.strip()}
        if "RECORD" not in environment:
            own["RECORD"] = self.record()
        path = {"PATH": f"{self.programs}:{inherited['PATH']}"}
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", command],
            cwd=self.repository.path,
            env={**inherited, **GITHUB, **own, **path, **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def record(self, environment: str = DEFAULT) -> str:
        """Return the ConfigMap that a setup of an environment with this copy of the repository stores."""
        return _record(self.repository.path, environment)

    def called(self) -> list[str]:
        """List the calls of the stand-ins."""
        return self.log.read_text().splitlines() if self.log.exists() else []

    def digests(self, *jobs: str, content: str = DIGEST) -> None:
        """Write the digests of published images of `jobs` for the deploy."""
        folder = self.repository.path / ".build" / "digests"
        folder.mkdir(parents=True)
        for job in jobs:
            (folder / job).write_text(f"{content}\n")


@functools.cache
def _record(root: Path, environment: str) -> str:
    with patch.object(environments, "ROOT", root), patch.dict(os.environ, ENV=environment):
        return json.dumps({"data": setup_record.record(root)})
