"""Network policies open the ways they allow and close all others. Jobs and NATS also refuse by themselves."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from .cluster import NATS, TEST, CommandFailed, Object, in_cluster, kubectl, publish, until
from .probes import HERE, Probe, job_pod, started, stranger

PUBLISHERS, MONITORING = "keda-jobs-e2e-publishers", "monitoring"
DOWNLOAD, RESIZE, USERS = "probe-image-download", "probe-image-resize", "probe-users-batch"
EXPORTER = "probe-exporter"
KEDA, PROMETHEUS, PUBLISHER, STRANGER = "probe-keda", "probe-prometheus", "probe-publisher", "probe-stranger"

# Who may reach what. Each place is in both lists: it is reachable, so only the policy can refuse.
OPEN = {
    DOWNLOAD: ["NATS", "store", "pictures"],
    RESIZE: ["NATS", "store"],
    USERS: ["PostgreSQL"],
    EXPORTER: ["NATS", "monitoring of NATS", "PostgreSQL"],
    KEDA: ["monitoring of NATS", "PostgreSQL"],
    PROMETHEUS: ["monitoring of NATS", "a job"],
    PUBLISHER: ["NATS", "outside"],
    STRANGER: ["outside"],
}
CLOSED = {
    DOWNLOAD: ["outside", "monitoring of NATS", "PostgreSQL", "a job"],
    RESIZE: ["outside", "pictures", "monitoring of NATS", "PostgreSQL"],
    USERS: ["outside", "pictures", "NATS", "monitoring of NATS", "store"],
    EXPORTER: ["outside", "pictures", "store", "a job"],
    KEDA: ["NATS", "store", "a job"],
    PROMETHEUS: ["NATS", "PostgreSQL", "store"],
    PUBLISHER: ["monitoring of NATS", "PostgreSQL", "store", "a job"],
    STRANGER: ["NATS", "monitoring of NATS", "PostgreSQL", "store", "a job"],
}
SERVICES = {
    "NATS": f"nats.{NATS}.svc.cluster.local:4222",
    "monitoring of NATS": f"nats-headless.{NATS}.svc.cluster.local:8222",
    "PostgreSQL": f"postgres.{TEST}.svc.cluster.local:5432",
    "store": f"s3.{TEST}.svc.cluster.local:9000",
    "pictures": f"pictures.{TEST}.svc.cluster.local:80",
}

# Requests a message from consumers like the job itself, and prints which of them answered and what was refused.
ASK = """
import asyncio, json, os, pathlib, ssl, sys
import nats

async def main():
    refused, answered = [], []
    async def on_error(error):
        refused.append(str(error))
    folder = pathlib.Path(os.environ["SECRETS_DIR"])
    user, password = (folder.joinpath(name).read_text() for name in ("NATS_USER", "NATS_PASSWORD"))
    inbox = f"_INBOX_{user}".encode()
    ca = os.environ.get("NATS_TLS_CA")
    tls = ssl.create_default_context(cafile=ca) if ca else None
    client = await nats.connect(
        os.environ["NATS_URL"], user=user, password=password, tls=tls, inbox_prefix=inbox, error_cb=on_error
    )
    for consumer in sys.argv[1:]:
        subject = f"$JS.API.CONSUMER.MSG.NEXT.keda-jobs-events.{consumer}"
        try:
            await client.request(subject, b'{"batch": 1, "no_wait": true}', timeout=10)
            answered.append(consumer)
        except nats.errors.TimeoutError:
            pass
    await client.close()
    print(json.dumps({"answered": answered, "refused": refused}))

asyncio.run(main())
"""

Ways = Mapping[tuple[str, str], bool]


@dataclass(frozen=True, slots=True)
class Attempt:
    """Which ways were open, and the paths that were requested from the pod outside."""

    ways: Ways
    outside: list[str]


@pytest.fixture(scope="module")
def namespaces(deployed: None) -> Iterator[None]:
    """Create namespaces of strangers, and the one of Prometheus."""
    existing = kubectl("get", "namespaces", "-o", "name").split()
    new = [namespace(HERE), namespace(PUBLISHERS, {"keda-jobs/publisher": "true"})]
    if f"namespace/{MONITORING}" not in existing:
        new.append(namespace(MONITORING))
    given = json.dumps({"apiVersion": "v1", "kind": "List", "items": new})
    kubectl("apply", "-f", "-", given=given)
    yield
    kubectl("delete", "-f", "-", given=given)


@pytest.fixture(scope="module")
def enforced(namespaces: None) -> None:
    """Skip where the cluster enforces no policies. It shows with a policy of the test's own."""
    policy = {"podSelector": {"matchLabels": {"app": "shut"}}, "policyTypes": ["Ingress"]}
    kind = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"}
    metadata = {"name": "shut", "namespace": HERE}
    kubectl("apply", "-f", "-", given=json.dumps(kind | {"metadata": metadata, "spec": policy}))
    with started([stranger("shut", labels={"app": "shut"}), stranger("stranger")]) as probes:
        target = f"{probes['probe-shut'].address}:80"
        if not takes_effect(lambda: not probes[STRANGER].reaches([target])[0]):
            pytest.skip("the network plugin of this cluster enforces no NetworkPolicies")


