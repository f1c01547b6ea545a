"""Scrapes of an exporter, parsed as Prometheus does."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from stack import JobProcess

Numbers = dict[str, float]


@dataclass(frozen=True, slots=True)
class Scraped:
    """Samples of one scrape by name, without the prefix `keda_jobs_` and without the durations."""

    shared: Numbers
    """Samples without a job."""

    jobs: Mapping[str, Numbers]
    """Samples of each job, without the labels `job` and `consumer`."""

    def __getitem__(self, job: str) -> Numbers:
        return self.jobs[job]


async def scrape(exporter: JobProcess) -> Scraped:
    """Scrape `exporter` and parse its metrics."""
    shared: Numbers = {}
    jobs: dict[str, Numbers] = {}
    for family in text_string_to_metric_families(await asyncio.to_thread(page, exporter)):
        for sample in family.samples:
            job, consumer = (sample.labels.pop(label, None) for label in ("job", "consumer"))
            assert consumer in (None, f"{job}-consumer")
            numbers = shared if job is None else jobs.setdefault(job, {})
            if "duration" not in sample.name:
                numbers[_short_name(sample.name, sample.labels)] = sample.value
    return Scraped(shared, jobs)


def page(exporter: JobProcess) -> str:
    """Return the text of `/metrics`."""
    with urllib.request.urlopen(f"{exporter.http_url}/metrics", timeout=20) as response:
        text: str = response.read().decode()
    return text


def _short_name(name: str, labels: Mapping[str, str]) -> str:
    pairs = ",".join(f'{label}="{value}"' for label, value in labels.items())
    short = name.removeprefix("keda_jobs_")
    return f"{short}{{{pairs}}}" if pairs else short
