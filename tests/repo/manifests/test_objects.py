"""Rules for every object of any kind."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from kubernetes_validate.utils import SchemaNotFoundError, ValidationError, validate

from stack.jobs import ROOT

from .rendered import SOURCES, Object, Source, of_kind, shown, text_files

KUBERNETES = "1.34"
# The operator of Prometheus makes them.
NAMESPACES_OF_OTHERS = {"monitoring"}
CLUSTER_WIDE = {
    *("ClusterRole", "ClusterRoleBinding", "Namespace", "PriorityClass"),
    *("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"),
}

# Kubernetes has no schema of them: the API server and KEDA's webhook check them in tests/e2e/test_1_setup.py. The tests
# here check the Job that a ScaledJob makes, and in test_monitoring.py the objects of the prometheus-operator.
CHECKED_IN_E2E = {"keda.sh", "monitoring.coreos.com"}

TUNED = (
    *("activeDeadlineSeconds", "backoffLimit", "cooldownPeriod", "lagThreshold", "limits", "maxReplicaCount"),
    *("pollingInterval", "stabilizationWindowSeconds", "targetQueryValue", "terminationGracePeriodSeconds"),
    "ttlSecondsAfterFinished",
)

EACH_SOURCE = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)


@EACH_SOURCE
def test_every_object_has_the_fields_that_kubernetes_knows(source: Source) -> None:
    faults = [f"{shown(thing)}: {fault}" for thing in source.objects if (fault := schema_fault(thing))]
    assert not faults, "\n".join(faults)


@EACH_SOURCE
def test_every_object_has_our_label(source: Source) -> None:
    unlabelled = [shown(thing) for thing in with_claim_templates(source) if not is_ours(thing)]
    assert not unlabelled, f"without the label app.kubernetes.io/part-of: keda-jobs: {unlabelled}"


@EACH_SOURCE
def test_every_object_is_in_one_of_our_namespaces(source: Source) -> None:
    ours = source.neutral_names.keys() | NAMESPACES_OF_OTHERS
    elsewhere = [
        shown(thing)
        for thing in source.objects
        if namespace_of(thing) not in ours and thing["kind"] not in CLUSTER_WIDE - {"Namespace"}
    ]
    assert not elsewhere, f"only {sorted(ours)} are ours: {elsewhere}"


@EACH_SOURCE
def test_every_namespace_enforces_the_restricted_pod_security_of_one_version(source: Source) -> None:
    wanted = {"enforce": "restricted", "enforce-version": f"v{KUBERNETES}", "audit": "restricted", "warn": "restricted"}
    for thing in of_kind(source.objects, "Namespace"):
        labels = thing["metadata"]["labels"]
        given = {key: labels.get(f"pod-security.kubernetes.io/{key}") for key in wanted}
        assert given == wanted, shown(thing)


@EACH_SOURCE
def test_every_namespace_denies_what_no_policy_allows(source: Source) -> None:
    denying = [namespace_of(policy) for policy in of_kind(source.objects, "NetworkPolicy") if denies_all(policy)]
    namespaces = {namespace_of(thing) for thing in of_kind(source.objects, "Namespace")}
    assert namespaces <= set(denying), f"without a default-deny policy: {sorted(namespaces - set(denying))}"


@EACH_SOURCE
def test_who_may_ask_kube_dns_may_ask_a_resolver_on_the_node_too(source: Source) -> None:
    for policy in of_kind(source.objects, "NetworkPolicy"):
        for rule in policy["spec"].get("egress", ()):
            if any(one.get("podSelector") == {"matchLabels": {"k8s-app": "kube-dns"}} for one in rule.get("to", ())):
                assert {"ipBlock": {"cidr": "169.254.0.0/16"}} in rule["to"], shown(policy)
                assert {port["port"] for port in rule["ports"]} == {53}, shown(policy)


@EACH_SOURCE
def test_no_service_account_hands_out_a_token(source: Source) -> None:
    accounts = of_kind(source.objects, "ServiceAccount")
    handing_out = [shown(thing) for thing in accounts if thing.get("automountServiceAccountToken") is not False]
    assert not handing_out, f"without automountServiceAccountToken: false: {handing_out}"


@pytest.mark.parametrize("file", text_files(), ids=lambda file: file.relative_to(ROOT).as_posix())
def test_every_tuned_number_has_a_comment(file: Path) -> None:
    lines = file.read_text().splitlines()
    bare = [f"{file.name}:{number + 1}: {line.strip()}" for number, line in enumerate(lines) if is_bare(lines, number)]
    assert not bare, "no comment on this line or above it says why:\n" + "\n".join(bare)


def schema_fault(thing: Object) -> str | None:
    """Return Kubernetes' error about the object's fields, None without one."""
    if thing["kind"] == "ScaledJob":
        thing = {**thing, "apiVersion": "batch/v1", "kind": "Job", "spec": thing["spec"]["jobTargetRef"]}
    if thing["apiVersion"].partition("/")[0] in CHECKED_IN_E2E:
        return None
    try:
        validate(thing, KUBERNETES, strict=True)
    except SchemaNotFoundError as error:
        return str(error.message)
    except ValidationError as error:
        return f"{'.'.join(map(str, error.path))}: {error.message}"
    return None


def with_claim_templates(source: Source) -> list[Object]:
    """Return the objects and the claims that StatefulSets make."""
    sets = of_kind(source.objects, "StatefulSet")
    claims = [
        {"kind": "claim template", **one} for thing in sets for one in thing["spec"].get("volumeClaimTemplates", ())
    ]
    return source.objects + claims


def is_ours(thing: Object) -> bool:
    return bool(thing["metadata"].get("labels", {}).get("app.kubernetes.io/part-of") == "keda-jobs")


def namespace_of(thing: Object) -> str:
    """Return the namespace that the object is in, or is."""
    return str(thing["metadata"].get("namespace", thing["metadata"]["name"]))


def denies_all(policy: Object) -> bool:
    return bool(policy["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})


def is_bare(lines: list[str], number: int) -> bool:
    """Return whether the line sets a tuned number without a comment on it or above it."""
    sets_one = re.match(rf"\s*(- )?({'|'.join(TUNED)}): \S", lines[number])
    return bool(sets_one) and " #" not in lines[number] and not lines[number - 1].strip().startswith("#")
