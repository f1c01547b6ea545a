"""Secrets of the NATS users, made like a setup does."""

from __future__ import annotations

import base64
from typing import Any

from keda_jobs.batch import BatchJob
from keda_jobs.event.job import EventJob
from nats_users import logins_of, users, wanted
from stack import NatsServer, job_names
from stack.jobs import jobs_of

NOTHING: dict[str, Any] = {"apiVersion": "v1", "kind": "List", "items": []}
JOBS = job_names(EventJob)
SENDERS = [job.name for job in jobs_of(BatchJob) if job.outputs.events]
"""Batch jobs that send events."""


def made_of(listed: dict[str, Any]) -> dict[str, Any]:
    """Make all Secrets where those of a list exist."""
    return {**NOTHING, "items": list(wanted(users(), logins_of(listed["items"])))}


def content(secret: dict[str, Any]) -> dict[str, str]:
    return {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}


def by_name(listed: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {secret["metadata"]["name"]: secret for secret in listed["items"]}


def settings_of(server: NatsServer, made: dict[str, Any], user: str) -> dict[str, Any]:
    """Return the settings by which a user logs in to the server."""
    login = content(by_name(made)[f"nats-{user}"])
    return {"nats_url": server.url, **{name.lower(): value for name, value in login.items()}}
