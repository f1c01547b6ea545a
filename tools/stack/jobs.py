"""Jobs of the repository, read from the `JOB` that each package declares, and jobs as local processes."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from keda_jobs.runtime.job import Job
from stack.ports import HOST, check_port_free, free_port
from stack.process import Process, StackError
from stack.servers import http_status

ROOT = Path(__file__).resolve().parents[2]

# Prefixes of variables that name servers.
_SERVERS = ("NATS_", "R2_", "PG")

J = TypeVar("J", bound=Job)


def all_jobs(root: Path = ROOT) -> list[Job]:
    """Load every job: the folders of `jobs/` whose package has a module `job`. Raises `StackError`."""
    return [load_job(path.parents[2]) for path in sorted(root.glob("jobs/*/src/*/job.py"))]


def jobs_of(kind: type[J]) -> list[J]:
    """Load the jobs of one kind. Raises `StackError`."""
    return [job for job in all_jobs() if isinstance(job, kind)]


def job_names(*kinds: type[Job]) -> list[str]:
    """List the names of the jobs of these kinds, of all by default. Raises `StackError`."""
    return [job.name for job in all_jobs() if not kinds or isinstance(job, kinds)]


def load_job(folder: Path) -> Job:
    """Load the `JOB` of the package in `folder`. Raises `StackError`."""
    name = f"{package_name(folder.name)}.job"
    sys.path.insert(0, str(folder / "src"))
    try:
        job = importlib.import_module(name).JOB
    except (ImportError, AttributeError, NameError, TypeError) as error:
        raise StackError(f"{folder.name}: {name}.JOB cannot be loaded ({error}); run `make setup`") from error
    finally:
        sys.path.remove(str(folder / "src"))
    if not isinstance(job, Job) or job.name != folder.name:
        raise StackError(f"{folder.name}: {name}.JOB is {job!r}, not a job called {folder.name}")
    return job


def package_name(job: str) -> str:
    """Return the name of a job's Python package."""
    return job.replace("-", "_")


def isolated_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Add `environment` to the variables of this process, without those that name other servers."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(_SERVERS)}
    return {**own, **environment}


class JobProcess(Process):
    """`python -m <package>` of one job, with the servers that `environment` names."""

    def __init__(
        self,
        job: str,
        environment: Mapping[str, str],
        log: Path,
        http_port: int = 0,
        port_option: str = "--http-port",
    ) -> None:
        super().__init__(job, log)
        self.http_port = http_port or free_port()
        self._environment = environment
        self._port_option = port_option

    @property
    def http_url(self) -> str:
        """Base URL of `/healthz`, `/readyz` and `/metrics`."""
        return f"http://{HOST}:{self.http_port}"

    def prepare(self) -> None:
        check_port_free(self.name, self.http_port, self._port_option)

    def command(self) -> list[str]:
        return [sys.executable, "-m", package_name(self.name)]

    def process_environment(self) -> dict[str, str]:
        return {**isolated_environment(self._environment), "HTTP_PORT": str(self.http_port)}

    def last_line(self) -> str:
        line = super().last_line()
        try:
            return str(json.loads(line)["message"])
        except (ValueError, TypeError, KeyError):
            return line

    def answers(self) -> bool:
        return http_status(f"{self.http_url}/readyz") == 200


class BatchWorker(JobProcess):
    """Worker of a batch job. It answers once it has claimed rows, and ends by itself when nothing is claimable."""

    def __init__(self, job: str, environment: Mapping[str, str], log: Path, pod_name: str) -> None:
        super().__init__(job, {**environment, "POD_NAME": pod_name}, log)

    @property
    def is_done(self) -> bool:
        return self.exit_code == 0
