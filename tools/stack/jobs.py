"""The jobs and services as local processes. Nothing lists them: what lies in a folder of `jobs` tells its kind."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from keda_jobs.event.job import Handler
from stack.ports import HOST, check_port_free, free_port
from stack.process import Process, StackError
from stack.servers import http_status

ROOT = Path(__file__).resolve().parents[2]

# How a job or a client of ours is led to other servers.
_LEADING = ("NATS_", "R2_", "PG")


def event_jobs(root: Path = ROOT) -> list[str]:
    """The names of all event jobs: the folders of `jobs` that declare a consumer."""
    return sorted(path.parent.name for path in root.glob("jobs/*/consumer.json"))


def batch_jobs(root: Path = ROOT) -> list[str]:
    """The names of all batch jobs: the folders of `jobs` whose package has migrations."""
    return sorted(path.parents[2].name for path in root.glob("jobs/*/src/*/migrations"))


def services(root: Path = ROOT) -> list[str]:
    """The names of what runs beside the jobs: the folders of `jobs` whose package has a module `service`."""
    return sorted(path.parents[2].name for path in root.glob("jobs/*/src/*/service.py"))


def package_of(job: str) -> str:
    """The Python package of a job."""
    return job.replace("-", "_")


def module_of(job: str, module: str) -> ModuleType:
    """A module of a job's package. Raises `StackError`, as where the job is not installed."""
    name = f"{package_of(job)}.{module}"
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise StackError(f"{job}: {name} cannot be imported ({error}); run `make setup`") from error


def handler_of(job: str) -> Handler:
    """The handler of an event job: what its package's module `handler` makes of an event and a context.

    Raises `StackError`.
    """
    module = module_of(job, "handler")
    name = module.__name__
    functions = [found for _, found in inspect.getmembers(module, inspect.iscoroutinefunction)]
    made_there: list[Handler] = [found for found in functions if found.__module__ == name]
    handlers = [found for found in made_there if len(inspect.signature(found).parameters) == 2]
    if len(handlers) != 1:
        raise StackError(f"{job}: {name} needs one async function of an event and a context; it has {len(handlers)}")
    return handlers[0]


def led_to(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` and the variables of this process, without those that lead to other servers."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(_LEADING)}
    return {**own, **environment}


class JobProcess(Process):
    """`python -m <package>` of one job, led to the servers that `environment` names."""

    def __init__(self, job: str, environment: Mapping[str, str], log: Path, http_port: int = 0) -> None:
        super().__init__(job, log)
        self.http_port = http_port or free_port()
        self._environment = environment

    @property
    def http_url(self) -> str:
        """Base of `/healthz`, `/readyz` and `/metrics`."""
        return f"http://{HOST}:{self.http_port}"

    def prepare(self) -> None:
        option = "--service-port" if self.name in services() else "--http-port"
        check_port_free(self.name, self.http_port, option)

    def command(self) -> list[str]:
        return [sys.executable, "-m", package_of(self.name)]

    def process_environment(self) -> dict[str, str]:
        return {**led_to(self._environment), "HTTP_PORT": str(self.http_port)}

    def last_line(self) -> str:
        line = super().last_line()
        try:
            return str(json.loads(line)["message"])
        except (ValueError, TypeError, KeyError):
            return line

    def answers(self) -> bool:
        return http_status(f"{self.http_url}/readyz") == 200


class BatchWorker(JobProcess):
    """A worker of a batch job: it answers once it has claimed rows, and ends by itself when nothing is claimable."""

    def __init__(self, job: str, environment: Mapping[str, str], log: Path, pod_name: str) -> None:
        super().__init__(job, {**environment, "POD_NAME": pod_name}, log)

    @property
    def is_done(self) -> bool:
        return self.exit_code == 0
