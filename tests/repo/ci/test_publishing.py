"""Steps of the workflows: tests of alerts and images, publishing, and deploys to a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import changed_jobs
from keda_jobs.batch import BatchJob
from keda_jobs.event.job import EventJob
from stack.jobs import ROOT, job_names

from . import workflows
from .machine import DIGEST, DOCKER, KUBECTL, REGISTRY, Machine
from .repository import ONE

ALL = changed_jobs.all_jobs(ROOT)


def test_the_image_of_one_job_is_tested(machine: Machine) -> None:
    for name in ("docker", "make"):
        machine.stand_in(name)
    assert machine.run("tools/ci/test-image.sh", JOB=ONE).returncode == 0
    [pulled, tested] = machine.called()
    assert f"ARG BASE={pulled.split()[-1]}" in (ROOT / "jobs" / ONE / "Dockerfile").read_text()
    assert tested == f"make test-images ARGS=-k '[{ONE}]'"


def test_alerts_are_tested_with_an_unpacked_prometheus(machine: Machine) -> None:
    machine.stand_in("apt-get", "touch prometheus_1_amd64.deb")
    machine.stand_in("dpkg")
    machine.stand_in("make", 'echo "$PROMETHEUS $PROMTOOL" >>"$LOG"')
    ended = machine.run("tools/ci/monitoring.sh")
    assert ended.returncode == 0, ended.stderr
    [fetched, unpacked, made, programs] = machine.called()
    assert (fetched, made) == ("apt-get download -qq prometheus", "make monitoring")
    assert unpacked == "dpkg -x prometheus_1_amd64.deb ."
    folder = machine.repository.path / ".build/prometheus/usr/bin"
    assert programs == f"{folder}/prometheus {folder}/promtool"


def test_databases_are_tested_with_an_unpacked_pgbouncer(machine: Machine) -> None:
    machine.stand_in("apt-cache", 'printf "pgbouncer\\n  Depends: libc6\\n  Depends: libevent-2.1-7\\n"')
    machine.stand_in("apt-get", "touch pgbouncer_1_amd64.deb libevent_2_amd64.deb")
    machine.stand_in("dpkg", "mkdir -p usr/lib/any-linux-gnu")
    machine.stand_in("make", 'echo "$PGBOUNCER $LD_LIBRARY_PATH" >>"$LOG"')
    ended = machine.run("tools/ci/databases.sh")
    assert ended.returncode == 0, ended.stderr
    [_, fetched, *unpacked, made, programs] = machine.called()
    assert (fetched, made) == ("apt-get download -qq pgbouncer libevent-2.1-7", "make databases")
    assert len(unpacked) == 2
    folder = machine.repository.path / ".build/pgbouncer/usr"
    assert programs == f"{folder}/sbin/pgbouncer {folder}/lib/any-linux-gnu"


def test_the_login_names_the_registrys_host_and_passes_the_token_on_stdin(machine: Machine) -> None:
    machine.stand_in("docker", DOCKER)
    ended = machine.run("tools/ci/login.sh", REGISTRY=REGISTRY, REGISTRY_USER="a", REGISTRY_TOKEN="hush")
    assert ended.returncode == 0, ended.stderr
    assert machine.called() == ["docker login registry.example --username a --password-stdin"]
    assert Path(f"{machine.log}.stdin").read_text() == "hush\n"


@pytest.mark.parametrize("registry", ["", "registry.example", "registry.example/"])
def test_without_a_registry_the_login_says_what_to_set(machine: Machine, registry: str) -> None:
    ended = machine.run("tools/ci/login.sh", REGISTRY=registry, REGISTRY_USER="a", REGISTRY_TOKEN="hush")
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert "set the variable REGISTRY" in ended.stderr


def test_an_image_is_pushed_attested_and_signed_and_its_digest_kept_for_the_deploy(
    machine: Machine,
) -> None:
    machine.stand_in("docker", DOCKER)
    machine.stand_in("cosign")
    ended = machine.run("tools/ci/publish.sh", JOB=ONE, REGISTRY=REGISTRY, TAG="v1")
    assert ended.returncode == 0, ended.stderr
    [load, push] = [call for call in machine.called() if call.startswith("docker buildx build")]
    assert f" --load --provenance=false --tag {ONE}:dev " in load
    assert " --push --sbom=true --provenance=mode=max " in push
    assert f" --tag {REGISTRY}/{ONE}:v1 " in push
    assert f"{ONE}:dev" not in push
    assert machine.called()[-1] == f"cosign sign --yes {REGISTRY}/{ONE}@{DIGEST}"
    handed_on = next(step for step in workflows.steps() if step.uses.startswith("actions/upload-artifact@"))
    path = str(handed_on.content["with"]["path"]).replace("${{ matrix.job }}", ONE)
    assert (machine.repository.path / path).read_text() == f"{DIGEST}\n"


def test_the_provenance_does_not_contain_the_package_index(machine: Machine) -> None:
    machine.stand_in("docker", DOCKER)
    machine.stand_in("cosign")
    machine.run("tools/ci/publish.sh", JOB=ONE, REGISTRY=REGISTRY, TAG="v1", PIP_INDEX_URL="https://index.example")
    assert "--provenance=mode=min" in machine.log.read_text()
    assert "index.example" not in machine.log.read_text()


def test_without_a_digest_nothing_is_signed(machine: Machine) -> None:
    machine.stand_in("docker", DOCKER)
    machine.stand_in("cosign")
    ended = machine.run("tools/ci/publish.sh", JOB=ONE, REGISTRY=REGISTRY, TAG="v1", DIGEST="sha256:short")
    assert (ended.returncode, ended.stderr) == (1, f"publish: .build/images/{ONE}.json names no digest\n")
    assert "cosign" not in machine.log.read_text()


def test_only_images_that_this_workflow_signed_on_main_are_deployed(machine: Machine) -> None:
    machine.digests(ONE)
    machine.stand_in("cosign")
    assert machine.run("tools/ci/verify.sh", REGISTRY=REGISTRY).returncode == 0
    [call] = machine.called()
    assert "--certificate-identity https://git.example/team/keda-jobs/.github/workflows/ci.yml@refs/heads/main" in call
    assert call.endswith(f" {REGISTRY}/{ONE}@{DIGEST}")
    machine.stand_in("cosign", "exit 1")
    refused = machine.run("tools/ci/verify.sh", REGISTRY=REGISTRY)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)


def images(manifests: str) -> set[str]:
    """Find the images of our jobs in a stream of manifests."""
    words = str(list(yaml.safe_load_all(manifests))).replace("'", " ").split()
    return {word for word in words if "@sha256:" in word or word.endswith(":dev")}


def test_exactly_the_published_jobs_are_applied_by_digest_and_waited_for(machine: Machine) -> None:
    event, batch = job_names(EventJob)[0], job_names(BatchJob)[0]
    machine.digests(event, batch)
    machine.stand_in("kubectl", KUBECTL)
    existing = f"deployment/{event} scaledobject/{event} scaledjob/{batch}"
    ended = machine.run("tools/ci/deploy.sh", REGISTRY=REGISTRY, KUBECONFIG="/a/file", EXISTING=existing)
    assert ended.returncode == 0, ended.stderr
    assert images(Path(f"{machine.log}.applied").read_text()) == {
        f"{REGISTRY}/{job}@{DIGEST}" for job in (event, batch)
    }
    waits = [call.split()[1:4] for call in machine.called() if " wait " in call or " rollout " in call]
    assert waits == [
        ["rollout", "status", f"deployment/{event}"],
        ["wait", f"scaledobject/{event}", "--for"],
        ["wait", f"scaledjob/{batch}", "--for"],
    ]


def test_a_dry_run_shows_the_digest_instead_of_the_tag(machine: Machine) -> None:
    machine.digests(*ALL)
    ended = machine.run("tools/ci/deploy.sh --dry-run", REGISTRY=REGISTRY)
    assert ended.returncode == 0, ended.stderr
    assert images(ended.stdout) == {f"{REGISTRY}/{job}@{DIGEST}" for job in ALL}


def test_a_job_that_does_not_come_up_fails_the_deploy_in_one_line(machine: Machine) -> None:
    machine.digests(*ALL)
    machine.stand_in("kubectl", KUBECTL)
    failing = f"scaledobject/{job_names(EventJob)[0]}"
    ended = machine.run(
        "tools/ci/deploy.sh", REGISTRY=REGISTRY, KUBECONFIG="/a/file", EXISTING=failing, FAILING=failing
    )
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert f"not ready within 180s: {job_names(EventJob)[0]}; see: kubectl" in ended.stderr


@pytest.mark.parametrize("content", ["", "latest", "sha256:0", f"{DIGEST}\nv1"])
def test_an_invalid_digest_is_not_deployed(machine: Machine, content: str) -> None:
    machine.digests(ONE, content=content)
    machine.stand_in("kubectl", KUBECTL)
    ended = machine.run("tools/ci/deploy.sh", REGISTRY=REGISTRY, KUBECONFIG="/a/file")
    assert ended.returncode == 1
    assert "holds no digest" in ended.stderr
    assert not Path(f"{machine.log}.applied").exists()


def test_a_deploy_without_digests_registry_or_cluster_says_so(machine: Machine) -> None:
    assert machine.run("tools/ci/deploy.sh").stderr == "deploy: REGISTRY is not set\n"
    assert "no digest of any job" in machine.run("tools/ci/deploy.sh", REGISTRY=REGISTRY).stderr
    machine.digests(ONE)
    assert "there is no cluster" in machine.run("tools/ci/deploy.sh", REGISTRY=REGISTRY).stderr


def test_the_kubeconfig_is_private_and_removed(machine: Machine, tmp_path: Path) -> None:
    [key] = [name for name, value in workflows.step_of("tools/ci/deploy.sh").environment.items() if "secrets." in value]
    machine.digests(ONE)
    machine.stand_in("kubectl", KUBECTL)
    (tmp_path / "tmp").mkdir()
    environment = {"REGISTRY": REGISTRY, "TMPDIR": str(tmp_path / "tmp"), key: "hush"}
    ended = machine.run("tools/ci/deploy.sh", **environment)
    assert ended.returncode == 0, ended.stderr
    assert set(Path(f"{machine.log}.mode").read_text().split()) == {"600"}
    assert list((tmp_path / "tmp").iterdir()) == []
    assert "hush" not in ended.stdout + ended.stderr
