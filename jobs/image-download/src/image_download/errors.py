"""Errors of a download that concern the answer or the network."""

from __future__ import annotations

from keda_jobs import Permanent, Transient

FEW_DELIVERIES = 3
"""Limit for causes that rarely go away. They get a few attempts and not the full three days."""


class ResponseTooLarge(Permanent):
    """The response body is larger than DOWNLOAD_MAX_BYTES."""


class BadAnswer(Permanent):
    """The response is a redirect that is not followed."""


class NetworkTrouble(Transient):
    """The host was not found or not reached, or its response was incomplete, late or not as it should be."""
