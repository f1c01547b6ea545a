"""What the network policies forbid does not come about, what they allow does; jobs and NATS refuse by themselves."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from .cluster import NATS, TEST, CommandFailed, Object, in_cluster, kubectl, publish, until
from .probes import HERE, Probe, job_pod, started, stranger

pytestmark = pytest.mark.timeout(600)

PUBLISHERS, MONITORING = "keda-jobs-e2e-publishers", "monitoring"
DOWNLOAD, RESIZE, USERS = "probe-image-download", "probe-image-resize", "probe-users-batch"
EXPORTER = "probe-exporter"
KEDA, PROMETHEUS, PUBLISHER, STRANGER = "probe-keda", "probe-prometheus", "probe-publisher", "probe-stranger"

# Who may reach what. Each place is in both lists: that somebody gets there shows that it is the policy which refuses.
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
SHUT = {
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

# Asks consumers for a message as the job itself would, and tells which of them answered and what was refused.
ASK = """
import asyncio, json, os, sys
import nats

async def main():
    refused, answered = [], []
    async def on_error(error):
        refused.append(str(error))
    user, password = os.environ["NATS_USER"], os.environ["NATS_PASSWORD"]
    inbox = f"_INBOX_{user}".encode()
    client = await nats.connect(
        os.environ["NATS_URL"], user=user, password=password, inbox_prefix=inbox, error_cb=on_error
    )
    for consumer in sys.argv[1:]:
        subject = f"$JS.API.CONSUMER.MSG.NEXT.keda-jobs-events.{consumer}"
        try:
            await client.request(subject, b'{"batch": 1, "no_wait": true}', timeout=3)
            answered.append(consumer)
        except nats.errors.TimeoutError:
            pass
    await client.close()
    print(json.dumps({"answered": answered, "refused": refused}))

