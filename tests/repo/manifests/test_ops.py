"""Pod of the ops image: it acts as people on call do and has no right of its own. Only they run commands in it."""

from __future__ import annotations

import pytest
import yaml

from .rendered import BASE, SOURCES, Object, Source, of_kind, pods

OF_OPS = [source for source in SOURCES if source.path.name == "ops"]
EACH = pytest.mark.parametrize("source", OF_OPS, ids=lambda source: source.name)
GROUP = "keda-jobs-operators"


def rules(roles: list[Object]) -> list[tuple[list[str], list[str], list[str]]]:
    return [(rule["resources"], rule["resourceNames"], rule["verbs"]) for role in roles for rule in role["rules"]]


def test_every_environment_can_have_it() -> None:
    overlays = {source.path.parent for source in SOURCES if source.path.name == "environment"}
    assert {source.path.parent for source in OF_OPS} >= {path for path in overlays if path.parent.name == "overlays"}


@EACH
def test_it_may_act_as_people_on_call_and_do_nothing_else(source: Source) -> None:
    [pod] = pods(source.objects)
    namespace = pod.owner["metadata"]["namespace"]
    assert source.neutral_names[namespace] == "nats"
    assert rules(of_kind(source.objects, "ClusterRole")) == [
        (["groups"], [GROUP], ["impersonate"]),
        (["users"], ["keda-jobs-ops"], ["impersonate"]),
    ]
    [binding] = of_kind(source.objects, "ClusterRoleBinding")
    account = {"kind": "ServiceAccount", "name": pod.spec["serviceAccountName"], "namespace": namespace}
    assert binding["subjects"] == [account]
    [config] = of_kind(source.objects, "ConfigMap")
    [user] = yaml.safe_load(config["data"]["kubeconfig"])["users"]
    assert (user["user"]["as"], user["user"]["as-groups"]) == ("keda-jobs-ops", [GROUP])


@EACH
def test_people_on_call_run_commands_in_it_and_in_no_other_pod(source: Source) -> None:
    [pod] = pods(source.objects)
    name = f"{pod.owner['metadata']['name']}-0"
    assert rules(of_kind(source.objects, "Role")) == [(["pods/exec", "pods/portforward"], [name], ["get", "create"])]
    [binding] = of_kind(source.objects, "RoleBinding")
    assert [one["name"] for one in binding["subjects"]] == [GROUP]
    of_platform = [rule for role in of_kind(Source(BASE).objects, "Role") for rule in role["rules"]]
    assert [rule for rule in of_platform if "pods/exec" in rule["resources"]] == []


@EACH
def test_it_is_told_its_environment(source: Source) -> None:
    if source.environment is None:
        return
    [pod] = pods(source.objects)
    told = {one["name"]: one.get("value") for one in pod.containers[0]["env"]}
    assert (told["ENVIRONMENT"], told["JOBS_NAMESPACE"]) == (
        source.environment.environment,
        source.environment.jobs_namespace,
    )
    assert told["NATS_URL"] == source.environment.nats_url
