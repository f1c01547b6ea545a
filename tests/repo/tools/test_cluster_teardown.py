"""Teardown of one environment, with a stand-in for a cluster: what it names, and what it leaves to others."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import new_env
from environments import FACTS
from stack.jobs import ROOT

# Logs its calls. KEDA is ours where KEDA is set. Namespaces and what is in none come from variables.
KUBECTL = """#!/usr/bin/env bash
echo "$*" >>"$CALLS"
call="$*"
case "${call#--context=there }" in
  "config current-context") echo a-cluster ;;
  "api-resources"*namespaced=false*) printf '%s\\n' namespaces validatingadmissionpolicies ;;
  "api-resources"*) printf '%s\\n' pods secrets ;;
  "get namespaces --selector"*keda-jobs/part=jobs*) echo "$OTHERS" ;;
  "get namespaces --selector"*) printf %s "$OURS" ;;
  "get validatingadmissionpolicies"*) [ -z "$CLUSTER_WIDE" ] || echo "$CLUSTER_WIDE" ;;
  "get namespace keda "*) echo "$KEDA" ;;
  "get persistentvolumeclaims"*" $VOLUMES "*) echo persistentvolumeclaim/data-nats-0 ;;
  "get crd"*) exit 1 ;;
  "get apiservice"*) echo keda/keda ;;
esac
"""
POLICY = "validatingadmissionpolicy.admissionregistration.k8s.io/pause-only.keda-jobs-prod"


class Cluster:
    """Stand-in for a cluster."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Without .venv, whose programs come first.
        shutil.copytree(ROOT / "k8s", folder / "k8s", ignore=shutil.ignore_patterns(".env*"))
        (folder / "tools").mkdir()
        shutil.copy(ROOT / "tools/environments.py", folder / "tools")
        (folder / "kubectl").write_text(KUBECTL)
        (folder / "kubectl").chmod(0o755)

    def teardown(self, *options: str, **known: str) -> subprocess.CompletedProcess[str]:
        """Run teardown-all.sh in a cluster that has what is `known`."""
        path = f"{self.folder}:{os.environ['PATH']}"
        nothing = {"OURS": "", "OTHERS": "", "CLUSTER_WIDE": "", "KEDA": "", "VOLUMES": "-"}
        return subprocess.run(
            [self.folder / "k8s/setup-scripts/teardown-all.sh", *options],
            env={**os.environ, **nothing, "CALLS": str(self.folder / "calls"), "ENV": "prod", "PATH": path, **known},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def calls(self) -> list[str]:
        """List the calls of kubectl."""
        return (self.folder / "calls").read_text().splitlines()

    def changes(self) -> list[str]:
        """List the calls that change something."""
        return [call for call in self.calls() if call.split()[0] in ("annotate", "apply", "delete", "label", "patch")]


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    """Return a cluster with nothing in it."""
    return Cluster(tmp_path)


def test_an_admission_policy_that_is_left_alone_is_named_and_removed(cluster: Cluster) -> None:
    asked = cluster.teardown(CLUSTER_WIDE=POLICY)
    assert f"environment prod: this removes\n  {POLICY}\n" in asked.stdout
    assert (asked.returncode, cluster.changes()) == (1, [])
    assert cluster.teardown("--yes", CLUSTER_WIDE=POLICY).returncode == 0
    assert any("admissionpolicies" in call for call in cluster.changes())


def test_only_what_belongs_to_the_environment_is_removed(cluster: Cluster) -> None:
    done = cluster.teardown("--yes", "--delete-data", OURS="nats prod\nkeda-jobs-prod <none>\nother staging\n")
    assert (done.returncode, done.stderr) == (0, "")
    changes = [call for call in cluster.changes() if not call.startswith("label")]
    assert changes
    own = (
        "delete namespace ",
        "--namespace nats ",
        "--namespace keda-jobs-prod ",
        "keda-jobs/environment=prod ",
        "keda-jobs/part=keda-readers",
    )
    assert [call for call in changes if not any(map(call.count, own))] == []
    removed = [call.split()[2] for call in changes if call.startswith("delete namespace ")]
    assert sorted(removed) == ["keda-jobs-prod", "nats"]


@pytest.mark.parametrize("namespace", ["nats", "nats-of-an-earlier-setup"])
def test_volumes_stay_with_their_namespace(cluster: Cluster, namespace: str) -> None:
    done = cluster.teardown("--yes", OURS=f"{namespace} prod\nkeda-jobs-prod prod\n", VOLUMES=namespace)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"kept: namespace {namespace} with the events in persistentvolumeclaim/data-nats-0" in done.stdout
    assert [call.split()[2] for call in cluster.changes() if call.startswith("delete namespace ")] == ["keda-jobs-prod"]
    assert not any("persistentvolumeclaims" in call for call in cluster.changes())


@pytest.mark.parametrize(
    ("others", "told"),
    [
        ("keda-jobs-staging", "  not KEDA: other environments use it, in keda-jobs-staging\n"),
        ("", "  namespace keda: KEDA, which setup-all.sh installed, with its CRDs\n"),
    ],
)
def test_keda_goes_with_the_last_environment(cluster: Cluster, others: str, told: str) -> None:
    done = cluster.teardown("--yes", OURS="nats prod\n", OTHERS=others, KEDA="2.21.0")
    assert (done.returncode, done.stderr) == (0, "")
    assert told in done.stdout
    assert any("part-of=keda-operator" in call for call in cluster.changes()) is not bool(others)
    # Policies of the others let KEDA in by this label.
    assert not any(call.startswith("label") for call in cluster.changes())


def test_an_environment_that_is_not_there_is_said(cluster: Cluster) -> None:
    done = cluster.teardown("--yes", OURS="nats staging\n", OTHERS="keda-jobs-staging", KEDA="2.21.0")
    assert done.stdout.endswith(": nothing here is of the environment prod\n")
    assert (done.returncode, cluster.changes()) == (0, [])


def test_all_of_it_is_asked_of_the_environment_s_context(cluster: Cluster) -> None:
    facts = new_env.make("staging", "prod", cluster.folder) / FACTS
    facts.write_text(facts.read_text().replace("KUBE_CONTEXT=", "KUBE_CONTEXT=there"))
    done = cluster.teardown("--yes", ENV="staging", OURS="keda-jobs-staging staging\n", KEDA="2.21.0")
    assert (done.returncode, done.stderr) == (0, "")
    assert "context there at" in done.stdout
    first, *others = cluster.calls()
    assert first == "config get-contexts there"
    assert [call for call in others if not call.startswith("--context=there ")] == []
    assert "--context=there delete namespace keda-jobs-staging" in " ".join(others)
