"""Handler of users-batch: validates and normalizes one user."""

from __future__ import annotations

from typing import NamedTuple

from keda_jobs.batch import BatchContext
from users_batch.address import normal_address
from users_batch.name import normal_name
from users_batch.settings import Settings


class User(NamedTuple):
    """Columns that are read."""

    name: str | None
    email: str | None


class Profile(NamedTuple):
    """Columns that are written."""

    normalized_name: str
    normalized_email: str
    email_domain: str
    country: str | None


async def normalize(user: User, _job: BatchContext[Settings]) -> Profile:
    """Return the user in normal form. Raises `InvalidUser`, which names the field."""
    return Profile(normal_name(user.name), *normal_address(user.email))
