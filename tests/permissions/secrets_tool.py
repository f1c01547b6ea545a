"""`tools/nats_users.py`, run like the setup script does, and its output."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from typing import Any

from keda_jobs.event.job import EventJob
from stack import job_names
from stack.jobs import ROOT

NOTHING: dict[str, Any] = {"apiVersion": "v1", "kind": "List", "items": []}
JOBS = job_names(EventJob)


def run_tool(listed: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools" / "nats_users.py")]
    return subprocess.run(command, input=listed, capture_output=True, text=True, check=False)


def made_of(listed: dict[str, Any]) -> dict[str, Any]:
    done = run_tool(json.dumps(listed))
    assert (done.returncode, done.stderr) == (0, "")
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def content(secret: dict[str, Any]) -> dict[str, str]:
    return {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}


def by_name(listed: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {secret["metadata"]["name"]: secret for secret in listed["items"]}


def as_kubectl_lists(listed: dict[str, Any]) -> dict[str, Any]:
    """Format applied Secrets like `kubectl get secrets -A -l keda-jobs/nats-user -o json`."""
    labelled = [secret for secret in listed["items"] if "keda-jobs/nats-user" in secret["metadata"]["labels"]]
    with_more = [
        {**secret, "metadata": {**secret["metadata"], "uid": "1", "resourceVersion": "7"}} for secret in labelled
    ]
    return {**NOTHING, "items": with_more, "metadata": {"resourceVersion": ""}}
