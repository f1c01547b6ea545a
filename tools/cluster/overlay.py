"""A rendered overlay in two parts: for administrators of the cluster, and for people with rights in its namespaces.

Stdin is the output of `kubectl kustomize`. `foreign` finds what belongs to others and is in the way,
`taken` the namespaces of another environment of ours, and `disks` those of NATS that its new servers would not read.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator

import yaml

import environments
from cluster.errors import ClusterError, run
from cluster.kubernetes import ENVIRONMENT_LABEL, PART_OF, Object, items, kubectl

# Kinds that the ClusterRole `admin`, bound in a namespace, may not write.
ADMINISTRATOR_KINDS = frozenset(
    {
        *("Namespace", "ResourceQuota", "LimitRange", "Role", "RoleBinding", "PriorityClass"),
        *("ClusterRole", "ClusterRoleBinding", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"),
    }
)
_WORKLOADS = "statefulsets,deployments,daemonsets"
_SHOWN = 5


def objects_of_stdin() -> list[Object]:
    """Read the rendered objects."""
    return [one for one in yaml.safe_load_all(sys.stdin) if one]


def namespaces(objects: list[Object]) -> list[str]:
    """Return the names of the overlay's namespaces."""
    return sorted(one["metadata"]["name"] for one in objects if one["kind"] == "Namespace")


def select(objects: list[Object], part: str) -> list[Object]:
    """Return the objects of one part, `cluster` or `namespaces`."""
    return [one for one in objects if (one["kind"] in ADMINISTRATOR_KINDS) == (part == "cluster")]


def foreign(objects: list[Object]) -> Iterator[tuple[str, list[str]]]:
    """Yield each namespace with what is not ours: what we would overwrite, and the workloads where it is not ours."""
    theirs = [one for one in existing(objects) if not _is_ours(one)]
    for namespace in namespaces(objects):
        inside = [one for one in theirs if _namespace(one) == namespace]
        if any(one["kind"] == "Namespace" for one in inside):
            inside += items(_WORKLOADS, "--namespace", namespace)
        if inside:
            yield namespace, list(dict.fromkeys(f"{one['kind']} {one['metadata']['name']}" for one in inside))


def existing(objects: list[Object]) -> list[Object]:
    """Return those of the namespaces, and of the objects in them, that the cluster has."""
    wanted = _listed(_in_namespaces(objects))
    found = json.loads(kubectl("get", "--filename=-", "--ignore-not-found", "--output=json", given=wanted) or "{}")
    items_: list[Object] = found.get("items", [found] if found else [])
    return items_


def taken(objects: list[Object]) -> Iterator[tuple[str, str]]:
    """Yield each namespace that another environment of ours has, and its name."""
    for one in existing([one for one in objects if one["kind"] == "Namespace"]):
        environment = _labels(one).get(ENVIRONMENT_LABEL)
        if environment not in (None, environments.current().environment):
            yield one["metadata"]["name"], environment


def unread_disks(objects: list[Object]) -> list[str]:
    """Name the volumes of a single NATS server where the overlay has several, and the other way round.

    Servers of a cluster keep their streams apart from those of a single one, which they would delete.
    """
    for one in objects:
        if one["kind"] == "StatefulSet" and one["metadata"]["name"] == "nats":
            claims = items("persistentvolumeclaims", "--namespace", _namespace(one), "--selector=app=nats")
            if claims and (len(claims) > 1) != (one["spec"]["replicas"] > 1):
                return sorted(claim["metadata"]["name"] for claim in claims)
    return []


def _in_namespaces(objects: list[Object]) -> list[Object]:
    """Select the namespaces and what is in them. Not everybody may read what is in none."""
    return [one for one in objects if one["kind"] == "Namespace" or "namespace" in one["metadata"]]


def _namespace(one: Object) -> str:
    return str(one["metadata"]["name"] if one["kind"] == "Namespace" else one["metadata"].get("namespace"))


def _is_ours(one: Object) -> bool:
    return _labels(one).items() >= PART_OF.items()


def _labels(one: Object) -> dict[str, str]:
    labels: dict[str, str] = one["metadata"].get("labels", {})
    return labels


def _listed(objects: list[Object]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})


def _foreign_lines(objects: list[Object]) -> str:
    """Format a line for each namespace: its name, a blank, and the first objects in it."""
    return "".join(
        f"{namespace} {', '.join(names[:_SHOWN])}{' …' if len(names) > _SHOWN else ''}\n"
        for namespace, names in foreign(objects)
    )


def _taken_lines(objects: list[Object]) -> str:
    return "".join(f"{namespace} {environment}\n" for namespace, environment in taken(objects))


_COMMANDS: dict[str, Callable[[list[Object]], str]] = {
    "names": lambda objects: " ".join(namespaces(objects)),
    "foreign": _foreign_lines,
    "taken": _taken_lines,
    "disks": lambda objects: " ".join(unread_disks(objects)),
    "cluster": lambda objects: _listed(select(objects, "cluster")),
    "namespaces": lambda objects: _listed(select(objects, "namespaces")),
}


def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m cluster.overlay", description=__doc__)
    parser.add_argument("command", choices=_COMMANDS)
    command = parser.parse_args().command
    objects = objects_of_stdin()
    if not objects:
        raise ClusterError("stdin holds no object; pipe the output of `kubectl kustomize` into it")
    print(_COMMANDS[command](objects), end="")
    return 0


if __name__ == "__main__":
    sys.exit(run("overlay", _main))