@pytest.fixture(scope="module")
def attempt(enforced: None) -> Attempt:
    """Let everybody try their ways until the policies have taken effect on the new pods, and keep the last attempt."""
    attempts: list[Attempt] = []

    def is_as_declared() -> bool:
        attempts.append(try_all(probes, targets))
        return all(is_open == (where in OPEN[who]) for (who, where), is_open in attempts[-1].ways.items())

    with started(everybody()) as probes:
        targets = addresses(probes)
        takes_effect(is_as_declared)
    return attempts[-1]


def test_every_place_is_open_to_somebody_and_closed_to_somebody() -> None:
    assert {place for places in OPEN.values() for place in places} == {*SERVICES, "outside", "a job"}
    assert {place for places in CLOSED.values() for place in places} == {*SERVICES, "outside", "a job"}


@pytest.mark.parametrize(("who", "where"), [(who, where) for who, places in OPEN.items() for where in places])
def test_allowed_way_is_open(attempt: Attempt, who: str, where: str) -> None:
    assert attempt.ways[who, where]


@pytest.mark.parametrize(("who", "where"), [(who, where) for who, places in CLOSED.items() for where in places])
def test_forbidden_way_is_closed(attempt: Attempt, who: str, where: str) -> None:
    assert not attempt.ways[who, where]


def test_nothing_from_the_jobs_arrived_outside(attempt: Attempt) -> None:
    assert attempt.outside == [f"/from/{PUBLISHER}", f"/from/{STRANGER}"]


def test_job_refuses_a_private_address_by_itself(at_rest: None, namespaces: None, tmp_path: Path) -> None:
    with started([stranger("canary")]) as probes:
        path = f"/{time.time_ns()}.png"
        url = f"http://{probes['probe-canary'].address}{path}"
        publish("image-download", [{"url": url}], tmp_path)
        until(f"{url} is a dead letter", lambda: url in dead_letters(), every_s=3)
        assert path not in requests(probes["probe-canary"])
    assert dead_letters()[url] == "ForbiddenAddress"


def test_login_of_a_job_opens_its_own_consumer_and_no_other(namespaces: None) -> None:
    with started([job_pod("image-resize")]) as probes:
        probe = probes[RESIZE]
        until("the pod reaches NATS", lambda: probe.reaches([SERVICES["NATS"]])[0])
        found = json.loads(probe.python(ASK, "image-resize-consumer", "image-download-consumer"))
    assert found["answered"] == ["image-resize-consumer"]
    [refusal] = found["refused"]
    assert "permissions violation" in refusal.lower()
    assert "image-download-consumer" in refusal


def namespace(name: str, labels: Mapping[str, str] = {}) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {**labels}}}


def everybody() -> list[Object]:
    """Build the pods of all who try, and the pod outside that counts requests."""
    return [
        *map(job_pod, ("image-download", "image-resize", "users-batch", "exporter")),
        stranger("keda", "keda", {"app": "keda-operator"}),
        stranger("prometheus", MONITORING, {"app.kubernetes.io/name": "prometheus"}),
        stranger("publisher", PUBLISHERS),
        stranger("stranger"),
        stranger("canary"),
    ]


def addresses(probes: Mapping[str, Probe]) -> dict[str, str]:
    """Return the address of each place. A job is a pod that listens on the port of its metrics."""
    return SERVICES | {"outside": f"{probes['probe-canary'].address}:80", "a job": f"{probes[RESIZE].address}:8080"}


def try_all(probes: Mapping[str, Probe], targets: Mapping[str, str]) -> Attempt:
    """Let everybody try all places that they may or may not reach."""

    def ways_of(who: str) -> Ways:
        places = [*OPEN[who], *CLOSED[who]]
        reached = probes[who].reaches([targets[place] for place in places])
        return {(who, place): is_open for place, is_open in zip(places, reached, strict=True)}

    before = requests(probes["probe-canary"])
    with ThreadPoolExecutor(len(OPEN)) as pool:
        ways = {way: is_open for each in pool.map(ways_of, OPEN) for way, is_open in each.items()}
    after = requests(probes["probe-canary"])
    return Attempt(ways, sorted(path for path in after if after[path] != before.get(path)))


def takes_effect(condition: Callable[[], bool]) -> bool:
    """Return whether it holds within two minutes: a policy takes effect some time after a pod has started."""
    try:
        until("the policies take effect", condition, 120)
    except CommandFailed:
        raise
    except AssertionError:
        return False
    return True


def requests(canary: Probe) -> dict[str, int]:
    """Return how often each path was requested from the pod."""
    script = "import urllib.request as r; print(r.urlopen('http://127.0.0.1/requests').read().decode())"
    counts: dict[str, int] = json.loads(canary.python(script))
    return counts


def dead_letters() -> dict[str, str]:
    """Return the error class of each dead letter of image-download by URL."""
    output = in_cluster(
        "keda-jobs", "dlq", "ls", "--job", "image-download", "--newer-than", "1h", "--limit", "0", "--json"
    )
    return {one["data"]["url"]: one["error_class"] for one in json.loads(output) if "url" in one["data"]}
