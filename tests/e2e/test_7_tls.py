"""An environment with TLS everywhere: pictures and rows go through, strangers do not, and certificates are renewed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import pytest

import new_env
from environments import OVERLAYS, Environment, load
from stack.jobs import ROOT

from .cluster import CommandFailed, kubectl, objects, pictures_address, run, settings, until
from .conftest import JOB_IMAGES
from .traffic import events, new_numbers, not_done

NAME = "e2e-tls"
COMPONENTS = ("nats-tls", "postgres-ca", "store-ca", "test-servers-tls")
DOWNLOAD = "image-download"
PSQL = ("psql", "--username=keda_jobs", "--dbname=keda_jobs", "-qAt")
METRICS = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8080/metrics').read().decode())"


def inside(*command: str) -> str:
    """Run a command of the repository for the environment and return its output. Raises `CommandFailed`."""
    return run(*command, environment={"ENV": NAME, "TAG": "dev", "REGISTRY": ""})


@pytest.fixture(scope="module")
def encrypted(deployed: None) -> Iterator[Environment]:
    """Set up an environment with everything on, in the order of docs/tls.md, and deploy all jobs to it."""
    remove()
    overlay = new_env.make(NAME, "test") / "kustomization.yaml"
    lines = "".join(f"  - ../../components/{name}\n" for name in COMPONENTS)
    overlay.write_text(overlay.read_text().replace("components:\n", f"components:\n{lines}"))
    found = load(NAME)
    try:
        inside("k8s/setup-scripts/certificates.sh", "--yes")
        inside("k8s/setup-scripts/setup-all.sh", "--yes")
        inside("k8s/setup-scripts/keda-ca.sh", "--yes")
        # Before the jobs: a Deployment starts a pod, until KEDA says otherwise.
        settings(DOWNLOAD, found.jobs_namespace, DOWNLOAD_ALLOW_ADDRESSES=pictures_address(found.test_namespace))
        for image in JOB_IMAGES:
            inside("tools/deploy.sh", image.partition(":")[0])
        yield found
        inside("k8s/setup-scripts/teardown-all.sh", "--yes", "--delete-data")
    finally:
        remove()


def remove() -> None:
    """Remove what was made in this checkout."""
    for folder in (ROOT / OVERLAYS / NAME, ROOT / "k8s/.certificates" / NAME):
        shutil.rmtree(folder, ignore_errors=True)
    (ROOT / f"k8s/.env.{NAME}").unlink(missing_ok=True)


def test_a_picture_goes_from_nats_to_the_store(encrypted: Environment) -> None:
    send_a_picture(encrypted)


def send_a_picture(environment: Environment) -> None:
    """Publish an event, and wait for the thumbnail."""
    servers, numbers = environment.test_namespace, new_numbers(1)
    for event in events(numbers, servers=servers):
        inside("k8s/connect.sh", "keda-jobs", "pub", DOWNLOAD, json.dumps(event))
    until("its thumbnail is stored", lambda: not not_done(numbers, servers))


def test_keda_asks_postgresql_and_a_job_does_the_rows(encrypted: Environment) -> None:
    def sql(query: str) -> str:
        return kubectl("exec", "-n", encrypted.test_namespace, "deployment/postgres", "--", *PSQL, "-c", query).strip()

    sql("INSERT INTO users (email) VALUES ('a@example.org')")
    until("the row is settled", lambda: sql("SELECT count(*) FROM users WHERE batch_status = 'pending'") == "0")
    plain = (
        "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE client_addr IS NOT NULL AND NOT ssl"
    )
    assert sql(plain) == "0"


def test_the_exporter_reads_nats_and_postgresql(encrypted: Environment) -> None:
    def scraped() -> set[str]:
        exporter = ("-n", encrypted.jobs_namespace, "deployment/exporter")
        lines = kubectl("exec", *exporter, "--", "python", "-c", METRICS).splitlines()
        return {line.rpartition(" ")[2] for line in lines if line.startswith("keda_jobs_scrape_ok{")}

    until("it reads all of them", lambda: scraped() == {"1.0"})


def test_a_client_that_does_not_know_the_authority_is_refused(encrypted: Environment) -> None:
    with pytest.raises(CommandFailed, match="certificate verify failed"):
        inside("k8s/connect.sh", "env", "-u", "NATS_TLS_CA", "keda-jobs", "status")


def test_a_renewed_certificate_is_shown_without_a_restart(encrypted: Environment) -> None:
    place = ("-n", encrypted.nats_namespace)
    [before] = objects("pods", encrypted.nats_namespace, "app=nats")
    kubectl("delete", "secret", "nats-tls", *place)
    inside("k8s/setup-scripts/certificates.sh", "--yes")
    log = ("logs", *place, "nats-0", "-c", "reloader")
    until("the server reads it", lambda: "the certificate has changed, NATS reads it" in kubectl(*log))
    [after] = objects("pods", encrypted.nats_namespace, "app=nats")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert [one["restartCount"] for one in after["status"]["containerStatuses"]] == [0]
    send_a_picture(encrypted)
