"""Fixtures for Docker and the images `<job>:dev`. `make build-all` builds them, and these tests do not."""

from __future__ import annotations

import contextlib
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Mapping

import docker
import pytest
from docker.errors import DockerException, ImageNotFound
from docker.models.images import Image

from stack import free_port
from stack.jobs import ROOT
from stack.ports import HOST

from . import containers
from .containers import IMAGES, JOBS, Running

TEST_SERVERS = "keda-jobs-test-servers:dev"
BASE = subprocess.run([ROOT / "tools/base-image.sh"], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="session")
def client() -> Iterator[docker.DockerClient]:
    """Connect to the Docker daemon."""
    try:
        client = docker.from_env()
    except DockerException:
        pytest.exit("Docker does not answer: start it, or set DOCKER_HOST", returncode=1)
    yield client
    client.close()


def existing(client: docker.DockerClient, name: str, fix: str) -> Image:
    """Return the image `name`, or fail the test with one line that says how to get it."""
    with contextlib.suppress(ImageNotFound):
        return client.images.get(name)
    pytest.fail(f"there is no image {name}: run `{fix}`", pytrace=False)


@pytest.fixture(params=JOBS)
def job(request: pytest.FixtureRequest) -> str:
    """Return each job in turn."""
    return str(request.param)


@pytest.fixture(params=IMAGES)
def name(request: pytest.FixtureRequest) -> str:
    """Return the name of each image in turn."""
    return str(request.param)


@pytest.fixture
def image(client: docker.DockerClient, name: str) -> Image:
    """Return the image `name`."""
    return existing(client, f"{name}:dev", f"make build JOB={name}")


@pytest.fixture
def image_of_job(client: docker.DockerClient, job: str) -> Image:
    """Return the image of `job`."""
    return existing(client, f"{job}:dev", f"make build JOB={job}")


@pytest.fixture
def base(client: docker.DockerClient) -> Image:
    """Return the base of the images."""
    return existing(client, BASE, f"docker pull {BASE}")


@pytest.fixture
def servers_image(client: docker.DockerClient) -> str:
    """Return the name of the image with the servers of test clusters."""
    existing(client, TEST_SERVERS, "make build-test-servers")
    return TEST_SERVERS


@pytest.fixture(scope="session")
def files_of(client: docker.DockerClient) -> Callable[[Image], Mapping[str, tarfile.TarInfo]]:
    """Return a function that lists the files of an image, once per session."""
    known: dict[str, Mapping[str, tarfile.TarInfo]] = {}

    def read(image: Image) -> Mapping[str, tarfile.TarInfo]:
        name = str(image.id)
        if name not in known:
            known[name] = containers.files_of(client, name)
        return known[name]

    return read


@pytest.fixture
def start(client: docker.DockerClient) -> Iterator[Callable[..., Running]]:
    """Return a function that starts a container: `start("image-resize:dev", environment)`."""
    started: list[Running] = []

    def start_one(image: str, environment: Mapping[str, str], *command: str) -> Running:
        started.append(containers.start(client, image, environment, list(command)))
        return started[-1]

    yield start_one
    for running in started:
        running.container.remove(force=True)


@pytest.fixture
def nowhere() -> dict[str, str]:
    """Return settings with which any job starts, for servers that do not exist."""
    return {
        "NATS_URL": f"nats://{HOST}:{free_port()}",
        "R2_ENDPOINT_URL": f"http://{HOST}:{free_port()}",
        "R2_ACCESS_KEY_ID": "key",
        "R2_SECRET_ACCESS_KEY": "secret",
        "R2_BUCKET": "bucket",
        "PG_DSN": f"postgresql://worker@{HOST}:{free_port()}/database",
    }
