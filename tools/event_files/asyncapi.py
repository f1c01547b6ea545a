"""AsyncAPI document of all events.

Specification: https://www.asyncapi.com/docs/reference/specification/v3.0.0
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from event_files.views import Role, View

NAME = "asyncapi.json"

_FORMAT = "application/schema+json;version=draft-2020-12"
_ACTIONS = {Role.READS: "receive", Role.SENDS: "send"}


def document(views: Sequence[View], version: str) -> dict[str, Any]:
    """Build the document. Its schemas are the files of the views."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "keda-jobs",
            "version": version,
            "description": "Events of the jobs, in the NATS stream keda-jobs-events. Written by `make job-files`.",
        },
        "defaultContentType": "application/json",
        "channels": {_key(subject): _channel(subject, views) for subject in sorted({view.subject for view in views})},
        "operations": {_message_key(view): _operation(view) for view in views},
    }


def _channel(subject: str, views: Iterable[View]) -> dict[str, Any]:
    return {
        "address": subject,
        "messages": {_message_key(view): _message(view) for view in views if view.subject == subject},
    }


def _message(view: View) -> dict[str, Any]:
    return {
        "name": view.event.__name__,
        "summary": f"As {view.job} {view.role} it",
        "payload": {"schemaFormat": _FORMAT, "schema": {"$ref": f"./{view.path.as_posix()}"}},
    }


def _operation(view: View) -> dict[str, Any]:
    channel = f"#/channels/{_key(view.subject)}"
    return {
        "action": _ACTIONS[view.role],
        "title": f"{view.job} {view.role} {view.subject}",
        "channel": {"$ref": channel},
        "messages": [{"$ref": f"{channel}/messages/{_message_key(view)}"}],
    }


def _message_key(view: View) -> str:
    return _key(f"{view.job}-{view.role}-{view.subject}")


def _key(text: str) -> str:
    """Return `text` with the characters that a key of the document may have."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", text)
