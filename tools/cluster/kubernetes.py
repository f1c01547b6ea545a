"""kubectl's JSON output, and the encoding of Secrets in it."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import environments
from cluster.errors import ClusterError, Forbidden

PART_OF = {"app.kubernetes.io/part-of": "keda-jobs"}
"""Label of all that is ours."""
ENVIRONMENT_LABEL = "keda-jobs/environment"
"""Label of namespaces, and of what is in none: the environment's name."""

_TIMEOUT_S = 20

Object = dict[str, Any]


def kubectl_command(*arguments: str) -> list[str]:
    """Return the command of kubectl on the environment's context."""
    context = environments.current().kube_context
    return ["kubectl", *([f"--context={context}"] if context else []), *arguments]


def kubectl(*arguments: str, given: str = "") -> str:
    """Run `kubectl ARGUMENTS` on the input `given` and return its output.

    Raises `ClusterError` with stderr's last line, `Forbidden` for a missing right.
    """
    try:
        done = subprocess.run(
            kubectl_command(*arguments),
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
    except FileNotFoundError:
        raise ClusterError("kubectl is not installed; run `make setup`") from None
    except subprocess.TimeoutExpired:
        raise ClusterError(f"kubectl {arguments[0]}: no answer within {_TIMEOUT_S} s") from None
    if done.returncode:
        line = (done.stderr.strip().splitlines() or [f"kubectl {arguments[0]} failed"])[-1]
        raise Forbidden(line) if "(Forbidden)" in line else ClusterError(line)
    return done.stdout


def items(*arguments: str) -> list[Object]:
    """Return the objects that `kubectl get ARGUMENTS` finds."""
    found: list[Object] = json.loads(kubectl("get", *arguments, "--output=json"))["items"]
    return found


def secret_of_stdin() -> dict[str, str]:
    """Read the values of the Secret on stdin, from `kubectl get secret --output=json`. An empty input has none."""
    text = "" if sys.stdin.isatty() else sys.stdin.read()
    return decoded(json.loads(text)) if text.strip() else {}


def decoded(secret: Mapping[str, Any]) -> dict[str, str]:
    """Decode the values of a Secret."""
    return {key: base64.b64decode(value).decode() for key, value in (secret.get("data") or {}).items()}


def encoded(value: str) -> str:
    """Encode a value for a Secret's `data`."""
    return base64.b64encode(value.encode()).decode()
