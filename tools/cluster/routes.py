"""Ports of the store and the database in `k8s/.env` that no network policy of the overlay opens.

Stdin is the output of `kubectl kustomize`. A Service's port is not looked at: policies see that of the pods behind it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from cluster import database, env_file
from cluster.errors import ClusterError, run
from cluster.kubernetes import Object
from cluster.overlay import objects_of_stdin


def closed(objects: list[Object], values: Mapping[str, str]) -> list[str]:
    """Return a line for each port that is closed to the pods that need it."""
    return [
        f"{variable} has port {port}, and no network policy opens it for pods with {label}=true"
        for variable, label, port in _needed(values)
        if port not in _opened(objects, label)
    ]


def _needed(values: Mapping[str, str]) -> Iterator[tuple[str, str, int]]:
    """Yield variable, label of the pods and port. What cannot be read is left to the check of the file."""
    try:
        found = database.read(values.get("PG_DSN", ""))
        if found.service is None:
            yield "PG_DSN", "needs-postgres", found.port
    except ClusterError:
        pass
    try:
        url = urlsplit(values.get("R2_ENDPOINT_URL", ""))
        port = url.port or {"https": 443, "http": 80}.get(url.scheme)
    except ValueError:
        return
    if port is not None and database.service_of(url.hostname or "") is None:
        yield "R2_ENDPOINT_URL", "needs-store", port


def _opened(objects: list[Object], label: str) -> set[int]:
    """Return the ports that policies open outwards for pods with the label."""
    policies = [one["spec"] for one in objects if one["kind"] == "NetworkPolicy"]
    rules = [
        rule
        for spec in policies
        if spec["podSelector"].get("matchLabels") == {label: "true"}
        for rule in spec.get("egress", ())
    ]
    return {port for rule in rules for one in rule.get("ports", ()) for port in _range(one)}


def _range(one: Object) -> range:
    first: int = one["port"]
    return range(first, one.get("endPort", first) + 1)


def _main() -> int:
    for line in closed(objects_of_stdin(), env_file.values()):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(run("routes", _main))
