"""Life of a token for CI, read from the token itself: an API server may give less than was asked, and does not say so.

EKS and AKS give a day, GKE two (DataDog/stratus-red-team#163, MicrosoftDocs/azure-docs#102161).
"""

from __future__ import annotations

import argparse
import base64
import json
import math
import re
import sys
import time

from cluster.errors import ClusterError, run

DAY_S = 86_400
FLOOR_S = 30 * DAY_S
# A token that was asked for exactly the time it needs is some seconds old.
_AGE_S = 60
_UNITS_S = {"h": 3600, "m": 60, "s": 1}


def seconds(duration: str) -> float:
    """Parse a duration of kubectl, such as 8760h or 1h30m. Raises `ClusterError`."""
    if not re.fullmatch(r"(\d+(\.\d+)?[hms])+", duration):
        raise ClusterError(f"'{duration}' is no duration; write it like 720h or 1h30m")
    return sum(float(number) * _UNITS_S[unit] for number, unit in re.findall(r"([\d.]+)([hms])", duration))


def left_s(token: str, now: float) -> float:
    """Return the seconds that `token` is still valid, infinite for one that names no end. Raises `ClusterError`."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return float(claims.get("exp", math.inf)) - now
    except (AttributeError, IndexError, TypeError, ValueError):
        raise ClusterError("the token is no JWT; take the kubeconfig that k8s/deployer-kubeconfig.sh prints") from None


def check(token: str, least_s: float) -> str:
    """Say how long `token` is valid. Raises `ClusterError` where that is less than `least_s`."""
    left = left_s(token, time.time())
    if left < least_s - _AGE_S:
        raise ClusterError(
            f"the token is valid for {format_duration(max(left, 0))}, less than {format_duration(least_s)}; make a new "
            "one with k8s/deployer-kubeconfig.sh, or deploy by OIDC where the cluster gives no longer ones (docs/ci.md)"
        )
    return f"the token is valid for {format_duration(left)}"


def format_duration(duration_s: float) -> str:
    """Format seconds as days, or as hours where there are less than two days."""
    return f"{duration_s / DAY_S:.0f} days" if duration_s >= 2 * DAY_S else f"{duration_s / 3600:.1f} hours"


def main() -> int:
    """Check the token on stdin, which may be empty for a login without one, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m cluster.token_life", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--asked", default="8760h", help="what was asked for; a token may be that short")
    token, asked = sys.stdin.read().strip(), parser.parse_args().asked
    if token:
        print(f"token: {check(token, min(seconds(asked), FLOOR_S))}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(run("token", main))
