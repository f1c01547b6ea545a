"""Reasons why a picture gets no thumbnail. Dead letters show the class names."""

from keda_jobs.errors import Permanent


class ForeignKey(Permanent):
    """The event's key is not the key of an original."""


class NotAPicture(Permanent):
    """The object is not a picture in an accepted format."""


class BrokenPicture(Permanent):
    """The object begins like a picture but cannot be decoded."""


class TooManyPixels(Permanent):
    """The picture has more than RESIZE_MAX_PIXELS."""


class TooCostly(Permanent):
    """The picture is built to be decoded again and again."""
