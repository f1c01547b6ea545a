"""An exporter as Prometheus sees it."""

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
    """The samples of one scrape by name, without `keda_jobs_`, and without the time that the reading took."""

    alone: Numbers
    """Those of no job."""

    jobs: Mapping[str, Numbers]
    """Those of each job, without its label and that of its consumer."""

    def __getitem__(self, job: str) -> Numbers:
        return self.jobs[job]


async def scrape(exporter: JobProcess) -> Scraped:
    """Ask `exporter` for its metrics."""
    found = Scraped({}, {})
    jobs: dict[str, Numbers] = {}
    for family in text_string_to_metric_families(await asyncio.to_thread(page, exporter)):
        for sample in family.samples:
            job, consumer = (sample.labels.pop(label, None) for label in ("job", "consumer"))
            assert consumer in (None, f"{job}-consumer")
            of_job = found.alone if job is None else jobs.setdefault(job, {})
            if "duration" not in sample.name:
                of_job[shown(sample.name, sample.labels)] = sample.value
    return Scraped(found.alone, jobs)


def page(exporter: JobProcess) -> str:
    """What it answers."""
    with urllib.request.urlopen(f"{exporter.http_url}/metrics", timeout=20) as answer:
        text: str = answer.read().decode()
    return text


def shown(name: str, labels: Mapping[str, str]) -> str:
    """A sample's short name with its labels."""
    pairs = ",".join(f'{label}="{value}"' for label, value in labels.items())
    short = name.removeprefix("keda_jobs_")
    return f"{short}{{{pairs}}}" if pairs else short
