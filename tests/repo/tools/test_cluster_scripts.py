"""Scripts of k8s/ without a cluster: help, options, prerequisites, the steps of kind-cluster."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from stack.jobs import ROOT

SETUP_SCRIPTS = ("setup-all", "teardown-all", "secrets", "kind-cluster", "certificates", "keda-ca")
TOOLS = (
    "awk",
    "basename",
    "bash",
    "cat",
    "dirname",
    "grep",
    "mkdir",
    "mktemp",
    "paste",
    "python",
    "python3",
    "rm",
    "sed",
    "sort",
)


def run(command: str | Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script of k8s/, or make there, without a cluster."""
    return subprocess.run(
        [command if command == "make" else ROOT / "k8s" / command, *arguments],
        cwd=ROOT / "k8s",
        env=os.environ | {"KUBECONFIG": "/nowhere"} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "script",
    [
        *(f"setup-scripts/{name}.sh" for name in SETUP_SCRIPTS),
        "connect.sh",
        "status.sh",
        "pause.sh",
        "logs.sh",
        "port-forward.sh",
        "rotate.sh",
    ],
)
def test_every_script_prints_its_usage(script: str) -> None:
    done = run(script, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Usage: k8s/{script}" in done.stdout


@pytest.mark.parametrize(
    ("script", "arguments", "error"),
    [
        *((name, "--nonsense", "unknown option '--nonsense', see --help\n") for name in SETUP_SCRIPTS),
        ("setup-all", "--overlay test", "unknown option '--overlay'"),
        ("setup-all", "--part", "--part "),
        ("setup-all", "--part everything", "--part "),
    ],
)
def test_an_unknown_option_is_one_line(script: str, arguments: str, error: str) -> None:
    done = run(f"setup-scripts/{script}.sh", *arguments.split())
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(f"{script}: {error}")


@pytest.fixture
def bare_machine(tmp_path: Path) -> Path:
    """Copy the scripts, without a .venv, and make a folder `bin` with the most common programs only."""
    shutil.copytree(ROOT / "k8s", tmp_path / "repo/k8s", ignore=shutil.ignore_patterns(".env*"))
    (tmp_path / "repo/tools").symlink_to(ROOT / "tools")
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in TOOLS:
        (tools / tool).symlink_to(str(shutil.which(tool)))
    return tmp_path


def test_everything_missing_is_reported_at_once(bare_machine: Path) -> None:
    done = run(bare_machine / "repo/k8s/setup-scripts/setup-all.sh", PATH=str(bare_machine / "bin"))
    assert done.returncode == 1
    for program in ("keda-jobs", "kubectl"):
        assert f"  ✗ {program} is not installed\n" in done.stdout
    assert done.stderr == "setup-all: 2 of the prerequisites are missing, see above. Nothing was changed\n"


def test_a_cluster_that_does_not_answer_is_reported_with_its_context(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("R2_BUCKET=<bucket>\n")
    done = run("setup-scripts/setup-all.sh", ENV_FILE=str(tmp_path / ".env"))
    assert done.returncode == 1
    assert "✗ the cluster of context (none) does not answer" in done.stdout
    assert "R2_BUCKET is still the placeholder" in done.stdout
    assert "Nothing was changed" in done.stderr


@pytest.mark.parametrize("target", [("status",), ("logs", "JOB=x"), ("pause", "JOB=x"), ("resume", "JOB=x")])
def test_each_target_fails_cleanly_without_a_cluster(target: tuple[str, ...]) -> None:
    done = run("make", "--silent", *target)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_make_lists_every_target() -> None:
    listed = run("make", "--silent").stdout
    for target in ("status", "logs", "port-forward", "pause", "resume", "secrets"):
        assert f"  {target} " in listed


CLUSTER = """#!/usr/bin/env bash
echo "$*" >>"$CALLS"
case "$*" in
  "config current-context") echo theirs ;;
  "config view "*) echo https://theirs.example:6443 ;;
  "version --client"*) echo '"gitVersion": "v1.99.0"' ;;
  version*) printf '"serverVersion": {\\n"gitVersion": "v1.34.4"\\n' ;;
  kustomize*) printf 'kind: Namespace\\nmetadata: {name: nats}\\n' ;;
  "get storageclasses"*) echo true ;;
  "get namespace keda-jobs-prod") exit "$NEW" ;;
  "get namespaces --selector"*keda-jobs/part=jobs*) ;;
  "get namespaces --selector"*) echo "nats prod" ;;
  "get crd"*) exit 1 ;;
esac
"""


@pytest.mark.parametrize(
    ("script", "new", "plan"),
    [
        ("setup-all", "0", "environment prod: this sets up\n  KEDA 2.21.0"),
        ("setup-all", "1", "environment prod, for the first time in this cluster: this sets up\n  KEDA 2.21.0"),
        ("teardown-all", "0", "environment prod: this removes\n  NATS"),
    ],
)
def test_nothing_is_changed_before_somebody_has_agreed(bare_machine: Path, script: str, new: str, plan: str) -> None:
    """Use a stand-in for a cluster where nothing is in the way."""
    calls, cluster = bare_machine / "calls", bare_machine / "cluster"
    cluster.mkdir()
    (cluster / "kubectl").write_text(CLUSTER)
    (cluster / "kubectl").chmod(0o755)
    environment = {
        "PATH": f"{cluster}:{os.environ['PATH']}",
        "CALLS": str(calls),
        "KEDA_MANIFEST": "",
        "PG_DSN": "",
        "NEW": new,
    }
    done = run(bare_machine / f"repo/k8s/setup-scripts/{script}.sh", **environment)
    assert f"{script}: context theirs at https://theirs.example:6443, {plan}" in done.stdout
    refusal = "refusing to go on without confirmation: stdin is not a terminal, pass --yes"
    assert (done.returncode, done.stderr) == (1, f"{script}: {refusal}\n")
    verbs = {call.split()[0] for call in calls.read_text().splitlines()}
    assert verbs <= {"api-resources", "auth", "config", "get", "kustomize", "version"}


KIND = """#!/usr/bin/env bash
echo "$(basename "$0") $*" >>"$CALLS"
case "$*" in
  version) echo "kind v0.33.0 go1.26.8 linux/amd64" ;;
  "get clusters") echo "$CLUSTERS" ;;
esac
"""


@pytest.mark.parametrize(("clusters", "made"), [("", True), ("keda-jobs", False)])
def test_kind_cluster_does_its_steps_in_order(bare_machine: Path, clusters: str, made: bool) -> None:
    """Use stand-ins that record their calls, since kind is not available here."""
    calls = bare_machine / "calls"
    for program in ("kind", "docker", "kubectl", "make"):
        (bare_machine / "bin" / program).write_text(KIND)
        (bare_machine / "bin" / program).chmod(0o755)
    scripts = bare_machine / "repo/k8s/setup-scripts"
    tools = bare_machine / "repo/tools"
    tools.unlink()
    tools.mkdir()
    shutil.copy(ROOT / "tools/environments.py", tools)
    (tools / "deploy.sh").write_text(KIND)
    (tools / "deploy.sh").chmod(0o755)
    (scripts / "setup-all.sh").write_text(KIND)
    for job in ("image-download", "users-batch"):
        (bare_machine / "repo/jobs" / job).mkdir(parents=True)
        (bare_machine / "repo/jobs" / job / "Dockerfile").touch()
    done = run(scripts / "kind-cluster.sh", PATH=str(bare_machine / "bin"), CALLS=str(calls), CLUSTERS=clusters)
    assert done.returncode == 0, done.stderr
    told = calls.read_text().replace(str(bare_machine / "repo"), "REPO").splitlines()
    create = ["kind create cluster --name keda-jobs --wait 180s"] if made else []
    assert told == [
        "docker info",
        "kind version",
        "kind get clusters",
        *create,
        "kind export kubeconfig --name keda-jobs",
        "make -C REPO --no-print-directory build-all build-test-servers",
        "kind load docker-image --name keda-jobs keda-jobs-test-servers:dev image-download:dev users-batch:dev",
        "setup-all.sh --yes",
        "kubectl get service pictures --namespace keda-jobs-test --output jsonpath={.spec.clusterIP}",
        "kubectl apply --server-side --filename -",
        "deploy.sh image-download",
        "deploy.sh users-batch",
        "make -C REPO/k8s --no-print-directory status",
    ]
