"""An environment is an overlay: its manifests have its names, no other's, and agree with each other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import new_env
from environments import load, names
from stack.jobs import ROOT

from .rendered import COPY, JOB_FILES, MADE, SOURCES, Object, Source, of_kind, pods, shown

OF_ENVIRONMENTS = [one for one in SOURCES if one.environment and one not in JOB_FILES]
EACH = pytest.mark.parametrize("source", OF_ENVIRONMENTS, ids=lambda source: source.name)
EACH_MADE = pytest.mark.parametrize("source", MADE, ids=lambda source: source.name)
ENVIRONMENT, PART = "keda-jobs/environment", "keda-jobs/part"


@EACH_MADE
def test_a_made_environment_has_no_name_of_another(source: Source) -> None:
    text = yaml.safe_dump_all(source.objects)
    for other in map(load, names()):
        foreign = [other.jobs_namespace, other.test_namespace, other.nats_url, other.nats_monitoring]
        assert [name for name in foreign if name and re.search(rf"{name}(?![\w-])", text)] == []


def test_nothing_but_the_facts_names_the_namespaces_of_an_environment() -> None:
    taken = {name for one in map(load, names()) for name in (one.jobs_namespace, one.test_namespace) if name}
    files = [path for folder in ("k8s", "tools") for path in (ROOT / folder).rglob("*") if is_source(path)]
    assert len(files) > 100
    word = re.compile(rf"\b({'|'.join(sorted(taken))})(?![\w-])")
    assert [path for path in files if word.search(path.read_text())] == []


@EACH
def test_no_neutral_name_is_left(source: Source) -> None:
    assert source.environment
    text = yaml.safe_dump_all(source.objects)
    assert not re.search("(?<!name): ENVIRONMENT$", text, re.MULTILINE)
    for neutral in {"jobs", "nats", "test-servers"} - set(source.environment.namespaces):
        assert f"namespace: {neutral}\n" not in text
        assert [thing for thing in of_kind(source.objects, "Namespace") if thing["metadata"]["name"] == neutral] == []


@EACH
def test_policies_select_pods_that_the_environment_has(source: Source) -> None:
    everything = list(all_of(source))
    labels_of = {thing["metadata"]["name"]: thing["metadata"]["labels"] for thing in of_kind(everything, "Namespace")}
    for policy in of_kind(source.objects, "NetworkPolicy"):
        for peer in peers(policy):
            selector = peer.get("namespaceSelector", {}).get("matchLabels", {})
            if ENVIRONMENT not in selector:
                continue
            [namespace] = [name for name, labels in labels_of.items() if selector.items() <= labels.items()]
            wanted = peer.get("podSelector", {}).get("matchLabels", {})
            found = [pod for pod in pods(everything) if pod.owner["metadata"]["namespace"] == namespace]
            assert [pod for pod in found if wanted.items() <= pod.labels.items()], f"{shown(policy)}: {peer}"


@EACH
def test_jobs_are_told_the_addresses_of_their_own_nats(source: Source) -> None:
    assert source.environment
    url, monitoring = source.environment.nats_url, source.environment.nats_monitoring
    assert set(addresses(source.objects)) <= {url, monitoring, f"http://{monitoring}"}


@EACH_MADE
def test_a_made_environment_shares_no_object_with_another(source: Source) -> None:
    others = [other for other in OF_ENVIRONMENTS if other.environment != source.environment]
    shared = {shown(thing) for thing in source.objects} & {shown(thing) for other in others for thing in other.objects}
    assert sorted(shared) == []


def is_source(path: Path) -> bool:
    """Return whether the file is for all environments: neither facts, nor a document, nor an example of GitOps."""
    is_example = path.is_relative_to(ROOT / "k8s/gitops")
    return path.is_file() and path.suffix in {".yaml", ".sh", ".py", ".j2", ".tpl", ".json"} and not is_example


def all_of(source: Source) -> Iterator[Object]:
    """Yield all objects of the source's environment: its platform and its jobs."""
    for other in SOURCES:
        if other.environment == source.environment and other.root == source.root and other not in JOB_FILES:
            yield from other.objects


def peers(policy: Object) -> Iterator[Object]:
    """Yield each side that a policy opens a way from or to."""
    for direction, end in (("ingress", "from"), ("egress", "to")):
        for rule in policy["spec"].get(direction, ()):
            yield from rule.get(end, ())


def addresses(objects: list[Object]) -> Iterator[str]:
    """Yield the addresses of NATS in pods and triggers."""
    containers = [container for pod in pods(objects) for container in pod.containers]
    for variable in (one for container in containers for one in container.get("env", ())):
        if variable["name"].startswith(("NATS_URL", "NATS_MONITORING")):
            yield variable["value"]
    for thing in of_kind(objects, "ScaledObject"):
        yield from (one["metadata"]["natsServerMonitoringEndpoint"] for one in thing["spec"]["triggers"])


def test_an_environment_with_a_nats_of_yours_has_none_of_ours() -> None:
    folder = new_env.make("elsewhere", "prod", COPY)
    facts = folder / "environment/environment.env"
    kept = [line for line in facts.read_text().splitlines() if not line.startswith(("NATS_NAMESPACE=", "NATS_URL="))]
    facts.write_text("\n".join([*kept, "NATS_NAMESPACE=", "NATS_URL=tls://connect.example:4222", ""]))
    overlay = folder / "kustomization.yaml"
    last = "  - environment\n"
    overlay.write_text(overlay.read_text().replace(last, f"  - ../../components/external-nats\n{last}"))
    objects = Source(folder, COPY).objects
    assert {thing["metadata"].get("namespace") for thing in objects} <= {None, "keda-jobs-elsewhere"}
    assert [thing["metadata"]["name"] for thing in of_kind(objects, "Namespace")] == ["keda-jobs-elsewhere"]
    assert not [shown(thing) for thing in objects if thing["metadata"]["name"].startswith("nats")]


def test_the_patch_for_another_account_reaches_every_trigger() -> None:
    component = new_env.make("account", "prod", COPY) / "environment"
    text = (ROOT / "docs/bring-your-own.md").read_text()
    patches = text[text.index("patches:\n") :].partition("```")[0]
    with (component / "kustomization.yaml").open("a") as file:
        file.write(patches)
    triggers = [
        trigger
        for scaled in of_kind(Source(component, COPY).objects, "ScaledObject")
        for trigger in scaled["spec"]["triggers"]
    ]
    assert triggers
    assert {trigger["metadata"]["account"] for trigger in triggers} == {"SHOP"}
