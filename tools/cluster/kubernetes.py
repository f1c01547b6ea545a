"""kubectl, asked for JSON; and Secrets as it writes them."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from cluster.errors import ClusterError

_TIMEOUT_S = 20


def kubectl(*arguments: str) -> str:
    """What `kubectl ARGUMENTS` prints. Raises `ClusterError` with the last line of its complaint."""
    try:
        done = subprocess.run(
            ["kubectl", *arguments],
            stdin=subprocess.DEVNULL,
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
    """The objects that `kubectl get ARGUMENTS` finds."""
    found: list[dict[str, Any]] = json.loads(kubectl("get", *arguments, "--output=json"))["items"]
    return found


def secret_of_stdin() -> dict[str, str]:
    """The values of the Secret on stdin, as `kubectl get secret --output=json` writes it; none for an empty input."""
    text = "" if sys.stdin.isatty() else sys.stdin.read()
    return decoded(json.loads(text)) if text.strip() else {}


def decoded(secret: Mapping[str, Any]) -> dict[str, str]:
    """The values of a Secret."""
    return {key: base64.b64decode(value).decode() for key, value in (secret.get("data") or {}).items()}


def encoded(value: str) -> str:
    """A value as a Secret's `data` has it."""
    return base64.b64encode(value.encode()).decode()
