"""Certificates of an environment's servers, from an authority of its own: for tests, and where nothing else makes them.

The manifests say which: a pod with a volume `tls` has its certificate in that Secret, for the names of its Services.
The key of the authority stays in a folder of this machine. The cluster gets the servers' keys, in their Secrets, and
the certificate of the authority, in the ConfigMaps `ca`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import environments
from cluster.connect import AUTHORITIES, TRUST
from cluster.env_file import shown
from cluster.errors import ClusterError, run
from cluster.kubernetes import PART_OF, Object, decoded, encoded, kubectl
from cluster.overlay import objects_of_stdin
from cluster.owned import apply_secrets, is_ours, present
from environments import ROOT
from stack.certificates import Authority, expires_within, is_for

_VOLUME = "tls"
_DAYS = 365
_RENEWED_BEFORE_DAYS = 60
_LOCAL = ("DNS:localhost", "IP:127.0.0.1")  # ends of port-forwards
_FILE = "ca.crt"
_KINDS = ("StatefulSet", "Deployment")


@dataclass(frozen=True, slots=True)
class Server:
    """Server with a certificate: namespace and name of its Secret, and the hosts by which it is called."""

    namespace: str
    secret: str
    hosts: tuple[str, ...]

    def manifest(self, data: dict[str, str]) -> Object:
        """Build its Secret, as cert-manager does."""
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": self.secret, "namespace": self.namespace, "labels": dict(PART_OF)},
            "type": "kubernetes.io/tls",
            "data": {key: encoded(value) for key, value in data.items()},
        }


def servers(objects: list[Object]) -> list[Server]:
    """List the servers that have a certificate, from the rendered overlay."""
    services = [one for one in objects if one["kind"] == "Service"]
    return [
        Server(one["metadata"]["namespace"], secret, (*_hosts(one, services), *_LOCAL))
        for one in objects
        if one["kind"] in _KINDS and (secret := _secret_of(one))
    ]


def _secret_of(workload: Object) -> str | None:
    volumes = workload["spec"]["template"]["spec"].get("volumes", ())
    return next((one["secret"]["secretName"] for one in volumes if one["name"] == _VOLUME), None)


def _hosts(workload: Object, services: list[Object]) -> Iterator[str]:
    """Yield the names of its Services in every length, and for the pods of a StatefulSet those below them."""
    place, labels = workload["metadata"]["namespace"], workload["spec"]["template"]["metadata"]["labels"]
    for one in services:
        name = one["metadata"]["name"]
        if one["metadata"]["namespace"] == place and one["spec"]["selector"].items() <= labels.items():
            for prefix in ("", "*.") if name == workload["spec"].get("serviceName") else ("",):
                for suffix in ("", f".{place}", f".{place}.svc", f".{place}.svc.cluster.local"):
                    yield f"DNS:{prefix}{name}{suffix}"


def folder() -> Path:
    """Return the folder of the environment's authority."""
    return ROOT / "k8s/.certificates" / environments.current().environment


def missing(wanted: list[Server]) -> list[str]:
    """List what the cluster lacks for the servers, line by line. Raises `ClusterError`."""
    found = {place[1] for place in present(one.manifest({}) for one in wanted)}
    return [f"Secret {one.secret} in {one.namespace}" for one in wanted if one.secret not in found]


def make(wanted: list[Server], trusting: list[str]) -> Iterator[str]:
    """Make certificates that are missing, end soon or have other hosts. Yield what was done, line by line.

    `trusting` are the namespaces with a ConfigMap `ca`. Where it lacks the authority, and servers have certificates of
    another one, their clients have to know it first. Raises `ClusterError`.
    """
    authority = Authority(folder())
    there = present(one.manifest({}) for one in wanted)
    if _add_authority(authority.ca.read_text(), trusting):
        yield f"ConfigMap {AUTHORITIES} in {', '.join(trusting)}: has the authority of {shown(authority.ca)}"
        if any(is_ours(one) for one in there.values()):
            yield "servers still have certificates of another authority. Restart the jobs, and run this again"
            return
    with tempfile.TemporaryDirectory() as scratch:
        due = {one: _issued(authority, one, Path(scratch)) for one in wanted if _is_due(authority, one, there)}
    for line in apply_secrets(server.manifest(data) for server, data in due.items()) if due else ["up to date"]:
        yield f"certificates: {line}"


def _is_due(authority: Authority, server: Server, there: dict[tuple[str, str], Object]) -> bool:
    found = there.get((server.namespace, server.secret))
    if found is None:
        return True
    certificate = decoded(found).get("tls.crt", "")
    return is_ours(found) and not (
        authority.has_issued(certificate)
        and is_for(certificate, server.hosts)
        and not expires_within(certificate, _RENEWED_BEFORE_DAYS)
    )


def _issued(authority: Authority, server: Server, scratch: Path) -> dict[str, str]:
    made = authority.issue(server.secret, *server.hosts, days=_DAYS, folder=scratch)
    ca = authority.ca.read_text()
    return {"tls.crt": made.certificate.read_text(), "tls.key": made.key.read_text(), _FILE: ca}


def _add_authority(ca: str, namespaces: Iterable[str]) -> bool:
    """Add `ca` to the ConfigMap of each namespace. Return whether one lacked it."""
    lacked = False
    for namespace in namespaces:
        place = ("configmap", AUTHORITIES, f"--namespace={namespace}", "--ignore-not-found", "--output=json")
        text = json.loads(kubectl("get", *place) or "{}").get("data", {}).get(_FILE, "")
        if ca not in text:
            lacked = True
            metadata = {"name": AUTHORITIES, "namespace": namespace, "labels": dict(PART_OF)}
            bundle = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {_FILE: text + ca}}
            kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", given=json.dumps(bundle))
    return lacked


def _namespaces(objects: list[Object]) -> list[Object]:
    return [one for one in objects if one["kind"] == "Namespace"]


def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m cluster.certificates", description=__doc__)
    parser.add_argument("command", choices=("check", "make"))
    command = parser.parse_args().command
    objects = objects_of_stdin()
    wanted = servers(objects)
    if command == "check":
        print("".join(f"{line}\n" for line in missing(wanted)), end="")
        return 0
    if not wanted:
        raise ClusterError("no server of this environment has TLS; docs/tls.md says how to switch it on")
    trusting = [one["metadata"]["namespace"] for one in objects if _is_trust(one)]
    listed = {"apiVersion": "v1", "kind": "List", "items": _namespaces(objects)}
    kubectl("apply", "--server-side", "--filename=-", given=json.dumps(listed))
    for line in make(wanted, trusting):
        print(f"certificates: {line}", flush=True)
    return 0


def _is_trust(one: Object) -> bool:
    return bool(one["kind"] == "ConfigMap" and one["metadata"]["name"] == TRUST)


if __name__ == "__main__":
    sys.exit(run("certificates", _main))
