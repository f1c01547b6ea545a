"""Errors of users-batch."""

from keda_jobs.errors import Permanent


class InvalidUser(Permanent):
    """A field is invalid, so a retry cannot help. The message names the field and never its content."""
