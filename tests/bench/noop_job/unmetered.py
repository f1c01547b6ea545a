"""`python -m noop_job.unmetered`: the same job, and nobody counts."""

from unittest import mock

from prometheus_client import CollectorRegistry

from keda_jobs import JobSettings, run
from keda_jobs.event import process as lifecycle
from noop_job.__main__ import ping


class Nothing:
    """Takes every call and every name of the metrics, and does nothing."""

    def __init__(self, *_: object) -> None:
        self.registry = CollectorRegistry()

    def __getattr__(self, _name: str) -> "Nothing":
        return self

    def __call__(self, *_: object, **__: object) -> "Nothing":
        return self


if __name__ == "__main__":
    with mock.patch.object(lifecycle, "Metrics", Nothing):
        run(ping, JobSettings)