asyncio.run(main())
"""

Ways = Mapping[tuple[str, str], bool]


@pytest.fixture(scope="module")
def namespaces(deployed: None) -> Iterator[None]:
    """Namespaces of strangers, with the one in which Prometheus is looked for."""
    there = kubectl("get", "namespaces", "-o", "name").split()
    made = [namespace(HERE), namespace(PUBLISHERS, {"keda-jobs/publisher": "true"})]
    if f"namespace/{MONITORING}" not in there:
        made.append(namespace(MONITORING))
    given = json.dumps({"apiVersion": "v1", "kind": "List", "items": made})
    kubectl("apply", "-f", "-", given=given)
    yield
    kubectl("delete", "-f", "-", given=given)


@pytest.fixture(scope="module")
def enforced(namespaces: None) -> None:
    """Skips where the cluster stores policies and enforces none; ours have no part in finding that out."""
    policy = {"podSelector": {"matchLabels": {"app": "shut"}}, "policyTypes": ["Ingress"]}
    kind = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"}
    metadata = {"name": "shut", "namespace": HERE}
    kubectl("apply", "-f", "-", given=json.dumps(kind | {"metadata": metadata, "spec": policy}))
    with started([stranger("shut", labels={"app": "shut"}), stranger("stranger")]) as probes:
        target = f"{probes['probe-shut'].address}:80"
        if not comes_to_be(lambda: not probes[STRANGER].reaches([target])[0]):
            pytest.skip("this cluster enforces no NetworkPolicies: its network plugin has no part that does")


@pytest.fixture(scope="module")
def ways(enforced: None, canary_heard: list[str]) -> Ways:
    """Who reached what, once all policies have taken effect on the new pods."""
    with started(everybody()) as probes:
        targets = addresses(probes)
        comes_to_be(lambda: as_wanted(tried(probes, targets)))
        before = requests(probes["probe-canary"])
        found = tried(probes, targets)
        after = requests(probes["probe-canary"])
    canary_heard.extend(path for path in after if after[path] != before.get(path))
    return found


@pytest.fixture(scope="module")
def canary_heard() -> list[str]:
    """The paths that the pod outside was asked for while `ways` were tried."""
    return []


def test_every_place_is_open_to_somebody_and_shut_to_somebody() -> None:
    assert {place for places in OPEN.values() for place in places} == {*SERVICES, "outside", "a job"}
    assert {place for places in SHUT.values() for place in places} == {*SERVICES, "outside", "a job"}


@pytest.mark.parametrize(("who", "where"), [(who, where) for who, places in OPEN.items() for where in places])
def test_an_allowed_way_is_open(ways: Ways, who: str, where: str) -> None:
    assert ways[who, where]


@pytest.mark.parametrize(("who", "where"), [(who, where) for who, places in SHUT.items() for where in places])
def test_a_forbidden_way_is_shut(ways: Ways, who: str, where: str) -> None:
    assert not ways[who, where]


def test_nothing_of_the_jobs_arrived_outside(ways: Ways, canary_heard: list[str]) -> None:
    assert sorted(canary_heard) == [f"/from/{PUBLISHER}", f"/from/{STRANGER}"]


def test_a_job_refuses_a_private_address_by_itself(at_rest: None, namespaces: None, tmp_path: Path) -> None:
    with started([stranger("canary")]) as probes:
        path = f"/{time.time_ns()}.png"
        url = f"http://{probes['probe-canary'].address}{path}"
        publish("image-download", [{"url": url}], tmp_path)
        until(f"{url} is a dead letter", lambda: url in dead_letters(), 180, every_s=3)
        assert path not in requests(probes["probe-canary"])
    assert dead_letters()[url] == "ForbiddenAddress"


def test_a_jobs_login_opens_its_own_consumer_and_no_other(namespaces: None) -> None:
    with started([job_pod("image-resize")]) as probes:
        probe = probes[RESIZE]
        until("the pod reaches NATS", lambda: probe.reaches([SERVICES["NATS"]])[0], 60)
        told = json.loads(probe.python(ASK, "image-resize-consumer", "image-download-consumer"))
    assert told["answered"] == ["image-resize-consumer"]
    [refusal] = told["refused"]
    assert "permissions violation" in refusal.lower()
    assert "image-download-consumer" in refusal


def namespace(name: str, labels: Mapping[str, str] = {}) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {**labels}}}


def everybody() -> list[Object]:
    """All who try, and the pod outside that counts them."""
    return [
        *map(job_pod, ("image-download", "image-resize", "users-batch", "exporter")),
        stranger("keda", "keda", {"app": "keda-operator"}),
        stranger("prometheus", MONITORING, {"app.kubernetes.io/name": "prometheus"}),
        stranger("publisher", PUBLISHERS),
        stranger("stranger"),
        stranger("canary"),
    ]


def addresses(probes: Mapping[str, Probe]) -> dict[str, str]:
    """Where each place is. A job is one that listens, on the port of its metrics."""
    return SERVICES | {"outside": f"{probes['probe-canary'].address}:80", "a job": f"{probes[RESIZE].address}:8080"}


def tried(probes: Mapping[str, Probe], targets: Mapping[str, str]) -> Ways:
    """Everybody tries all that they may or may not reach."""

    def one(who: str) -> Ways:
        places = [*OPEN[who], *SHUT[who]]
        reached = probes[who].reaches([targets[place] for place in places])
        return {(who, place): came for place, came in zip(places, reached, strict=True)}

    with ThreadPoolExecutor(len(OPEN)) as pool:
        return {way: came for each in pool.map(one, OPEN) for way, came in each.items()}


def as_wanted(ways: Ways) -> bool:
    return all(came == (where in OPEN[who]) for (who, where), came in ways.items())


def comes_to_be(condition: Callable[[], bool]) -> bool:
    """Whether it holds within half a minute: a policy takes effect some time after a pod has begun."""
    try:
        until("the policies take effect", condition, 30)
    except CommandFailed:
        raise
    except AssertionError:
        return False
    return True


def requests(canary: Probe) -> dict[str, int]:
    """How often each path was asked of it."""
    script = "import urllib.request as r; print(r.urlopen('http://127.0.0.1/requests').read().decode())"
    counts: dict[str, int] = json.loads(canary.python(script))
    return counts


def dead_letters() -> dict[str, str]:
    """The error class of each dead letter of a download that was refused, by URL."""
    told = in_cluster(
        "keda-jobs", "dlq", "ls", "--job", "image-download", "--newer-than", "1h", "--limit", "0", "--json"
    )
    return {letter["data"]["url"]: letter["error_class"] for letter in json.loads(told) if "url" in letter["data"]}
