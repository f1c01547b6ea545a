"""Secrets of a setup: those that it made are applied, those that somebody else made are left alone.

Somebody else is External Secrets, Sealed Secrets, SOPS with Flux or Argo CD, or a person. What a setup made has a
label, which nobody else sets.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from cluster.kubernetes import Object, kubectl

MADE_BY_SETUP = {"keda-jobs/made-by": "setup"}
"""Label of each Secret that a setup may change."""

Place = tuple[str, str]


def apply_secrets(secrets: Iterable[Object]) -> list[str]:
    """Apply those Secrets that a setup made or that are missing. Return what was done, line by line, without values.

    Raises `ClusterError`.
    """
    wanted = {place_of(one): one for one in secrets}
    theirs = {place for place, one in present(wanted.values()).items() if not is_ours(one)}
    ours = [_labelled(one) for place, one in wanted.items() if place not in theirs]
    if ours:
        kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", given=_listed(ours))
    return [
        ", ".join(one["metadata"]["name"] for one in ours) or "none",
        *(
            f"left alone, because setup did not make it: {name} in {namespace} ({hand_over(namespace, name)})"
            for namespace, name in sorted(theirs)
        ),
    ]


def hand_over(namespace: str, name: str) -> str:
    """Say how to let a setup change a Secret from now on."""
    [(key, value)] = MADE_BY_SETUP.items()
    return f"to hand it over: kubectl label secret {name} -n {namespace} {key}={value}"


def present(secrets: Iterable[Object]) -> dict[Place, Object]:
    """Read those of these Secrets that exist, by namespace and name. Raises `ClusterError`."""
    wanted = list(secrets)
    if not wanted:
        return {}
    answer = kubectl("get", "--filename=-", "--ignore-not-found", "--output=json", given=_listed(wanted))
    found = json.loads(answer or "{}")
    items = found.get("items", [found] if found else [])
    return {place_of(one): one for one in items}


def is_ours(secret: Object) -> bool:
    """Return whether a setup made the Secret."""
    labels: dict[str, str] = secret["metadata"].get("labels", {})
    return labels.items() >= MADE_BY_SETUP.items()


def place_of(secret: Object) -> Place:
    """Return namespace and name."""
    return secret["metadata"]["namespace"], secret["metadata"]["name"]


def _listed(objects: Iterable[Object]) -> str:
    """Format objects as one input of kubectl."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})


def _labelled(secret: Object) -> Object:
    metadata = secret["metadata"]
    return {**secret, "metadata": {**metadata, "labels": {**metadata.get("labels", {}), **MADE_BY_SETUP}}}
