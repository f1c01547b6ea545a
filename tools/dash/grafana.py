"""Grafana in Docker, with Prometheus as its data source and the dashboards of k8s/monitoring."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from stack.jobs import ROOT
from stack.ports import HOST, free_port
from stack.process import Process, StackError
from stack.servers import http_status

IMAGE = "grafana/grafana:12.3.2"
PROVISIONING = Path(__file__).parent / "grafana" / "provisioning"
DASHBOARDS = ROOT / "k8s" / "monitoring" / "dashboards"
_NAME = "keda-jobs-grafana"
_IN_CONTAINER = "/etc/dashboards"
_SETTINGS = {
    "GF_AUTH_ANONYMOUS_ENABLED": "true",
    "GF_AUTH_ANONYMOUS_ORG_ROLE": "Admin",
    "GF_ANALYTICS_REPORTING_ENABLED": "false",
    "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
    "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
    "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH": f"{_IN_CONTAINER}/overview.json",
}


def get_image() -> None:
    """Pull the image unless Docker has it. Raises `StackError` with the reason."""
    if shutil.which("docker") is None:
        raise StackError("docker is not installed")
    if _docker("image", "inspect", IMAGE).returncode == 0:
        return
    pulled = _docker("pull", "--quiet", IMAGE)
    if pulled.returncode != 0:
        lines = pulled.stderr.strip().splitlines() or ["no error message"]
        raise StackError(f"docker cannot pull {IMAGE}: {lines[-1]}")


class Grafana(Process):
    """Grafana in a container, open to every user of this machine. It keeps nothing."""

    def __init__(self, folder: Path, prometheus_port: int, port: int = 0) -> None:
        super().__init__("Grafana", folder / "grafana.log")
        self.port = port or free_port()
        self._prometheus_port = prometheus_port

    @property
    def url(self) -> str:
        """Address of the overview."""
        return f"http://{HOST}:{self.port}"

    def prepare(self) -> None:
        # A killed `make dash` leaves its container running.
        _docker("rm", "--force", _NAME)

    def command(self) -> list[str]:
        settings = {**_SETTINGS, **self._addresses()}
        return [
            *("docker", "run", "--rm", "--name", _NAME, *self._network()),
            *(f"--env={name}={value}" for name, value in settings.items()),
            f"--volume={PROVISIONING}:/etc/grafana/provisioning:ro",
            f"--volume={DASHBOARDS}:{_IN_CONTAINER}:ro",
            IMAGE,
        ]

    def answers(self) -> bool:
        return http_status(f"{self.url}/api/health") == 200

    def _network(self) -> list[str]:
        """Use the host's network, where Prometheus listens on loopback. Docker Desktop reaches it by a name."""
        return ["--network=host"] if _on_linux() else [f"--publish={HOST}:{self.port}:{self.port}"]

    def _addresses(self) -> dict[str, str]:
        prometheus = HOST if _on_linux() else "host.docker.internal"
        return {
            "GF_SERVER_HTTP_ADDR": HOST if _on_linux() else "",
            "GF_SERVER_HTTP_PORT": str(self.port),
            "PROMETHEUS_URL": f"http://{prometheus}:{self._prometheus_port}",
        }


def _on_linux() -> bool:
    return sys.platform == "linux"


def _docker(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
