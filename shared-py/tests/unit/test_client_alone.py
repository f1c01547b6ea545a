"""What an application installs to send events: nats-py, pydantic and what these need."""

from __future__ import annotations

import subprocess
import sys

import keda_jobs
import keda_jobs.storage
import keda_jobs.testing

# pydantic's own needs, and the module that Python's build has written.
NEEDED = ("annotated_types", "pydantic_core", "typing_extensions", "typing_inspection", "_sysconfigdata")
ALLOWED = ("keda_jobs", "nats", "pydantic", *NEEDED)
PROGRAM = f"""
import sys

class Uninstalled:
    def find_spec(self, name, path=None, target=None):
        root = name.partition(".")[0]
        if root not in sys.stdlib_module_names and not root.startswith({ALLOWED}):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Uninstalled())
from keda_jobs import Event, client, errors
from keda_jobs.testing import InMemorySyncClient

class Order(Event, subject="order"):
    number: int

with InMemorySyncClient() as jobs:
    print(jobs.publish(Order(number=17), id="17"))
try:
    client.connect_sync("nats://127.0.0.1:4222", creds="/nowhere")
except errors.Misconfigured as error:
    print(error)
"""


def test_the_client_needs_nats_py_and_pydantic_alone() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    receipt, error = done.stdout.splitlines()
    assert receipt == "Receipt(stream='keda-jobs-events', sequence=1, id='17', duplicate=False)"
    assert error == "NATS_CREDS: there is no file of that name; set the path of a file that is mounted"


def test_each_public_name_can_be_imported() -> None:
    for package in (keda_jobs, keda_jobs.storage, keda_jobs.testing):
        assert [name for name in package.__all__ if not hasattr(package, name)] == []
