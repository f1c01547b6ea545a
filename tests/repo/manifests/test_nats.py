"""Manifests of NATS agree with its configuration."""

from __future__ import annotations

import re

from environments import DEFAULT, load
from stack.jobs import ROOT

from .jobs import EVENT_JOBS, SERVICES, quantity
from .rendered import Object, PodTemplate, Source, of_kind, pods

COMPONENTS = ROOT / "k8s/kustomize/components"
OBJECTS = Source(ROOT / "k8s/nats").objects
CLUSTER = Source(COMPONENTS / "nats-cluster").objects
CONFIGURATION = (ROOT / "k8s/nats/config/nats.conf").read_text()


def test_its_grace_period_is_longer_than_lame_duck() -> None:
    assert server().spec["terminationGracePeriodSeconds"] > float(configured("lame_duck_duration").removesuffix("s"))


def test_the_store_fits_on_its_volume() -> None:
    [claim] = server().owner["spec"]["volumeClaimTemplates"]
    volume = quantity(claim["spec"]["resources"]["requests"]["storage"])
    assert quantity(configured("max_file_store").removesuffix("B")) < volume


def test_gos_memory_limit_is_below_the_pods() -> None:
    [container] = server().containers
    [limit] = [one["value"] for one in container["env"] if one["name"] == "GOMEMLIMIT"]
    assert quantity(limit.removesuffix("B")) < quantity(container["resources"]["limits"]["memory"])


def test_jobs_and_keda_use_existing_services() -> None:
    [exporter] = [job for job in SERVICES if job.name == "exporter"]
    urls = [job.environment["NATS_URL"] for job in EVENT_JOBS]
    urls += [exporter.environment[name] for name in ("NATS_URL", "NATS_MONITORING_URL")]
    triggers = [trigger for job in EVENT_JOBS for trigger in job.triggers("ScaledObject")]
    monitored = [trigger["natsServerMonitoringEndpoint"] for trigger in triggers]
    ports = [(name_of(one), port["port"]) for one in of_kind(OBJECTS, "Service") for port in one["spec"]["ports"]]
    namespace = load(DEFAULT).nats_namespace
    for address in [*urls, *monitored]:
        found = re.fullmatch(rf"(?:\w+://)?([\w-]+)\.{namespace}\.svc\.cluster\.local:(\d+)", str(address))
        assert found, address
        assert (found[1], int(found[2])) in ports


def test_nats_admits_the_exporter() -> None:
    [policy] = [one for one in of_kind(OBJECTS, "NetworkPolicy") if name_of(one) == "nats"]
    [monitored] = [rule for rule in policy["spec"]["ingress"] if rule["ports"] == [{"port": 8222}]]
    assert {"app": "exporter"} in [one["podSelector"]["matchLabels"] for one in monitored["from"]]


def test_no_other_pod_takes_what_it_may_use() -> None:
    """Check for the class Guaranteed: memory that is only a limit is the first to be taken back by a full node."""
    [container] = server().containers
    assert container["resources"]["requests"] == container["resources"]["limits"]


def test_three_servers_are_spread_over_nodes_and_zones_or_not_started() -> None:
    pod = server(CLUSTER)
    [alone] = pod.spec["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    [spread] = pod.spec["topologySpreadConstraints"]
    assert (alone["topologyKey"], spread["topologyKey"]) == ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
    assert (spread["maxSkew"], spread["whenUnsatisfiable"]) == (1, "DoNotSchedule")
    assert (
        spread["labelSelector"]
        == alone["labelSelector"]
        == {"matchLabels": pod.owner["spec"]["selector"]["matchLabels"]}
    )


def test_a_class_of_priority_is_made_with_the_pod_that_has_it() -> None:
    objects = Source(COMPONENTS / "nats-priority").objects
    [made] = of_kind(objects, "PriorityClass")
    assert server(objects).spec["priorityClassName"] == name_of(made)
    assert "priorityClassName" not in server().spec


def server(objects: list[Object] = OBJECTS) -> PodTemplate:
    """Find the pod of NATS."""
    [pod] = [pod for pod in pods(objects) if pod.labels["app"] == "nats"]
    return pod


def configured(name: str) -> str:
    """Return the value of a line of nats.conf."""
    found = re.search(rf"^\s*{name}: (\S+)", CONFIGURATION, re.MULTILINE)
    assert found, name
    return found[1]


def name_of(thing: Object) -> str:
    return str(thing["metadata"]["name"])
