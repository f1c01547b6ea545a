"""kubectl's JSON output, and the encoding of Secrets in it."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from cluster.errors import ClusterError

_TIMEOUT_S = 20


def kubectl(*arguments: str, given: str = "") -> str:
    """Run `kubectl ARGUMENTS` on the input `given` and return its output. Raises `ClusterError`: stderr's last line."""
    try:
        done = subprocess.run(
            ["kubectl", *arguments],
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
        raise ClusterError((done.stderr.strip().splitlines() or [f"kubectl {arguments[0]} failed"])[-1])
    return done.stdout


def items(*arguments: str) -> list[dict[str, Any]]:
    """Return the objects that `kubectl get ARGUMENTS` finds."""
    found: list[dict[str, Any]] = json.loads(kubectl("get", *arguments, "--output=json"))["items"]
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
