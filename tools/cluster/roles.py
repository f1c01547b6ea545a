"""Roles of PostgreSQL that log in, and their passwords."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping

from cluster.errors import ClusterError
from keda_jobs.batch import BatchJob
from keda_jobs.claims.roles import login_roles
from stack.jobs import jobs_of

# Pods put it into a URL by $(VARIABLE), which quotes nothing.
_URL_SAFE = re.compile(r"[A-Za-z0-9_.~-]+")
_PASSWORD_BYTES = 24


def roles() -> list[str]:
    """List the roles that log in, of all batch jobs, each once."""
    return list(dict.fromkeys(role for job in jobs_of(BatchJob) for role in login_roles(job.table)))


def passwords(given: Mapping[str, str], kept: Mapping[str, str]) -> dict[str, str]:
    """Choose a password for each role: `<ROLE>_PASSWORD` of `given`, else the one in `kept`, else a new one.

    Raises `ClusterError`.
    """
    found = {}
    for role in roles():
        variable = f"{role.upper()}_PASSWORD"
        password = given.get(variable) or kept.get(role) or secrets.token_urlsafe(_PASSWORD_BYTES)
        if not _URL_SAFE.fullmatch(password):
            raise ClusterError(f"{variable} may contain only letters, digits and _ . ~ -: it becomes part of a URL")
        found[role] = password
    return found
