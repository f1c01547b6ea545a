"""The lock of a job has what the job imports, and no client of a server that it does not use."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import packages_distributions

import pytest

from keda_jobs.runtime.job import Job
from stack import all_jobs
from stack.jobs import ROOT, package_name

PROGRAM = """
import sys
from importlib import import_module
from importlib.util import find_spec

package, *uninstalled = sys.argv[1:]

class Uninstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in uninstalled:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Uninstalled())
job = import_module(f"{package}.job").JOB
room = type(job).__module__.rpartition(".")[0]
if find_spec(f"{room}.main"):
    import_module(f"{room}.main")
from keda_jobs.runtime import health, start
from keda_jobs.settings import StoreSettings
if issubclass(job.settings, StoreSettings):
    from keda_jobs.storage import S3Bucket
"""


def locked_packages(job: Job) -> set[str]:
    lock = (ROOT / "jobs" / job.name / "requirements.txt").read_text()
    return {name.lower().replace("_", "-") for name in re.findall(r"^([\w.-]+)==", lock, re.MULTILINE)}


@pytest.mark.parametrize("job", all_jobs(), ids=lambda job: job.name)
def test_a_job_can_be_imported_with_its_lock_alone(job: Job) -> None:
    installed = locked_packages(job) | {"keda-jobs", job.name}
    uninstalled = [
        module
        for module, distributions in packages_distributions().items()
        if not any(name.lower().replace("_", "-") in installed for name in distributions)
    ]
    assert "typer" in uninstalled
    command = [sys.executable, "-c", PROGRAM, package_name(job.name), *uninstalled]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""


@pytest.mark.parametrize("job", all_jobs(), ids=lambda job: job.name)
def test_an_image_has_the_client_of_a_server_that_its_job_uses_and_no_other(job: Job) -> None:
    packages = locked_packages(job)
    fix = f"change the extras of keda-jobs in jobs/{job.name}/pyproject.toml, then run `make lock`"
    assert ("aioboto3" in packages) == ("r2_bucket" in job.settings.model_fields), fix
    assert ("asyncpg" in packages) == ("pg_dsn" in job.settings.model_fields), fix
