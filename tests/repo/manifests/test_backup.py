"""CronJob of the backups: one at a time, into the environment's own folder, with ways to NATS and the store only."""

from __future__ import annotations

from pathlib import Path

import pytest

from .rendered import SOURCES, Object, Source, of_kind, pods

OF_BACKUP = [source for source in SOURCES if source.path.name == "backup"]
EACH = pytest.mark.parametrize("source", OF_BACKUP, ids=lambda source: source.name)
IN_AN_HOUR_S = 3600


def cron_job(source: Source) -> Object:
    [found] = of_kind(source.objects, "CronJob")
    return found


def test_every_environment_can_have_it() -> None:
    overlays = {source.path.parent for source in SOURCES if source.path.name == "environment"}
    assert {source.path.parent for source in OF_BACKUP} >= {path for path in overlays if path.parent.name == "overlays"}


@EACH
def test_it_has_no_rights_in_the_cluster_and_its_own_login(source: Source) -> None:
    assert {thing["kind"] for thing in source.objects} == {"ServiceAccount", "CronJob"}
    assert source.neutral_names[cron_job(source)["metadata"]["namespace"]] == "jobs"
    [pod] = pods(source.objects)
    [container] = pod.containers
    secrets = [one["secretRef"]["name"] for one in container["envFrom"] if "secretRef" in one]
    assert (pod.spec["serviceAccountName"], secrets) == ("backup", ["nats-backup", "r2"])


@EACH
def test_a_run_neither_overlaps_with_the_next_nor_keeps_it_from_starting(source: Source) -> None:
    spec = cron_job(source)["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["jobTemplate"]["spec"]["activeDeadlineSeconds"] < IN_AN_HOUR_S
    assert spec["startingDeadlineSeconds"] < IN_AN_HOUR_S


@EACH
def test_it_writes_where_no_other_environment_does(source: Source) -> None:
    environment = source.environment
    if environment is None:
        return
    [pod] = pods(source.objects)
    [container] = pod.containers
    told = {one["name"]: one["value"] for one in container["env"]}
    assert told == {"ENVIRONMENT": environment.environment, "NATS_URL": environment.nats_url}
    assert "s3:backups-$(ENVIRONMENT)" in container["command"]


@EACH
def test_policies_open_nats_and_the_store_to_it_and_nothing_else(source: Source) -> None:
    platform = Source(source.path.parent, source.root)
    if not is_overlay(platform.path):
        return
    [pod] = pods(source.objects)
    jobs = cron_job(source)["metadata"]["namespace"]
    policies = {
        policy["metadata"]["name"]: policy["spec"]["policyTypes"]
        for policy in of_kind(platform.objects, "NetworkPolicy")
        if policy["metadata"]["namespace"] == jobs
        and policy["spec"]["podSelector"].get("matchLabels", {}).items() <= pod.labels.items()
    }
    ways_out = {name for name, types in policies.items() if "Egress" in types}
    assert ways_out == {"default-deny", "dns", "nats", "test-store" if "test-store" in ways_out else "store"}
    # Prometheus may ask every pod of the namespace, and this one listens on no port.
    assert policies.keys() - ways_out == {"metrics"}
    assert "ports" not in pod.containers[0]


def is_overlay(folder: Path) -> bool:
    return folder.parent.name == "overlays"
