"""Files of a job, and the Dockerfile of keda-jobs-ops, from the templates."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jinja2

import changed_jobs
import environments
from generated_files import GeneratedFile
from job_files.job_toml import JobToml
from keda_jobs.batch import BatchJob
from keda_jobs.claims.roles import EXPORTER, scaler_role, worker_role
from keda_jobs.domain.subjects import STREAM, due_subject, durable_name
from keda_jobs.event.job import EventJob
from keda_jobs.long import LongJob
from keda_jobs.runtime.job import Job
from keda_jobs.settings import NatsSettings, StoreSettings
from stack.jobs import ROOT, all_jobs, package_name

_BESIDE_THE_HANDLER_S = 3600
"""Time that a long job's pod may take beside HANDLER_TIMEOUT_S."""

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=jinja2.select_autoescape(),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_ENVIRONMENT.filters["quoted"] = lambda value: json.dumps(str(value), ensure_ascii=False)


def job_files(root: Path = ROOT) -> Iterator[GeneratedFile]:
    """Render the files of every job. Raises `SourceError`."""
    jobs = all_jobs(root)
    has_queues = any(isinstance(job, BatchJob) for job in jobs)
    for job in jobs:
        toml = JobToml(root / "jobs" / job.name / "job.toml", job, jobs, f"jobs/{job.name}/job.toml")
        words = _words(job, toml, has_queues)
        for name, template in _templates(job).items():
            yield GeneratedFile(root / "jobs" / job.name / name, _ENVIRONMENT.get_template(template).render(words))


def ops_dockerfile(root: Path = ROOT) -> GeneratedFile:
    """Render the Dockerfile of the image for use inside a cluster, which is built like those of jobs."""
    text = _ENVIRONMENT.get_template("ops.Dockerfile.j2").render(name=changed_jobs.OPS)
    return GeneratedFile(changed_jobs.dockerfile(changed_jobs.OPS, root), text)


def _templates(job: Job) -> dict[str, str]:
    """Return the template of each file."""
    names = {name: f"{name}.j2" for name in ("Dockerfile", "kustomization.yaml")}
    if isinstance(job, EventJob):
        names["consumer.json"] = "consumer.json.j2"
    return names | {"service.yaml": f"{job.kind}.yaml.j2"}


def _words(job: Job, toml: JobToml, has_queues: bool) -> Mapping[str, Any]:
    """Collect what the templates use: the keys of job.toml, and what `JOB` says."""
    bases = job.settings.mro()
    words = {
        "name": job.name,
        "package": package_name(job.name),
        "environment": environments.load(environments.DEFAULT),
        "has_nats": NatsSettings in bases,
        "has_store": StoreSettings in bases,
        "has_database": has_queues and not isinstance(job, EventJob),
        "comment": toml.comment,
        **dict(toml.values),
    }
    match job:
        case LongJob():
            return words | _words_of_event_job(job, toml) | _words_of_long_job(toml)
        case EventJob():
            return words | _words_of_event_job(job, toml)
        case BatchJob():
            return words | _words_of_batch_job(job, toml)
        case _:
            return words | {"role": EXPORTER}


def _words_of_event_job(job: EventJob, toml: JobToml) -> dict[str, Any]:
    return {
        "stream": STREAM,
        "consumer": durable_name(job.name),
        "subject": job.event.subject,
        "due_subject": due_subject(job.name),
        "ack_wait_ns": int(toml.setting("ack_wait_s") * 10**9),
        "grace_s": int(toml.setting("shutdown_grace_s")),
    }


def _words_of_long_job(toml: JobToml) -> dict[str, Any]:
    handler_timeout_s = int(toml.setting("handler_timeout_s"))
    return {"handler_timeout_s": handler_timeout_s, "deadline_s": handler_timeout_s + _BESIDE_THE_HANDLER_S}


def _words_of_batch_job(job: BatchJob, toml: JobToml) -> dict[str, Any]:
    own_name = getattr(toml.values, "trigger_authentication", None)
    return {
        "role": worker_role(job.table),
        "scaler": scaler_role(job.table),
        "claimable": job.table.claimable,
        "claim_size": toml.setting("claim_size"),
        "grace_s": int(toml.setting("shutdown_grace_s")),
        "trigger_authentication": own_name or f"{job.name}-pgconn",
    }
