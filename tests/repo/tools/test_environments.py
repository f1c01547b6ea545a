"""Environments: what their files may hold, what a shell gets of them, and whose cluster kubectl talks to."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import environments
from cluster.kubernetes import kubectl
from environments import FACTS as FACTS_FILE
from environments import OVERLAYS, BadEnvironment, current, load, names, parse
from stack.jobs import ROOT

FACTS = {
    "ENVIRONMENT": "staging",
    "JOBS_NAMESPACE": "keda-jobs-staging",
    "NATS_NAMESPACE": "nats-staging",
    "NATS_URL": "nats://nats.nats-staging.svc.cluster.local:4222",
    "NATS_MONITORING": "nats-headless.nats-staging.svc.cluster.local:8222",
    "TEST_NAMESPACE": "",
    "KUBE_CONTEXT": "arn:aws:eks:eu-west-1:1:cluster/a b",
}
# Logs its calls, and knows one context.
KUBECTL = """#!/usr/bin/env bash
echo "$*" >>"$CALLS"
case "$*" in
  "config get-contexts"*) [ "${*:3}" = "$CONTEXT" ] ;;
  *"get scaledobjects"*) echo scaledobject.keda.sh/image-resize ;;
esac
"""
PROGRAMS = "k8s tools .github .ci Makefile"


def text(**changed: str | None) -> str:
    """Write the facts with `changed` ones, of which None leaves one out."""
    return "".join(f"{key}={value}\n" for key, value in (FACTS | changed).items() if value is not None)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a repository with the scripts and an environment `staging`, and a kubectl that logs to CALLS."""
    for script in ("environment.sh", "pause.sh", "setup-scripts/progress.sh", "setup-scripts/deployed.sh"):
        target = tmp_path / "k8s" / script
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "k8s" / script, target)
    for folder in ("tools", "bin", "k8s/kustomize/overlays/staging/environment"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(ROOT / "tools/environments.py", tmp_path / "tools")
    (tmp_path / OVERLAYS / "staging" / FACTS_FILE).write_text(text())
    (tmp_path / "bin/kubectl").write_text(KUBECTL)
    (tmp_path / "bin/kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("CONTEXT", FACTS["KUBE_CONTEXT"])
    monkeypatch.setenv("ENV", "staging")
    monkeypatch.setattr(environments, "ROOT", tmp_path)
    return tmp_path


def calls(repository: Path) -> list[str]:
    return (repository / "calls").read_text().splitlines()


def in_bash(repository: Path, command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-euc", command],
        cwd=repository,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", names())
def test_every_environment_of_this_repository_can_be_loaded(name: str) -> None:
    assert load(name).environment == name


def test_a_file_is_facts_and_comments() -> None:
    found = parse("# a comment\n\n" + text(), "file")
    assert found.namespaces == ["keda-jobs-staging", "nats-staging"]
    assert found.kube_context == FACTS["KUBE_CONTEXT"]


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (text(JOBS_NAMESPACE=None), "add JOBS_NAMESPACE"),
        (text(JOBS_NAMESPACE="", NATS_URL=None), "add JOBS_NAMESPACE, NATS_URL"),
        (text() + "KUBE_CONTXT=prod\n", "line 8: unknown key KUBE_CONTXT, write one of ENVIRONMENT, JOBS_NAMESPACE,"),
        (text() + "KUBE_CONTEXT=prod\n", "line 8: KUBE_CONTEXT again"),
        (text() + "export A=b\n", "line 8: not of the form KEY=value"),
        (text() + "NATS_URL\n", "line 8: not of the form KEY=value"),
        (text(JOBS_NAMESPACE="a "), "line 2: not of the form KEY=value, without blanks around"),
        (text(JOBS_NAMESPACE=" a"), "line 2: not of the form KEY=value, without blanks around"),
        (text(JOBS_NAMESPACE='"a"'), "line 2: JOBS_NAMESPACE cannot be '\"a\"', write no quotes and blanks"),
        (text(JOBS_NAMESPACE="a/b"), "line 2: JOBS_NAMESPACE cannot be 'a/b'"),
        (text(JOBS_NAMESPACE="$(id)"), "line 2: JOBS_NAMESPACE cannot be"),
        (text(JOBS_NAMESPACE="a" * 64), "line 2: JOBS_NAMESPACE cannot be"),
        (text(NATS_NAMESPACE="keda-jobs-staging"), "two of the namespaces are the same"),
        (text(KUBE_CONTEXT="'prod'"), "line 7: KUBE_CONTEXT cannot be"),
    ],
)
def test_a_wrong_file_is_one_line_that_says_what_to_write(written: str, told: str) -> None:
    with pytest.raises(BadEnvironment) as refused:
        parse(written, "file")
    assert str(refused.value).startswith(f"file{', ' if told.startswith('line') else ': '}{told}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["nope", "../staging", "staging/", "/etc", "a\nb", "$(id)", "template"])
def test_an_unknown_environment_is_one_line_with_those_that_there_are(repository: Path, name: str) -> None:
    shutil.copytree(repository / OVERLAYS / "staging", repository / OVERLAYS / "template")
    done = in_bash(repository, "k8s/pause.sh pause image-resize", ENV=name)
    told = f"environment: there is no environment {name!r}, there are: staging\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", told)
    assert not (repository / "calls").exists()


def test_a_copied_folder_whose_file_names_another_environment_is_refused(repository: Path) -> None:
    overlays = repository / OVERLAYS
    shutil.copytree(overlays / "staging", overlays / "second")
    done = in_bash(repository, "k8s/pause.sh pause image-resize", ENV="second")
    assert (
        "overlays/second/environment/environment.env: ENVIRONMENT is 'staging', write the folder's name 'second'"
        in done.stderr
    )
    assert done.stderr.count("\n") == 1


def test_a_script_asks_only_the_environment_s_context_in_its_namespace(repository: Path) -> None:
    done = in_bash(repository, "k8s/pause.sh pause image-resize")
    assert (done.returncode, done.stderr) == (0, "")
    first, *rest = calls(repository)
    assert first == f"config get-contexts {FACTS['KUBE_CONTEXT']}"
    assert rest
    for call in rest:
        assert call.startswith(f"--context={FACTS['KUBE_CONTEXT']} ")
        assert "--namespace keda-jobs-staging" in call


def test_python_asks_only_the_environment_s_context(repository: Path) -> None:
    kubectl("get", "pods")
    assert calls(repository) == [f"--context={FACTS['KUBE_CONTEXT']} get pods"]


def test_a_context_that_the_kubeconfig_lacks_is_one_line_and_nothing_is_asked(repository: Path) -> None:
    done = in_bash(repository, "k8s/pause.sh pause image-resize", CONTEXT="another")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert f"rename yours: kubectl config rename-context <name> {FACTS['KUBE_CONTEXT']}" in done.stderr
    assert len(calls(repository)) == 1


def test_a_shell_goes_from_one_environment_to_another(repository: Path) -> None:
    other = repository / OVERLAYS / "other" / FACTS_FILE
    other.parent.mkdir(parents=True)
    facts = {"ENVIRONMENT": "other", "JOBS_NAMESPACE": "jobs", "KUBE_CONTEXT": "", "TEST_NAMESPACE": "servers"}
    other.write_text(text(**facts).replace("\n", "\r\n"))
    show = 'echo "$JOBS_NAMESPACE|$TEST_NAMESPACE|$CREDENTIALS"; kubectl get pods'
    done = in_bash(repository, f". k8s/environment.sh; {show}; ENV=other; . k8s/environment.sh; {show}")
    assert done.stdout.splitlines() == [
        f"keda-jobs-staging||{repository}/k8s/.env.staging",
        f"jobs|servers|{repository}/k8s/.env.other",
    ]
    assert calls(repository)[1:] == [f"--context={FACTS['KUBE_CONTEXT']} get pods", "get pods"]


def test_a_pod_reads_the_facts_from_its_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(environments, "ROOT", tmp_path)
    for key, value in FACTS.items():
        monkeypatch.setenv(key, value)
    assert current() == parse(text(), "file")
    monkeypatch.delenv("NATS_URL")
    with pytest.raises(BadEnvironment, match=r"^the pod: add NATS_URL$"):
        current()


def test_no_program_names_an_environment_s_namespace() -> None:
    """Only the overlays do, and what is rendered of them."""
    listed = subprocess.run(
        ["git", "ls-files", *PROGRAMS.split(), ":!k8s/kustomize", ":!*.md"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    every = {found.jobs_namespace for found in map(load, names())} | {load(name).test_namespace for name in names()}
    name = re.compile(rf"(?<![\w-])({'|'.join(sorted(every - {''}))})(?![\w-])")
    programs = [ROOT / path for path in listed if Path(path).suffix in ("", ".sh", ".py", ".yml", ".j2", ".tpl")]
    assert [path for path in programs if path.is_file() and name.search(path.read_text())] == []
