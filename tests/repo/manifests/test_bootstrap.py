"""Rights of the bootstrap: what it makes, in the namespaces of its environment, and nothing else."""

from __future__ import annotations

import pytest

from .rendered import SOURCES, Object, Source, of_kind, shown

OF_BOOTSTRAP = [source for source in SOURCES if source.path.name == "bootstrap"]
EACH = pytest.mark.parametrize("source", OF_BOOTSTRAP, ids=lambda source: source.name)

SECRETS = ({"": {"secrets"}}, {"get", "list", "create", "patch"}, None)
RIGHTS = {
    "nats": [SECRETS, ({"apps": {"statefulsets"}}, {"get"}, ["nats"])],
    "jobs": [
        SECRETS,
        ({"": {"configmaps"}}, {"get", "patch"}, ["keda-jobs-setup"]),
        ({"": {"configmaps"}}, {"create"}, None),
    ],
}


def rights(role: Object) -> list[tuple[dict[str, set[str]], set[str], list[str] | None]]:
    return [
        ({group: set(rule["resources"]) for group in rule["apiGroups"]}, set(rule["verbs"]), rule.get("resourceNames"))
        for rule in role["rules"]
    ]


@EACH
def test_it_may_do_what_it_does_and_nothing_else(source: Source) -> None:
    neutral = source.neutral_names
    found = {neutral[role["metadata"]["namespace"]]: rights(role) for role in of_kind(source.objects, "Role")}
    assert found == RIGHTS
    assert not [
        shown(thing) for kind in ("ClusterRole", "ClusterRoleBinding") for thing in of_kind(source.objects, kind)
    ]


@EACH
def test_the_rights_are_its_own_and_out_of_the_deployers_reach(source: Source) -> None:
    [job] = of_kind(source.objects, "Job")
    [account] = of_kind(source.objects, "ServiceAccount")
    own = {"kind": "ServiceAccount", "name": "bootstrap", "namespace": account["metadata"]["namespace"]}
    assert [binding["subjects"] for binding in of_kind(source.objects, "RoleBinding")] == [[own], [own]]
    assert source.neutral_names[job["metadata"]["namespace"]] == source.neutral_names[own["namespace"]] == "nats"
    assert job["spec"]["template"]["spec"]["serviceAccountName"] == "bootstrap"


@EACH
def test_it_is_told_its_environment(source: Source) -> None:
    environment = source.environment
    if environment is None:
        return
    [job] = of_kind(source.objects, "Job")
    [container] = job["spec"]["template"]["spec"]["containers"]
    told = {one["name"]: one.get("value") for one in container["env"]}
    assert told == {
        "ENVIRONMENT": environment.environment,
        "JOBS_NAMESPACE": environment.jobs_namespace,
        "NATS_NAMESPACE": None,  # its own
        "NATS_URL": environment.nats_url,
        "NATS_MONITORING": environment.nats_monitoring,
    }


@EACH
def test_each_gitops_tool_makes_a_new_job_for_a_new_image(source: Source) -> None:
    [job] = of_kind(source.objects, "Job")
    assert job["metadata"]["annotations"] == {
        "kustomize.toolkit.fluxcd.io/force": "enabled",
        "argocd.argoproj.io/sync-options": "Force=true,Replace=true",
    }
