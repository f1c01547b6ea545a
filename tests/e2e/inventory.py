"""Inventory of the cluster: every object of this platform or of KEDA, of any kind that the API server knows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

from .cluster import JOBS, NATS, TEST, Object, kubectl

NAMESPACES = {NATS, "keda", JOBS, TEST}

# Written all the time, written only by controllers, and measurements, which are no objects.
_VOLATILE = ("endpoints", "endpointslices.discovery.k8s.io", "events", "events.events.k8s.io")
_OTHER = ("componentstatuses", "leases.coordination.k8s.io")
_MEASURED = "metrics.k8s.io"


def inventory() -> dict[str, Object]:
    """Return what is ours or KEDA's by namespace, label or name. The keys are kind, namespace and name."""
    return {_place(thing): thing for thing in _everything() if _is_ours(thing)}


def fingerprints() -> dict[str, str]:
    """Return for each object a value that changes with the object and not with its status."""
    return {place: _fingerprint(thing) for place, thing in inventory().items()}


def differences(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Return a line for each object that was created, removed or changed."""
    created = [f"created: {place}" for place in after.keys() - before.keys()]
    removed = [f"removed: {place}" for place in before.keys() - after.keys()]
    changed = [f"changed: {place}" for place in before.keys() & after.keys() if before[place] != after[place]]
    return sorted(created + removed + changed)


def _everything() -> Iterator[Object]:
    known = kubectl("api-resources", "--verbs=get,list", "--output=name").split()
    kinds = [kind for kind in known if kind not in (*_VOLATILE, *_OTHER) and not kind.endswith(_MEASURED)]
    yield from json.loads(kubectl("get", ",".join(kinds), "--all-namespaces", "--output=json"))["items"]


def _is_ours(thing: Object) -> bool:
    metadata = thing["metadata"]
    if thing["kind"] == "PersistentVolume":
        return bool(
            thing["spec"].get("claimRef", {}).get("namespace") in NAMESPACES and thing["status"]["phase"] == "Bound"
        )
    return (
        metadata.get("namespace") in NAMESPACES
        or (thing["kind"] == "Namespace" and metadata["name"] in NAMESPACES)
        or metadata.get("labels", {}).get("app.kubernetes.io/part-of") in ("keda-jobs", "keda-operator")
        or "keda" in metadata["name"]
    )


def _place(thing: Object) -> str:
    metadata = thing["metadata"]
    return f"{thing['apiVersion']} {thing['kind']} {metadata.get('namespace', '-')}/{metadata['name']}"


def _fingerprint(thing: Object) -> str:
    """Return the resourceVersion, or a hash where there is a status, because controllers write that."""
    if "status" not in thing:
        return f"{thing['metadata']['uid']} {thing['metadata']['resourceVersion']}"
    metadata = {
        key: value for key, value in thing["metadata"].items() if key not in ("managedFields", "resourceVersion")
    }
    said = {key: value for key, value in thing.items() if key != "status"} | {"metadata": metadata}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
