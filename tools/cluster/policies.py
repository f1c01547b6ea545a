"""Whether the cluster enforces NetworkPolicies. NATS may call nobody, so it tries to call KEDA's operator."""

from __future__ import annotations

import contextlib
import sys

import environments
from cluster.errors import ClusterError, Forbidden, run
from cluster.kubernetes import items, kubectl
from stack.waiting import wait_until

NOT_ENFORCED = (
    "NETWORK POLICIES ARE NOT ENFORCED in this cluster: pods reach each other, and NATS's monitoring needs no login. "
    "Switch enforcement on, see docs/clusters.md"
)
_HEALTH_PORT = "8081"
# Policies take effect some time after a pod has started.
_DEADLINE_S = 20.0
# NATS's image has nc, one that is built on Debian has bash.
_CONNECT = """
if command -v nc >/dev/null; then nc -z -w 3 "$1" "$2"; else timeout 3 bash -c ': <>"/dev/tcp/$0/$1"' "$1" "$2"; fi
"""


def enforced() -> bool:
    """Return whether NATS is kept from calling KEDA's operator. Raises `ClusterError` where that cannot be tried."""
    found = items("pods", "--all-namespaces", "--selector=app=keda-operator", "--field-selector=status.phase=Running")
    addresses = [pod["status"]["podIP"] for pod in found if "podIP" in pod["status"]]
    if not addresses:
        raise ClusterError("no pod of KEDA's operator runs")
    return not _reaches(addresses[0])


def _reaches(address: str) -> bool:
    command = f"({_CONNECT}) 2>/dev/null && echo open || echo closed"
    shell = ("sh", "-c", command, "probe", address, _HEALTH_PORT)
    nats = environments.current().nats_namespace
    if not nats:
        raise ClusterError("it is tried from the pod nats-0, and NATS is one of yours")
    return kubectl("exec", "--namespace", nats, "nats-0", "--container=nats", "--", *shell).strip() == "open"


def report() -> str:
    """Describe in one line what was found."""
    try:
        return "network policies are enforced" if enforced() else NOT_ENFORCED
    except Forbidden:
        return "whether network policies are enforced is shown to an administrator: it is tried from the pod nats-0"
    except ClusterError as error:
        return f"whether network policies are enforced is not known: {error}"


def _main() -> int:
    found = NOT_ENFORCED

    def is_decided() -> bool:
        nonlocal found
        found = report()
        return found != NOT_ENFORCED

    with contextlib.suppress(TimeoutError):
        wait_until(is_decided, _DEADLINE_S)
    print(f"\n  {found}\n" if found == NOT_ENFORCED else found)
    return 0


if __name__ == "__main__":
    sys.exit(run("policies", _main))
