"""Containers of the jobs' images, with the restrictions of the pods in the manifests."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import docker
from docker.models.containers import Container

import changed_jobs
from stack import free_port, wait_until
from stack.ports import HOST
from stack.servers import http_status

JOBS = changed_jobs.all_jobs()
OPS = changed_jobs.OPS
IMAGES = changed_jobs.all_images()

# As in the manifests, longer than a job's SHUTDOWN_GRACE_S.
GRACE_S = 40
USER = "10001"


@dataclass(frozen=True, slots=True)
class Running:
    """Container on the host's network, with the port of its probes."""

    container: Container
    http_port: int

    def status(self, path: str) -> int | None:
        """Return the status of a probe, or None without an answer. Fail the test if the container has stopped."""
        self.container.reload()
        assert self.container.status == "running", self.log()
        return http_status(f"http://{HOST}:{self.http_port}{path}")

    def wait_for(self, path: str) -> None:
        """Wait until a probe returns 200. Raises `TimeoutError`."""
        wait_until(lambda: self.status(path) == 200, 30)

    def log(self) -> str:
        """Return the output of the process."""
        return b"".join(self.container.logs(stream=True, follow=False)).decode()

    def python(self, program: str) -> str:
        """Run `program` inside the container and return its output. Fail the test if the program fails."""
        code, output = self.container.exec_run(["python", "-c", program])
        assert isinstance(output, bytes)
        assert code == 0, output.decode()
        return output.decode().strip()

    def exit_code(self, deadline_s: float = 60) -> int:
        """Wait for the process to stop and return its exit code."""
        return int(self.container.wait(timeout=deadline_s)["StatusCode"])

    def stop(self) -> int:
        """Send SIGTERM and return the exit code, 137 if the process exceeds the grace period."""
        self.container.stop(timeout=GRACE_S)
        return self.exit_code()


def start(client: docker.DockerClient, image: str, environment: Mapping[str, str], command: list[str]) -> Running:
    """Start a container on the host's network."""
    port = free_port()
    container = client.containers.run(
        image,
        command,
        detach=True,
        network_mode="host",
        environment={**environment, "HTTP_PORT": str(port)},
        read_only=True,
        tmpfs={"/tmp": "size=64m"},
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        mem_limit="512m",
    )
    return Running(container, port)


def files_of(client: docker.DockerClient, image: str) -> dict[str, tarfile.TarInfo]:
    """List the file system of `image` by path."""
    container = client.containers.create(image, ["none"])
    try:
        with tempfile.TemporaryFile() as archive:
            for piece in container.export():
                archive.write(cast("bytes", piece))
            archive.seek(0)
            with tarfile.open(fileobj=archive) as members:
                return {f"/{member.name}": member for member in members}
    finally:
        container.remove()
