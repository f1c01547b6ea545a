"""Each image as a process: it starts before its servers, names missing settings, and stops on SIGTERM."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from docker.models.images import Image

from keda_jobs.batch import BatchJob
from keda_jobs.event.job import EventJob
from stack.jobs import ROOT, job_names, load_job

from .containers import USER, Running

Start = Callable[..., Running]

MAY_WRITE = """
import os
for folder in ("/", "/app", "/venv", "/tmp"):
    try:
        open(os.path.join(folder, "probe"), "w").close()
        print(folder)
    except OSError:
        pass
"""


def required(job: str) -> list[str]:
    """Return the variables that `job` requires."""
    settings = load_job(ROOT / "jobs" / job).settings
    return [name.upper() for name, field in settings.model_fields.items() if field.is_required()]


@pytest.mark.usefixtures("image_of_job")
def test_it_is_alive_before_its_servers_and_stops_on_sigterm(job: str, start: Start, nowhere: dict[str, str]) -> None:
    running = start(f"{job}:dev", nowhere)
    running.wait_for("/healthz")
    # A service is ready without its servers: its metrics report that they are unavailable.
    assert running.status("/readyz") == (503 if job in job_names(EventJob, BatchJob) else 200)
    assert running.stop() == 0


@pytest.mark.usefixtures("image_of_job")
def test_a_missing_setting_is_named_in_one_line(job: str, start: Start, nowhere: dict[str, str]) -> None:
    for missing in required(job):
        running = start(f"{job}:dev", {name: value for name, value in nowhere.items() if name != missing})
        assert running.exit_code() == 2
        (line,) = running.log().splitlines()
        assert json.loads(line)["message"] == f"{missing} is not set"


@pytest.mark.usefixtures("image_of_job")
def test_it_has_no_rights_and_writes_only_to_tmp(job: str, start: Start, nowhere: dict[str, str]) -> None:
    running = start(f"{job}:dev", nowhere)
    running.wait_for("/healthz")
    status = dict(line.split(":\t", 1) for line in running.python("print(open('/proc/1/status').read())").splitlines())
    assert set(status["Uid"].split()) | set(status["Gid"].split()) == {USER}
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    assert running.python(MAY_WRITE) == "/tmp"


def test_it_runs_as_its_user_by_default(image: Image) -> None:
    assert image.attrs["Config"]["User"] == f"{USER}:{USER}"
    assert image.attrs["Config"].get("Healthcheck") is None
