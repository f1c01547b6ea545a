"""Why a picture gets no thumbnail; the class names stand in the dead letters. Another try would end the same."""

from keda_jobs.errors import Permanent


class ForeignKey(Permanent):
    """The event's key is not that of an original."""


class NotAPicture(Permanent):
    """The object is in none of the formats that are opened."""


class BrokenPicture(Permanent):
    """The object begins like a picture and cannot be decoded."""


class TooManyPixels(Permanent):
    """The picture has more than RESIZE_MAX_PIXELS."""


class TooCostly(Permanent):
    """Decoding takes more memory or time than a picture of its size deserves."""
