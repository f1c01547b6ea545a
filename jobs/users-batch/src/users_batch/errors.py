"""Why a user is refused."""

from keda_jobs.errors import Permanent


class InvalidUser(Permanent):
    """A field is wrong, and trying again cannot help. The text names the field and never what stands in it."""
