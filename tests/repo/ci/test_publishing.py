"""Steps of the workflows: tests of alerts and images, publishing, and updates of the locks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import changed_jobs
from stack.jobs import ROOT

from . import workflows
from .machine import DIGEST, DOCKER, GITHUB, REGISTRY, Machine
from .repository import ONE

ALL = changed_jobs.all_images(ROOT)
[PINNED] = re.findall(
    r"^FROM (\S+@sha256:[0-9a-f]{64})$", (ROOT / "tools/base-image/Dockerfile").read_text(), re.MULTILINE
)


def test_the_image_of_one_job_is_tested(machine: Machine) -> None:
    for name in ("docker", "make"):
        machine.stand_in(name)
    assert machine.run("tools/ci/test-image.sh", JOB=ONE).returncode == 0
    assert machine.called()[-2:] == [f"docker pull --quiet {PINNED}", f"make test-images ARGS=-k '[{ONE}]'"]


@pytest.mark.parametrize(
    ("image", "loaded"), [(ONE, f"import {ONE.replace('-', '_')}.job"), (changed_jobs.OPS, "assert all_jobs()")]
)
def test_the_image_is_built_and_started_on_arm64(machine: Machine, image: str, loaded: str) -> None:
    machine.stand_in("docker", f'echo "$DOCKER_DEFAULT_PLATFORM" >>"$LOG"\n{DOCKER}')
    ended = machine.run("tools/ci/try-arm64.sh", JOB=image)
    assert ended.returncode == 0, ended.stderr
    calls = [call for call in machine.called() if call.startswith("docker ")]
    assert set(machine.called()) - set(calls) >= {"linux/arm64"}
    assert any(f" --load --provenance=false --tag {image}:dev " in call for call in calls)
    assert calls[-1].startswith(f"docker run --rm --network none --entrypoint python {image}:dev -c")
    assert loaded in machine.log.read_text()


def test_every_image_stands_on_the_pinned_one_or_on_its_twin_made_here(machine: Machine) -> None:
    machine.stand_in("docker", DOCKER)
    assert machine.run("tools/build.sh --all", BASE="").returncode == 0
    builds = [call for call in machine.called() if call.startswith("docker buildx build")]
    assert len(builds) == len(ALL)
    assert all(f"--build-arg BASE={PINNED} " in call for call in builds)
    tag = PINNED.partition("@")[0]
    assert machine.run("tools/base-image.sh", BASE="mirror.example/python").stdout == "mirror.example/python\n"
    assert machine.run("tools/base-image.sh", DIGESTS_OF_BASE="0").stdout == f"{tag}\n"
    assert machine.run("tools/base-image.sh", DIGESTS_OF_BASE="1").stdout == f"{PINNED}\n"
    for dockerfile in [*map(changed_jobs.dockerfile, ALL), *ROOT.glob("tests/**/Dockerfile")]:
        assert f"ARG BASE={tag}\n" in dockerfile.read_text(), dockerfile


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


def test_the_page_is_tested_with_the_browser_of_the_machine(machine: Machine) -> None:
    machine.stand_in("chromium")
    machine.stand_in("apt-get")
    machine.stand_in("make")
    ended = machine.run("tools/ci/ui.sh")
    assert ended.returncode == 0, ended.stderr
    assert machine.called() == ["make test-ui"]


@pytest.mark.parametrize("user", ["0", "1001"], ids=["root", "a runner's user"])
def test_a_machines_package_lists_are_updated(machine: Machine, user: str) -> None:
    machine.stand_in("apt-get")
    machine.stand_in("id", f"echo {user}")
    machine.stand_in("sudo", '"$@"')
    assert machine.run("tools/ci/package-lists.sh").returncode == 0
    assert machine.called()[-1] == "apt-get update -qq"
    assert any(call.startswith("sudo ") for call in machine.called()) == (user != "0")


def test_the_login_names_the_registrys_host_and_passes_the_token_on_stdin(machine: Machine) -> None:
    machine.stand_in("docker", DOCKER)
    ended = machine.run("tools/ci/login.sh", REGISTRY=REGISTRY, REGISTRY_USER="a", REGISTRY_TOKEN="hush")
    assert ended.returncode == 0, ended.stderr
    assert machine.called() == ["docker login registry.example --username a --password-stdin"]
    assert Path(f"{machine.log}.stdin").read_text() == "hush\n"


@pytest.mark.parametrize(
    ("host", "user", "asked"),
    [
        ("1.dkr.ecr.eu-west-1.amazonaws.com", "AWS", "aws ecr get-login-password --region eu-west-1"),
        ("1.dkr.ecr.cn-north-1.amazonaws.com.cn", "AWS", "aws ecr get-login-password --region cn-north-1"),
        ("europe-docker.pkg.dev", "oauth2accesstoken", "gcloud auth print-access-token"),
        (
            "team.azurecr.io",
            "00000000-0000-0000-0000-000000000000",
            "az acr login --name team --expose-token --query accessToken --output tsv",
        ),
    ],
)
def test_a_clouds_registry_gets_a_password_of_the_workflows_identity(
    machine: Machine, host: str, user: str, asked: str
) -> None:
    machine.stand_in("docker", DOCKER)
    for cloud in ("aws", "gcloud", "az"):
        machine.stand_in(cloud, "echo hush")
    ended = machine.run("tools/ci/login.sh", REGISTRY=f"{host}/team", REGISTRY_USER="a", REGISTRY_TOKEN="not this")
    assert ended.returncode == 0, ended.stderr
    assert machine.called() == [asked, f"docker login {host} --username {user} --password-stdin"]
    assert Path(f"{machine.log}.stdin").read_text() == "hush\n"
    machine.stand_in(asked.split(maxsplit=1)[0], "echo no credentials >&2; exit 1")
    refused = machine.run("tools/ci/login.sh", REGISTRY=f"{host}/team", REGISTRY_USER="a", REGISTRY_TOKEN="not this")
    assert (refused.returncode, refused.stderr.splitlines()[-1][:32]) == (
        1,
        f"login: there is no password for {host}"[:32],
    )


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
    ended = machine.run("tools/ci/publish.sh", JOB=ONE, REGISTRY=REGISTRY)
    assert ended.returncode == 0, ended.stderr
    [load, push] = [call for call in machine.called() if call.startswith("docker buildx build")]
    assert f" --load --provenance=false --tag {ONE}:dev " in load
    assert " --platform linux/amd64,linux/arm64 --push --sbom=true --provenance=mode=max " in push
    assert f" --tag {REGISTRY}/{ONE}:{GITHUB['GITHUB_SHA']} " in push
    assert f"{ONE}:dev" not in push
    assert machine.called()[-1] == f"cosign sign --yes {REGISTRY}/{ONE}@{DIGEST}"
    handed_on = next(step for step in workflows.steps() if step.uses.startswith("actions/upload-artifact@"))
    path = str(handed_on.content["with"]["path"]).replace("${{ matrix.job }}", ONE)
    assert (machine.repository.path / path).read_text() == f"{DIGEST}\n"


def test_the_provenance_does_not_contain_the_package_index(machine: Machine) -> None:
    machine.stand_in("docker", DOCKER)
    machine.stand_in("cosign")
    machine.run("tools/ci/publish.sh", JOB=ONE, REGISTRY=REGISTRY, PIP_INDEX_URL="https://index.example")
    assert "--provenance=mode=min" in machine.log.read_text()
    assert "index.example" not in machine.log.read_text()


def test_without_a_digest_nothing_is_signed(machine: Machine) -> None:
    machine.stand_in("docker", DOCKER)
    machine.stand_in("cosign")
    ended = machine.run("tools/ci/publish.sh", JOB=ONE, REGISTRY=REGISTRY, DIGEST="sha256:short")
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


def test_newer_locks_are_one_pull_request_on_which_ci_runs(machine: Machine, tmp_path: Path) -> None:
    origin = tmp_path / "origin.git"
    machine.repository.git("init", "--quiet", "--bare", str(origin))
    machine.repository.git("remote", "add", "origin", str(origin))
    machine.stand_in("gh", "case $2 in create) exit 1 ;; esac")
    machine.stand_in("make")
    summary = {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}
    assert "no lock has a newer version" in machine.run("tools/ci/upgrade-locks.sh", **summary).stdout
    assert machine.called() == ["make lock ARGS=--upgrade"]

    machine.stand_in("make", f'echo "$UV_EXCLUDE_NEWER" >>"$LOG"; echo "# newer" >>jobs/{ONE}/requirements.txt')
    ended = machine.run("tools/ci/upgrade-locks.sh", **summary)
    assert ended.returncode == 0, ended.stderr
    assert machine.repository.git("diff", "--name-only", "base", "upgrade-locks") == f"jobs/{ONE}/requirements.txt"
    assert machine.repository.git("ls-remote", "origin", "upgrade-locks")
    assert "7 days" in machine.called()
    assert machine.called()[-1] == "gh workflow run ci.yml --ref upgrade-locks"
    # The repository does not let GitHub Actions open pull requests, as at first.
    assert "branch `upgrade-locks`" in (tmp_path / "summary").read_text()
