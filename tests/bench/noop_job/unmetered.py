"""Program of `python -m noop_job.unmetered`: the same job without metrics."""

from unittest import mock

from prometheus_client import CollectorRegistry

from keda_jobs import run
from keda_jobs.event import main
from noop_job.job import JOB


class Nothing:
    """Metrics that accept every call and attribute, and do nothing."""

    def __init__(self, *_: object) -> None:
        self.registry = CollectorRegistry()

    def __getattr__(self, _name: str) -> "Nothing":
        return self

    def __call__(self, *_: object, **__: object) -> "Nothing":
        return self


if __name__ == "__main__":
    with mock.patch.object(main, "EventMetrics", Nothing):
        run(JOB)
